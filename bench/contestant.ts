/** What a pipeline trial compares: something that forwards packets while it is asked to, and rests otherwise. */
import type { TraceCount } from './gc.ts';

/** How far apart two cpus are, by the way of a cache line between them; `mixed` when that changed. */
export type Distance = 'near' | 'far' | 'mixed';

/** What was forwarded in one stretch of time. Every packet counts once, however many ports it passed. */
export interface Sample {
  readonly packets: number;
  /** Time by the clock. */
  readonly ns: number;
  /** Part of it in which the loop was ready to run and something else had its cpu; absent when that isn't known. */
  readonly waitedNs?: number;
  /** Packets that were there to be forwarded, where that is more than anybody can. */
  readonly offered?: number;
  /** Of the cpus of two processes. */
  readonly distance?: Distance;
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

/** Whether something else had the loop's cpu for so long that taking it out says nothing reliable. */
export const disturbed = ({ ns, waitedNs = 0 }: Sample): boolean => waitedNs > ns / 2;

/** Millions of packets per second, of the time in which the loop had its cpu. */
export function mpps(sample: Sample): number {
  // The kernel books a wait when it ends, so it may have begun before the sample: too much of it is left in.
  const waited = disturbed(sample) ? 0 : (sample.waitedNs ?? 0);
  return (sample.packets / (sample.ns - waited)) * 1000;
}
