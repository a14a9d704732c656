/**
 * What an engine hands to its keeper, over a stream socket that carries fds: four bytes (little-endian) say how long the
 * JSON object behind them is, and fds come with the first of them. The keeper answers `release` only: four bytes, its number.
 *
 * | message | fds | what |
 * |---|---|---|
 * | hello version | | first |
 * | memory ids | one each | memory that functions may reach |
 * | forget ids | | it is not the engine's any more |
 * | function address backend position | its file; that of its configuration space, if it is another | it may use memory from now on |
 * | release number address | | it is closed at the engine |
 *
 * Nothing is waited for but the answer to `release`: what was sent is the keeper's, even when the engine dies at once.
 */
import { DevioError } from '../errors.ts';

/** Both sides must speak the same. */
export const KEEPER_VERSION = 1;
/** The longest object, in bytes, and the most fds of a message. */
export const KEEPER_RECORD = 8192;
export const KEEPER_FDS = 200;
/** Where an engine finds the number of its fd: a variable of its environment. */
export const KEEPER_VARIABLE = 'LINECARD_KEEPER';

/** Back ends whose functions can be stopped from outside. */
export const BACKENDS = ['vfio', 'iommufd', 'vfio-noiommu', 'uio'] as const;
export type Backend = (typeof BACKENDS)[number];

/** A message. */
export type KeeperMessage =
  | { readonly type: 'hello'; readonly version: number }
  | { readonly type: 'memory' | 'forget'; readonly ids: readonly number[] }
  | { readonly type: 'function'; readonly address: string; readonly backend: Backend; readonly position: number }
  | { readonly type: 'release'; readonly number: number; readonly address: string };

type Check = (value: unknown) => boolean;
const whole: Check = (value) => Number.isSafeInteger(value) && (value as number) >= 0;
const address: Check = (value) =>
  typeof value === 'string' && /^[0-9a-f]{4,8}:[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/.test(value);
const ids: Check = (value) =>
  Array.isArray(value) && value.length > 0 && value.length <= KEEPER_FDS && value.every(whole);

/** Of each message its values, all of which must be there. */
const MESSAGES: Readonly<Record<KeeperMessage['type'], Readonly<Record<string, Check>>>> = {
  hello: { version: whole },
  memory: { ids },
  forget: { ids },
  function: { address, backend: (value) => (BACKENDS as readonly unknown[]).includes(value), position: whole },
  release: { number: whole, address },
};

/** Writes a message with its length. */
export function encodeMessage(message: KeeperMessage): Uint8Array {
  const body = Buffer.from(JSON.stringify(message));
  const bytes = Buffer.alloc(4 + body.length);
  bytes.writeUInt32LE(body.length);
  bytes.set(body, 4);
  return bytes;
}

/** The length that the first four bytes say. Throws `KEEPER_PROTOCOL`. */
export function lengthOf(head: Uint8Array): number {
  const length = new DataView(head.buffer, head.byteOffset, 4).getUint32(0, true);
  if (length < 2 || length > KEEPER_RECORD) throw malformed(`it has ${length} bytes`);
  return length;
}

/** Reads a message. Throws `KEEPER_PROTOCOL`. */
export function decodeMessage(bytes: Uint8Array): KeeperMessage {
  let value: Record<string, unknown>;
  try {
    value = Object(JSON.parse(new TextDecoder('utf-8', { fatal: true }).decode(bytes)));
  } catch {
    throw malformed('it is not JSON');
  }
  const type = String(value.type);
  const shape = Object.hasOwn(MESSAGES, type) ? MESSAGES[type as KeeperMessage['type']] : undefined;
  if (shape === undefined) throw malformed('there is no such message');
  const wrong = Object.entries(shape).find(([name, check]) => !Object.hasOwn(value, name) || !check(value[name]));
  if (wrong !== undefined) throw malformed(`its ${wrong[0]} is missing or impossible`);
  return value as unknown as KeeperMessage;
}

/** The error for what does not belong to the protocol. */
export function malformed(why: string): DevioError {
  const fix = 'is it the same linecard that is supervised?';
  return new DevioError('KEEPER_PROTOCOL', { what: 'message to the supervising process', why, fix });
}
