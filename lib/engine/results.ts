/** What a run tells about itself, while it goes on and at its end. */
import type { Counters, PortStats } from '../pktio/types.ts';
import type { Ledger } from './ledger.ts';

/** One job's figures. */
export interface JobStats {
  readonly job: number;
  readonly worker: number;
  /** Where frames came from and went to: see `JOB_COUNTERS`. */
  readonly frames: Counters;
  /** Counters that the application made. */
  readonly counters: Counters;
  /** `running`, or `down` between a failure and its restart. */
  readonly state: 'running' | 'down';
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
  /** An application threw; it is started again after `retryMs`. */
  'job-failed': [job: number, error: Error, retryMs: number];
  'job-restarted': [job: number];
  /** A worker's thread ended or hung; it is started again after `retryMs`. */
  'worker-failed': [worker: number, error: Error, retryMs: number];
  'worker-restarted': [worker: number];
  'port-error': [port: string, error: Error, fatal: boolean];
  /** Everything has stopped. */
  end: [result: RunResult];
}
