/** The one work queue of a framework: jobs run one after the other, never inside one another. */

/** Runs jobs in the order in which they were added. */
export class WorkQueue {
  readonly #jobs: (() => Promise<void>)[] = [];
  #waiting: (() => void)[] = [];
  #running = false;

  /** Runs `job` after all that were added before, never before `add` has returned. Settles as the job does. */
  add<T>(job: () => Promise<T>): Promise<T> {
    return new Promise<T>((resolve, reject) => {
      this.#jobs.push(() => Promise.resolve().then(job).then(resolve, reject));
      void this.#run();
    });
  }

  /** Resolves when no job runs or waits. */
  idle(): Promise<void> {
    if (!this.#running) return Promise.resolve();
    return new Promise((resolve) => this.#waiting.push(resolve));
  }

  async #run(): Promise<void> {
    if (this.#running) return;
    this.#running = true;
    for (let job = this.#jobs.shift(); job !== undefined; job = this.#jobs.shift()) await job();
    this.#running = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
