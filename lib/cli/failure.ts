/** How a command ends when something is wrong: one line, or one JSON object, and an exit code. */
import { type ErrorDetail, LinecardError, toPlainError } from '../errors.ts';
import { toJson } from './json.ts';
import { inOptions } from './words.ts';

/** How a command can end. 130 is 128 + SIGINT: ended at once by a second Ctrl-C. */
export const EXIT = { ok: 0, failed: 1, usage: 2, interrupted: 130 } as const;

/** What was typed cannot be right, on whatever machine. */
export class UsageError extends LinecardError {}

/** Returns the error for an option, argument or value that is wrong. */
export function usageError(what: string, why: string, fix: string, detail: ErrorDetail = {}): UsageError {
  return new UsageError('USAGE', { what, why, fix }, { detail });
}

/** Codes of errors that the library finds but that are about what was typed. */
const TYPED = [
  'USAGE',
  'BAD_APP_OPTION',
  'BAD_ARENA_SIZE',
  'BAD_FRAME_POOL',
  'BAD_FRAME_SIZE',
  'BAD_MAC',
  'BAD_OPTION',
  'BAD_PORT_NAME',
  'NO_SUCH_PORT',
];

/** The exit code that `error` means. */
export function exitCodeOf(error: unknown): number {
  return TYPED.includes(toPlainError(error).code) ? EXIT.usage : EXIT.failed;
}

/** The error as plain data, for `-j`: its message names options as they are typed. */
export function errorData(error: unknown): { code: string; message: string; detail: ErrorDetail } {
  const { code, message, detail } = toPlainError(error);
  return { code: code === '' ? 'INTERNAL' : code, message: inOptions(message.replaceAll(/\s*\n\s*/g, ' ')), detail };
}

/** The error as one line: `linecard: what failed: why; what to do [CODE]`. */
export function errorLine(error: unknown): string {
  const { code, message } = errorData(error);
  return `linecard: ${message} [${code}]`;
}

/** The error as text for a terminal: one line, and where it came from if LINECARD_DEBUG names `stack`. */
export function errorText(error: unknown, env: NodeJS.ProcessEnv): string {
  const wanted = env.LINECARD_DEBUG?.split(',').includes('stack') ?? false;
  return wanted ? `${errorLine(error)}\n${stackOf(error)}` : errorLine(error);
}

function stackOf(error: unknown): string {
  const { stack } = toPlainError(error);
  const { cause } = error as { cause?: unknown };
  return cause === undefined ? stack : `${stack}\ncaused by: ${stackOf(cause)}`;
}

/** The error as the JSON object that `-j` ends with. */
export const errorJson = (error: unknown): string => toJson({ error: errorData(error) });
