/** Moments at which no worker touches a frame, a ring or a counter, and the main thread may. Control half. */
import { setTimeout as sleep } from 'node:timers/promises';
import { COMMAND } from '../../workers/control.ts';
import { Grace } from './thread-state.ts';
import { PATIENCE, until } from './until.ts';
import type { Worker } from './worker.ts';

/** Longest that a worker is waited for to stand still, in milliseconds: the others wait as long. */
const PAUSE_MS = 50;
/** Wait between two attempts, in milliseconds. */
const RETRY_MS = 5;
/** Heartbeats after a standstill with which a worker has polled: one when its wait ends, one after a slice. */
const POLLED = 2;
/** Longest that the next standstill is put off for that, in milliseconds. */
const REST_MS = 200;

/** Lets workers stand still, one action at a time. */
export class Standstill {
  private readonly workers: () => readonly Worker[];
  private turn: Promise<unknown> = Promise.resolve();
  /** Those that did not stand still in time when it was last tried. */
  private restless: readonly Worker[] = [];
  /** Whether those that stood still have polled since. */
  private polled: () => boolean = () => true;

  constructor(workers: () => readonly Worker[]) {
    this.workers = workers;
  }

  /** Does `action`, which must not wait, while all workers stand still. False when one of them did not in time. */
  during(action: () => void): Promise<boolean> {
    const mine = this.turn.then(() => this.hold(action));
    this.turn = mine.catch(() => {});
    return mine;
  }

  /**
   * As `during`, for what has to be done: whoever does not stand still within `ms` milliseconds is ended; one that waits
   * for a cpu has up to `PATIENCE` times as long.
   */
  async insist(action: () => void, ms: number): Promise<boolean> {
    const graces = new Map(this.workers().map((worker) => [worker, new Grace(worker.tid)]));
    const start = performance.now();
    while (!(await this.during(action))) {
      const elapsed = performance.now() - start;
      const hangs = (worker: Worker) => graces.get(worker)?.over(ms, elapsed) ?? elapsed >= ms;
      const hung = this.restless.filter((worker) => elapsed >= ms * PATIENCE || hangs(worker));
      if (hung.length === 0) {
        await sleep(RETRY_MS);
        continue;
      }
      for (const worker of hung) worker.kill('WORKER_STALLED', `it did not stand still within ${ms} ms`);
      const gone = await Promise.all(hung.map((worker) => worker.gone(ms)));
      if (gone.includes(false) || hung.length === this.restless.length) return this.during(action);
    }
    return true;
  }

  /** Resolves when nobody stands still any more. */
  async over(): Promise<void> {
    await this.turn;
  }

  private async hold(action: () => void): Promise<boolean> {
    // One standstill after another would be a long one: on a busy machine nobody gets a cpu in between.
    if (!this.polled()) await until(this.polled, REST_MS);
    const held = this.workers().filter((worker) => worker.alive);
    this.restless = held.filter((worker) => !worker.hears);
    if (this.restless.length > 0) return false;
    let still: boolean[] = [];
    for (const worker of held) worker.pause();
    try {
      still = await Promise.all(held.map((worker) => worker.acted(COMMAND.pause, PAUSE_MS)));
      // One that has started meanwhile does not stand still: its application may be taking frames already.
      const others = this.workers().filter((worker) => worker.alive && !held.includes(worker));
      this.restless = [...held.filter((_, i) => !still[i]), ...others];
      if (this.restless.length > 0) return false;
      action();
      return true;
    } finally {
      this.polled = polling(held.filter((_, i) => still[i]));
      for (const worker of held) worker.resume();
    }
  }
}

/** Returns whether all of `workers` that hear have polled since now, when they stand still. */
function polling(workers: readonly Worker[]): () => boolean {
  const marks = workers.map(({ heartbeat }) => heartbeat);
  return () => workers.every(({ hears, heartbeat }, i) => !hears || ((heartbeat - marks[i]) | 0) >= POLLED);
}
