/** What a run tells about itself, while it goes on and at its end. */
import { STATE } from '../../workers/control.ts';
import type { Counters, PortStats } from '../pktio/types.ts';
import type { CrewJob } from './crew.ts';
import type { Ledger } from './ledger.ts';
import type { Worker } from './worker.ts';

/** One job's figures. */
export interface JobStats {
  readonly job: number;
  readonly worker: number;
  /** Where frames came from and went to: see `JOB_COUNTERS`. */
  readonly frames: Counters;
  /** Counters that the application made. */
  readonly counters: Counters;
  /** `running`; `down` between a failure and its restart; `detached` when a port of it has been closed. */
  readonly state: 'running' | 'down' | 'detached';
  readonly failures: number;
}

/** One worker's figures. */
export interface WorkerStats {
  readonly worker: number;
  readonly cpu: number;
  readonly state: 'starting' | 'ready' | 'live' | 'asleep' | 'paused' | 'left' | 'dead';
  /** `polls`, `idlePolls`, `sleeps`, `interrupts`. */
  readonly counters: Counters;
  /** Packets that its jobs received or made. */
  readonly packets: bigint;
}

/** A run's figures at one moment. */
export interface RunStats {
  /** Seconds since packets began to flow. */
  readonly seconds: number;
  readonly workers: readonly WorkerStats[];
  readonly jobs: readonly JobStats[];
  readonly ports: Readonly<Record<string, PortStats>>;
  /** Frames whose holder died, and which have not been swept up yet. */
  readonly framesMissing: number;
}

/** A run's figures at its end. */
export interface RunResult extends RunStats {
  readonly ledger: Ledger;
  /** Errors of ports and workers during the run, oldest first; the last 100. */
  readonly errors: readonly Error[];
}

/** What a run reports while it goes on. */
export interface RunEvents {
  /** An application threw; it is started again after `retryMs` (Infinity: the run is ending). */
  'job-failed': [job: number, error: Error, retryMs: number];
  /** It has been made again, and its packets flow. */
  'job-restarted': [job: number];
  /** A worker's thread ended or hung; it is started again after `retryMs` (Infinity: it is not). */
  'worker-failed': [worker: number, error: Error, retryMs: number];
  /** Its thread runs again, with its jobs. */
  'worker-restarted': [worker: number];
  /** A port failed; `fatal`: it carries nothing any more. */
  'port-error': [port: string, error: Error, fatal: boolean];
  /** Everything has stopped. */
  end: [result: RunResult];
}

/** `job`'s figures of this moment. */
export function jobStats({ number, worker, index, counterNames, state, failures }: CrewJob): JobStats {
  const { memory } = worker;
  const counters = memory.appCounters(index, counterNames);
  return { job: number, worker: worker.id, frames: memory.jobLedger(index), counters, state, failures };
}

const STATE_NAMES = Object.keys(STATE) as (keyof typeof STATE)[];

/** `worker`'s figures of this moment; `jobs` are those of the run. */
export function workerStats(worker: Worker, jobs: readonly JobStats[]): WorkerStats {
  const mine = jobs.filter((job) => job.worker === worker.id);
  return {
    worker: worker.id,
    cpu: worker.cpu,
    state: worker.alive || worker.state === STATE.left ? STATE_NAMES[worker.state] : 'dead',
    counters: worker.memory.counters(),
    packets: mine.reduce((sum, { frames }) => sum + frames.delivered + frames.allocated, 0n),
  };
}
