/** Waiting with a deadline. */
import { setTimeout as sleep } from 'node:timers/promises';

/** For what only looking at can tell: looks every millisecond or so; resolves to false after `ms` milliseconds. */
export async function until(done: () => boolean, ms: number): Promise<boolean> {
  const end = performance.now() + ms;
  while (!done()) {
    if (performance.now() >= end) return false;
    await sleep(1);
  }
  return true;
}

/** Resolves to true when `promise` does, to false after `ms` milliseconds. Rejects as `promise` does before that. */
export async function inTime(promise: Promise<unknown>, ms: number): Promise<boolean> {
  const stop = new AbortController();
  const late = sleep(ms, false, { signal: stop.signal }).catch(() => false);
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    stop.abort();
  }
}
