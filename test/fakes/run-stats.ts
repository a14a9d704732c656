/** Statistics of a run, as an engine would give them: two ports, two l2fwd jobs on two workers. */
import type { RunResult, RunStats } from '../../lib/engine/results.ts';
import type { JobSpec } from '../../lib/engine/types.ts';
import type { Counters } from '../../lib/pktio/types.ts';

const NO_DROPS = {
  dropped_tx_full: 0n,
  dropped_filter: 0n,
  dropped_malformed: 0n,
  dropped_no_frame: 0n,
  dropped_app_died: 0n,
  dropped_stopped: 0n,
};

/** The jobs: a to b, and back. */
export const JOBS: readonly JobSpec[] = [
  { app: { module: 'l2fwd' }, rx: { port: 'a' }, tx: ['b'] },
  { app: { module: 'l2fwd' }, rx: { port: 'b' }, tx: ['a'] },
];

/** What differs from nothing at all. */
export interface Moment {
  readonly seconds?: number;
  readonly a?: { readonly rx?: Counters; readonly tx?: Counters };
  readonly b?: { readonly rx?: Counters; readonly tx?: Counters };
  /** Frames of the first job. */
  readonly frames?: Counters;
  /** Counters of the first worker. */
  readonly worker?: Counters;
  readonly packets?: bigint;
}

/** The statistics of a moment. */
export function stats({ seconds = 1, a, b, frames, worker, packets = 0n }: Moment): RunStats {
  const port = (of: Moment['a']) => ({
    rx: { packets: 0n, bytes: 0n, ...of?.rx },
    tx: { packets: 0n, bytes: 0n, completed: 0n, ...of?.tx },
  });
  const counters = { polls: 0n, idlePolls: 0n, sleeps: 0n, interrupts: 0n };
  const job = { delivered: 0n, allocated: 0n, accepted: 0n, consumed: 0n, ...NO_DROPS };
  return {
    seconds,
    workers: [
      { worker: 0, cpu: 2, state: 'live', counters: { ...counters, ...worker }, packets },
      { worker: 1, cpu: 3, state: 'asleep', counters, packets: 0n },
    ],
    jobs: [
      { job: 0, worker: 0, frames: { ...job, ...frames }, counters: {}, state: 'running', failures: 0 },
      { job: 1, worker: 1, frames: job, counters: {}, state: 'running', failures: 0 },
    ],
    ports: { a: port(a), b: port(b) },
    framesMissing: 0,
  };
}

/** The result of a run that ended with those statistics. */
export function result(moment: Moment, more: Partial<RunResult> = {}): RunResult {
  const ledger = { total: 64, free: 64, inRings: 0, held: 0, lost: 0, missing: 0, errors: [], balanced: true };
  return { ...stats(moment), ledger, errors: [], ...more };
}
