/** Exchanging a port's driver under a run: its jobs leave the queues, and come back to those of the later release. Control half. */
import type { JobPlan, Mail } from '../../workers/plan.ts';
import type { Crew, CrewJob } from './crew.ts';
import type { Worker } from './worker.ts';

/** Longest wait for a killed thread to end, in milliseconds. */
export const GONE_MS = 5000;
/** How long a worker may take to let go of a port, in milliseconds. */
export const DETACH_MS = 1000;

/** What the worker said, or that its thread ended before it could. */
export interface Answer {
  readonly error?: Error | undefined;
  readonly died?: true;
}

/** What an exchange needs of whoever looks after the workers. */
export interface Caretaker {
  readonly crew: () => Crew;
  ask(worker: Worker, mail: (id: number) => Mail): Promise<Answer>;
  /** The start of a worker that is under way. */
  starting(worker: Worker): Promise<unknown> | undefined;
  /** Calls `action` when nobody else exchanges the application of `job`. */
  inTurn<T>(job: CrewJob, action: () => Promise<T>): Promise<T>;
  /** A number that no instance of an application has had. */
  nextVersion(): number;
}

/** The exchanges of one run, one after the other. */
export class DriverExchange {
  private readonly caretaker: Caretaker;
  /** Resolves when no driver is being exchanged; undefined when none is. */
  pending: Promise<void> | undefined;
  /** Ends with the exchange that is under way. */
  underWay: Promise<void> | undefined;

  constructor(caretaker: Caretaker) {
    this.caretaker = caretaker;
  }

  /**
   * Has `jobs` leave the queues of `port`, calls `exchange`, which makes them anew, and has the jobs come back to them.
   * Their applications are made again. Rejects as `exchange`.
   */
  run(port: string, jobs: readonly CrewJob[], exchange: () => Promise<void>): Promise<void> {
    const before = this.pending ?? Promise.resolve();
    const mine = before.then(() => this.alone(jobs, () => this.around(port, jobs, exchange)));
    const over = settled(mine).finally(() => {
      if (this.pending === over) this.pending = undefined;
    });
    this.pending = over;
    return mine;
  }

  /** Keeps the applications of `jobs` from being exchanged during `action`. */
  private alone(jobs: readonly CrewJob[], action: () => Promise<void>): Promise<void> {
    const [first, ...rest] = jobs;
    return first === undefined ? action() : this.caretaker.inTurn(first, () => this.alone(rest, action));
  }

  private around(port: string, jobs: readonly CrewJob[], exchange: () => Promise<void>): Promise<void> {
    const mine = this.onOthers(port, jobs, exchange);
    this.underWay = settled(mine).finally(() => {
      this.underWay = undefined;
    });
    return mine;
  }

  private async onOthers(port: string, jobs: readonly CrewJob[], exchange: () => Promise<void>): Promise<void> {
    const here = jobs.filter((job) => !job.leaving && job.state !== 'detached');
    const workers = [...new Set(here.map(({ worker }) => worker))];
    const left = await Promise.all(workers.map((worker) => this.park(port, worker, here)));
    await exchange(); // if it rejects, the port goes away, and takes the jobs with it
    const version = this.caretaker.nextVersion(); // an instance of the application per instance of its queues' code
    for (const job of here) job.version = version;
    const plans = new Map(here.map((job) => [job, this.caretaker.crew().renew(job)]));
    // Those that have died meanwhile are started on the new queues.
    await Promise.all(workers.filter((_, i) => left[i]).map((worker) => this.attach(port, worker, plans)));
  }

  /** Resolves to whether `worker` has left the queues, to false when it does not run. */
  private async park(port: string, worker: Worker, jobs: readonly CrewJob[]): Promise<boolean> {
    await this.caretaker.starting(worker);
    if (!worker.hears) {
      await worker.gone(GONE_MS);
      return false;
    }
    const mine = jobs.filter((job) => job.worker === worker).map(({ index }) => index);
    const answer = this.caretaker.ask(worker, (id) => ({ type: 'park', id, port, jobs: mine }));
    if (!(await worker.within(answer, DETACH_MS))) {
      worker.kill('WORKER_STALLED', `it did not let go of a port within ${DETACH_MS} ms`);
      await worker.gone(GONE_MS);
    }
    return (await answer).died !== true;
  }

  private async attach(port: string, worker: Worker, plans: ReadonlyMap<CrewJob, JobPlan>): Promise<void> {
    const mine = [...plans].filter(([job]) => job.worker === worker);
    const jobs = mine.map(([{ index, state }, plan]) => ({ job: index, plan, place: state === 'running' }));
    const { error } = await this.caretaker.ask(worker, (id) => ({ type: 'attach', id, port, jobs }));
    if (error !== undefined)
      worker.kill('WORKER_THREW', `its queues of port ${port} could not be made: ${error.message}`);
  }
}

const settled = (promise: Promise<void>): Promise<void> => promise.catch(() => {});
