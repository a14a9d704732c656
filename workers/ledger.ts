/** What a job holds, by its own counters. Control half. */
import { makeCounters, readCounters } from '../lib/arena/counters.ts';
import type { DROP } from '../lib/queue.ts';
import { JOB, JOB_COUNTERS, LEDGER } from './control.ts';

/** Frames that a job holds, by its counters (`JOB_COUNTERS`): what came in less what went out. */
export function heldBy(job: Readonly<Record<string, bigint>>): bigint {
  const out = Object.entries(job).filter(
    ([name]) => name === 'accepted' || name === 'consumed' || name.startsWith('dropped_'),
  );
  return (job.delivered ?? 0n) + (job.allocated ?? 0n) - out.reduce((sum, [, n]) => sum + n, 0n);
}

/** As `heldBy`, for the job with the block at `block`. */
export function heldIn(memory: SharedArrayBuffer, block: number): number {
  return Number(heldBy(readCounters(memory, block + JOB.counters * 4, JOB_COUNTERS)));
}

/**
 * Counts `held` frames of the job at `block` as dropped for `reason`: whoever held them is no more. Called by the
 * counters' one writer: the job's worker, or the main thread when that thread has ended.
 */
export function writeOff(
  memory: SharedArrayBuffer,
  block: number,
  reason: (typeof DROP)['app_died' | 'stopped'],
  held = heldIn(memory, block),
): void {
  if (held <= 0) return;
  makeCounters(memory, block + JOB.counters * 4, JOB_COUNTERS.length)(LEDGER.dropped + reason, held);
}
