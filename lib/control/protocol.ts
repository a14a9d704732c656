/**
 * How a running engine is asked from outside, over a unix socket of records (SOCK_SEQPACKET). A record is one JSON object;
 * each request gets one answer: `{ ok: {…} }`, or `{ error: { code, message, detail } }`.
 *
 * | request | answer |
 * |---|---|
 * | reload driver module export older | see `Reloaded` |
 */
import { type ErrorDetail, fromPlainError, type LinecardError, SystemError, toPlainError } from '../errors.ts';

/** The longest record, in bytes. */
export const CONTROL_RECORD = 65_536;

/** A request. */
export interface ControlRequest {
  readonly type: 'reload';
  /** Name of the driver. */
  readonly driver: string;
  /** Absolute path, or file URL, of the module with its next release. */
  readonly module: string;
  /** The export that is, or makes, the driver. */
  readonly export: string;
  /** Also an earlier release than the one that runs. */
  readonly older: boolean;
}

type Values = Readonly<Record<string, unknown>>;
type Check = (value: unknown) => boolean;
const text = (value: unknown): boolean => typeof value === 'string' && value.length > 0 && value.length <= 4096;

const RELOAD: Readonly<Record<string, Check>> = {
  driver: text,
  module: text,
  export: text,
  older: (value) => typeof value === 'boolean',
};

function parse(bytes: Uint8Array): Values {
  try {
    const value: unknown = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return value as Values;
  } catch {
    // As what is JSON but no object.
  }
  throw malformed('it is no JSON object');
}

/** Reads a request. Throws `CONTROL_PROTOCOL`. */
export function decodeControl(bytes: Uint8Array): ControlRequest {
  const value = parse(bytes);
  if (value.type !== 'reload') throw malformed('there is no such request');
  const wrong = Object.entries(RELOAD).find(([name, check]) => !check(value[name]));
  if (wrong !== undefined) throw malformed(`its ${wrong[0]} is missing or impossible`);
  return value as unknown as ControlRequest;
}

/** Writes a request or an answer; one that is too long becomes an error that says so. */
export function encodeControl(record: object): Uint8Array {
  const bytes = Buffer.from(JSON.stringify(record));
  if (bytes.length <= CONTROL_RECORD) return bytes;
  return encodeControl({ error: plain(malformed(`it would have ${bytes.length} bytes`)) });
}

/** An error as an answer has it. */
export function plain(error: unknown): { code: string; message: string; detail: ErrorDetail } {
  const { code, message, detail } = toPlainError(error);
  return { code: code === '' ? 'INTERNAL' : code, message: message.slice(0, 8000), detail };
}

/** What an answer brings. Throws the error that it is, or `CONTROL_PROTOCOL`. */
export function decodeAnswer(bytes: Uint8Array): Values {
  const { ok, error } = parse(bytes) as { readonly ok?: Values; readonly error?: Values };
  if (typeof ok === 'object' && ok !== null) return ok;
  if (typeof error !== 'object' || error === null) throw malformed('it is neither yes nor no');
  const detail = typeof error.detail === 'object' && error.detail !== null ? (error.detail as ErrorDetail) : {};
  const { code, message } = error;
  throw fromPlainError({ name: 'SystemError', stack: '', code: String(code), message: String(message), detail });
}

function malformed(why: string): LinecardError {
  const fix = 'is the same linecard at both ends, and at that path?';
  return new SystemError('CONTROL_PROTOCOL', { what: 'control record', why, fix });
}
