/** Waiting for a device, which may never answer. Control half. */
import { setTimeout as sleep } from 'node:timers/promises';
import { orLate } from '../deadline.ts';
import { DeviceError } from '../errors.ts';

/** Resolves or rejects as `promise`, or rejects with `DEVICE_TIMEOUT` after `ms`: `what` was not done. */
export const answered = <T>(what: string, ms: number, promise: Promise<T>): Promise<T> =>
  orLate(promise, ms, () => timeout(what, ms));

/** The error of a device that does not answer. */
export function timeout(what: string, ms: number): DeviceError {
  return new DeviceError('DEVICE_TIMEOUT', {
    what,
    why: `the device has not done it in ${ms} ms`,
    fix: 'look whether its other side lives, and open the port again',
  });
}

/** Resolves after `ms`, or as soon as `signal` says so. Does not keep the process alive. */
export const pause = (ms: number, signal?: AbortSignal): Promise<void> =>
  sleep(ms, undefined, { ref: false, ...(signal === undefined ? {} : { signal }) }).catch(() => {});
