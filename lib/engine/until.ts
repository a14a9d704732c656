/** Waiting for something that only looking at can tell. */
import { setTimeout as sleep } from 'node:timers/promises';

/** Looks every millisecond or so; resolves to true when `done()` is, to false after `ms` milliseconds. */
export async function until(done: () => boolean, ms: number): Promise<boolean> {
  const end = performance.now() + ms;
  while (!done()) {
    if (performance.now() >= end) return false;
    await sleep(1);
  }
  return true;
}
