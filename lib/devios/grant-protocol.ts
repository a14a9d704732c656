/**
 * How an engine asks a privileged helper, over a unix socket of records (SOCK_SEQPACKET) that carry fds. A record is one
 * JSON object. The engine's first is `hello`; each request gets exactly one answer, in order. The connection is the lease
 * of one interface: when it ends, the helper takes back what was done through it.
 *
 * | request | fds | answer |
 * |---|---|---|
 * | hello version interface | | index |
 * | attach mode match closed frags | | mode, and why not native |
 * | detach | | |
 * | socket queue busyPoll | | one fd: an AF_XDP socket, confined to the interface |
 * | feed queue | one fd: that socket, bound | |
 * | starve queue | | |
 * | promiscuous on | | |
 *
 * An answer is `{ id, ok: {…} }`, or `{ id, error: { code, message, detail } }`.
 */
import { DevioError, type ErrorDetail } from '../errors.ts';

/** Both sides must speak the same. */
export const GRANT_VERSION = 1;
/** The longest record, in bytes. */
export const GRANT_RECORD = 4096;

/** What an engine asks. */
export type GrantRequest =
  | { readonly type: 'hello'; readonly version: number; readonly interface: string }
  | {
      readonly type: 'attach';
      readonly mode: 'native' | 'skb' | null;
      readonly match: string;
      readonly closed: boolean;
      readonly frags: boolean;
    }
  | { readonly type: 'detach' }
  | { readonly type: 'socket'; readonly queue: number; readonly busyPoll: boolean }
  | { readonly type: 'feed'; readonly queue: number }
  | { readonly type: 'starve'; readonly queue: number }
  | { readonly type: 'promiscuous'; readonly on: boolean };

/** An answer, with the number of its request. */
export type GrantAnswer =
  | { readonly id: number; readonly ok: Readonly<Record<string, unknown>> }
  | { readonly id: number; readonly error: GrantError };

/** A refusal: an error of the helper's, as data. */
export interface GrantError {
  readonly code: string;
  readonly message: string;
  readonly detail: ErrorDetail;
}

type Check = (value: unknown) => boolean;
const bool: Check = (value) => typeof value === 'boolean';
const whole =
  (max: number): Check =>
  (value) =>
    Number.isInteger(value) && (value as number) >= 0 && (value as number) <= max;
const text =
  (most: number): Check =>
  (value) =>
    typeof value === 'string' && value.length <= most;
const queue = whole(255);

/** Of each request its values, all of which must be there and no other. */
const REQUESTS: Readonly<Record<GrantRequest['type'], Readonly<Record<string, Check>>>> = {
  hello: { version: whole(0xffff), interface: text(15) },
  attach: {
    mode: (value) => value === null || value === 'native' || value === 'skb',
    match: text(2048),
    closed: bool,
    frags: bool,
  },
  detach: {},
  socket: { queue, busyPoll: bool },
  feed: { queue },
  starve: { queue },
  promiscuous: { on: bool },
};

const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

function parse(bytes: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes));
  } catch {
    throw malformed('it is not JSON');
  }
  if (!isObject(value)) throw malformed('it is not an object');
  return value;
}

function idOf(value: Record<string, unknown>): number {
  if (!whole(Number.MAX_SAFE_INTEGER)(value.id)) throw malformed('it has no number');
  return value.id as number;
}

/** Reads a request and its number. Throws `GRANT_PROTOCOL`. */
export function decodeRequest(bytes: Uint8Array): { readonly id: number; readonly request: GrantRequest } {
  const value = parse(bytes);
  const id = idOf(value);
  const shape = Object.hasOwn(REQUESTS, String(value.type)) ? REQUESTS[value.type as GrantRequest['type']] : undefined;
  if (shape === undefined) throw malformed('there is no such request');
  const wrong = Object.entries(shape).find(([name, check]) => !Object.hasOwn(value, name) || !check(value[name]));
  if (wrong !== undefined) throw malformed(`its ${wrong[0]} is missing or impossible`);
  const most = Object.keys(shape).length + 2;
  if (Object.keys(value).length > most) throw malformed('it has more than belongs there');
  return { id, request: value as unknown as GrantRequest };
}

/** Reads an answer. Throws `GRANT_PROTOCOL`. */
export function decodeAnswer(bytes: Uint8Array): GrantAnswer {
  const value = parse(bytes);
  const id = idOf(value);
  if (isObject(value.ok)) return { id, ok: value.ok };
  const { error } = value;
  if (!isObject(error)) throw malformed('it is neither yes nor no');
  const { code, message, detail } = error;
  const plain = isObject(detail) && Object.values(detail).every((part) => part === null || typeof part !== 'object');
  if (!text(64)(code) || !text(3000)(message) || !plain) throw malformed('it does not say what failed');
  return { id, error: { code: String(code), message: String(message), detail: { ...(detail as ErrorDetail) } } };
}

/** Writes a request or an answer. */
export const encodeRecord = (record: object): Uint8Array => Buffer.from(JSON.stringify(record));

/** The error for a record that is not one of these. */
export function malformed(why: string): DevioError {
  const fix = 'is the same linecard at both ends, and at that path?';
  return new DevioError('GRANT_PROTOCOL', { what: 'record of a grant', why, fix });
}
