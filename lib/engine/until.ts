/** Waiting with a deadline. */
import { setTimeout as sleep } from 'node:timers/promises';
import { inTime } from '../deadline.ts';
import { Grace } from './thread-state.ts';

/** A thread that the machine does not let run is waited for so many times longer. */
export const PATIENCE = 3;
/** Looks within a deadline: looks are counted, not time, so that this thread may have waited for a cpu, too. */
const LOOKS = 10;

/** For what only looking at can tell: looks every millisecond or so; resolves to false after `ms` milliseconds. */
export async function until(done: () => boolean, ms: number): Promise<boolean> {
  const end = performance.now() + ms;
  while (!done()) {
    if (performance.now() >= end) return false;
    await sleep(1);
  }
  return true;
}

/**
 * As `inTime`, for what thread `tid` is to do. Time for which it waits for a cpu does not count, up to `PATIENCE` times `ms`
 * in all.
 */
export async function inFairTime(promise: Promise<unknown>, ms: number, tid: number): Promise<boolean> {
  const grace = new Grace(tid);
  const lookMs = ms / LOOKS;
  for (let look = 1; look <= LOOKS * PATIENCE; look++) {
    if (await inTime(promise, lookMs)) return true;
    if (grace.over(ms, look * lookMs)) return false;
  }
  return false;
}
