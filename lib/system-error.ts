/** From a failed system call to an error that says what to do. */
import { getSystemErrorName } from 'node:util';
import type { LinecardError } from './errors.ts';

type ErrorClass = new (...args: ConstructorParameters<typeof LinecardError>) => LinecardError;

/** The name of a failed call's error number (`EBUSY`), or undefined when `error` is not one. */
export function errnoName(error: unknown): string | undefined {
  const { errno } = error as { errno?: unknown };
  if (typeof errno !== 'number' || errno >= 0) return undefined;
  // On Linux both names stand for 95; the kernel's documents say EOPNOTSUPP, libuv ENOTSUP.
  return errno === -95 ? 'EOPNOTSUPP' : getSystemErrorName(errno);
}

/**
 * Wraps what the addon threw: `what` failed, with the call and its error; `fixes` says by error name what to do about
 * it. An error that is not a system call's is returned as it is.
 */
export function systemError(
  Class: ErrorClass,
  code: string,
  what: string,
  cause: unknown,
  fixes: Readonly<Record<string, string>> = {},
): Error {
  const name = errnoName(cause);
  if (name === undefined) return cause as Error;
  const { syscall, message } = cause as { syscall: string; message: string };
  const fix = fixes[name] ?? 'see the manual page of the call';
  const detail = { syscall, errno: name };
  return new Class(code, { what, why: `${syscall} failed with ${name} (${message})`, fix }, { cause, detail });
}
