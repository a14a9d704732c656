/** Ways to wait. */
import { setImmediate as immediate, setTimeout as timeout } from 'node:timers/promises';

/** Lets everything else on this thread run, then goes on. */
export const turn = (): Promise<void> => immediate();

/** Goes on after `ms` milliseconds. Keeps no process alive: a port that is open but idle is no reason to go on. */
export const pause = (ms: number): Promise<void> => timeout(ms, undefined, { ref: false });

/** Goes on after `ms` milliseconds, and keeps the process until then. */
export const hold = (ms: number): Promise<void> => timeout(ms);

/** Whether `promise` settled within `ms` milliseconds; this wait does keep the process. Rejects as `promise` does. */
export async function within(ms: number, promise: Promise<unknown>): Promise<boolean> {
  const stop = new AbortController();
  const late = timeout(ms, false, { signal: stop.signal }).catch(() => false);
  try {
    return await Promise.race([promise.then(() => true), late]);
  } finally {
    stop.abort();
  }
}
