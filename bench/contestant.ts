/** What a pipeline trial compares: something that forwards packets while it is asked to, and rests otherwise. */
import type { TraceCount } from './gc.ts';

/** What was forwarded in one stretch of time. Every packet counts once, however many ports it passed. */
export interface Sample {
  readonly packets: number;
  readonly ns: number;
  /** Collections and deoptimisations during the stretch, where there is a JavaScript engine to have any. */
  readonly trace?: TraceCount;
}

/** How a contestant ended. */
export interface Ending {
  /** What was wrong with the run as a whole: an unbalanced ledger, a worker's error. Empty when nothing was. */
  readonly faults: readonly string[];
}

/** A process that forwards packets on the cpu of the trial. Between samples it leaves the cpu to the others. */
export interface Contestant {
  /** Forwards for `ms` milliseconds and says how much. Rejects when it cannot within a deadline of its own. */
  sample(ms: number): Promise<Sample>;
  /** Ends the process. Never rejects, may be called twice. */
  close(): Promise<Ending>;
}

/** Millions of packets per second. */
export const mpps = (sample: Sample): number => (sample.packets / sample.ns) * 1000;
