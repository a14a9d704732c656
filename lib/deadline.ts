/** Waiting for a promise, but not for ever. */
import { setTimeout as sleep } from 'node:timers/promises';

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

/** Resolves or rejects as `promise`, or rejects with what `late` makes after `ms` milliseconds. */
export async function orLate<T>(promise: Promise<T>, ms: number, late: () => Error): Promise<T> {
  if (!(await inTime(promise, ms))) throw late();
  return promise;
}
