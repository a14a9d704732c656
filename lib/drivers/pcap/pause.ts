/** Ways to wait. */
import { setImmediate as immediate, setTimeout as timeout } from 'node:timers/promises';

/** Lets everything else on this thread run, then goes on. */
export const turn = (): Promise<void> => immediate();

/** Goes on after `ms` milliseconds. Keeps no process alive: a port that is open but idle is no reason to go on. */
export const pause = (ms: number): Promise<void> => timeout(ms, undefined, { ref: false });

/** Goes on after `ms` milliseconds, and keeps the process until then. */
export const hold = (ms: number): Promise<void> => timeout(ms);
