/** vhost-user messages over a unix socket: a header, then its payload; fds come with the header. Main thread. */
import { DeviceError } from '../errors.ts';
import type { UnixConnection } from '../unix/connection.ts';
import { FLAG, HEADER_BYTES, LIMIT } from './protocol.ts';
import { refusal } from './refusal.ts';

/** A message as it came: nothing but its framing has been checked. */
export interface RawMessage {
  readonly request: number;
  readonly flags: number;
  readonly payload: Uint8Array;
  /** Whoever is given the message owns them. */
  readonly fds: readonly number[];
}

/** How long to wait for the first byte, and for the rest from then on, in ms. */
export interface Waits {
  readonly startMs?: number | undefined;
  readonly withinMs: number;
}

/** The fds of SET_MEM_TABLE are the most that any message has. */
const MOST_FDS = LIMIT.tableRegions;

/** Bytes of a message. */
export function frame(request: number, flags: number, payload: Uint8Array): Uint8Array {
  const bytes = new Uint8Array(HEADER_BYTES + payload.length);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, request, true);
  view.setUint32(4, flags, true);
  view.setUint32(8, payload.length, true);
  bytes.set(payload, HEADER_BYTES);
  return bytes;
}

/** What the flags of a message should say. */
export type Direction = 'request' | 'reply';

function checkHeader(request: number, flags: number, size: number, direction: Direction): void {
  const what = `message ${request}`;
  const version = flags & FLAG.VERSION_MASK;
  if (version !== FLAG.VERSION) throw refusal(what, `it is of version ${version}, and this is 1`, 'VHOST_BAD_VERSION');
  if (((flags & FLAG.REPLY) !== 0) !== (direction === 'reply'))
    throw refusal(
      what,
      direction === 'reply' ? 'it is no reply' : 'it is a reply, and nobody asked',
      'VHOST_BAD_FLAGS',
    );
  if (size > LIMIT.payloadBytes)
    throw refusal(what, `its payload has ${size} bytes, and ${LIMIT.payloadBytes} are possible`, 'VHOST_BAD_SIZE');
}

/**
 * Reads the next message; undefined when the peer has hung up between two. Rejects with a refusal when the framing is
 * broken, and as `UnixConnection.read`: then nobody knows where the next message begins, and the connection is no good.
 */
export async function readMessage(
  connection: UnixConnection,
  direction: Direction,
  close: (fd: number) => void,
  waits: Waits,
): Promise<RawMessage | undefined> {
  const head = await connection.read(HEADER_BYTES, { ...waits, fds: MOST_FDS });
  if (head === undefined) return undefined;
  const { fds } = head;
  const view = new DataView(head.bytes.buffer, head.bytes.byteOffset, HEADER_BYTES);
  const [request, flags, size] = [view.getUint32(0, true), view.getUint32(4, true), view.getUint32(8, true)];
  try {
    checkHeader(request, flags, size, direction);
    if (size === 0) return { request, flags, payload: new Uint8Array(0), fds };
    const { withinMs } = waits;
    const body = await connection.read(size, { startMs: withinMs, withinMs });
    if (body !== undefined) return { request, flags, payload: body.bytes, fds };
    throw gone(`the peer hung up in the middle of message ${request}`);
  } catch (error) {
    for (const fd of fds) close(fd);
    throw error;
  }
}

/** The other end has gone. */
export function gone(why: string, cause?: unknown): DeviceError {
  const text = { what: 'vhost-user device', why, fix: 'start the other end again: it is waited for' };
  return new DeviceError('DEVICE_LOST', text, { cause });
}
