/**
 * A vhost-user front end without manners, with numbers and offsets of its own (QEMU, docs/interop/vhost-user.rst): it sends
 * what a test tells it to send.
 */
import { closeSync } from 'node:fs';
import { reserve } from '../../lib/arena/reserve.ts';
import { connectUnix } from '../../lib/unix/connect.ts';
import type { UnixConnection } from '../../lib/unix/connection.ts';
import type { Native } from '../../native/index.ts';

/** Message numbers. */
export const ID = {
  GET_FEATURES: 1,
  SET_FEATURES: 2,
  SET_OWNER: 3,
  RESET_OWNER: 4,
  SET_MEM_TABLE: 5,
  SET_LOG_BASE: 6,
  SET_LOG_FD: 7,
  SET_VRING_NUM: 8,
  SET_VRING_ADDR: 9,
  SET_VRING_BASE: 10,
  GET_VRING_BASE: 11,
  SET_VRING_KICK: 12,
  SET_VRING_CALL: 13,
  SET_VRING_ERR: 14,
  GET_PROTOCOL_FEATURES: 15,
  SET_PROTOCOL_FEATURES: 16,
  GET_QUEUE_NUM: 17,
  SET_VRING_ENABLE: 18,
  SEND_RARP: 19,
  NET_SET_MTU: 20,
  SET_BACKEND_REQ_FD: 21,
  IOTLB_MSG: 22,
  GET_CONFIG: 24,
  SET_CONFIG: 25,
  GET_INFLIGHT_FD: 31,
  SET_INFLIGHT_FD: 32,
  RESET_DEVICE: 34,
  GET_MAX_MEM_SLOTS: 36,
  ADD_MEM_REG: 37,
  REM_MEM_REG: 38,
  SET_STATUS: 39,
  GET_STATUS: 40,
} as const;

/** All that a network device's front end may want: bits 0 to 5, 9, 12, 13, 15, 16. */
export const PROTOCOL = 0x1b23fn;
export const PROTOCOL_FEATURES = 1n << 30n;
export const VERSION_1 = 1n << 32n;
export const PACKED = 1n << 34n;
export const LOG_ALL = 1n << 26n;

/** Little-endian words: numbers are u32, bigints u64. */
export function words(...values: readonly (number | bigint)[]): Uint8Array {
  const bytes = new Uint8Array(values.reduce((sum: number, v) => sum + (typeof v === 'bigint' ? 8 : 4), 0));
  const view = new DataView(bytes.buffer);
  let at = 0;
  for (const value of values) {
    if (typeof value === 'bigint') view.setBigUint64(at, value, true);
    else view.setUint32(at, value, true);
    at += typeof value === 'bigint' ? 8 : 4;
  }
  return bytes;
}

/** A region as SET_MEM_TABLE has it. */
export const region = (gpa: bigint, bytes: bigint, uva: bigint, offset = 0n): Uint8Array =>
  words(gpa, bytes, uva, offset);

export const table = (...regions: readonly Uint8Array[]): Uint8Array =>
  Buffer.concat([words(regions.length, 0), ...regions]);

/** A message: header and payload. */
export function bytesOf(id: number, payload: Uint8Array = new Uint8Array(0), flags = 1): Uint8Array {
  return Buffer.concat([words(id, flags, payload.length), payload]);
}

export interface Reply {
  readonly id: number;
  readonly flags: number;
  readonly payload: Uint8Array;
  readonly fds: readonly number[];
}

export class RawFrontEnd {
  readonly connection: UnixConnection;
  ended = false;
  private readonly native: Native;
  private readonly eventfds: number[] = [];
  private readonly closed: () => void;

  /** `closed` is called when it hangs up. */
  static async connect(native: Native, path: string, closed = () => {}): Promise<RawFrontEnd> {
    return new RawFrontEnd(native, await connectUnix(native, path), closed);
  }

  constructor(native: Native, connection: UnixConnection, closed = () => {}) {
    this.native = native;
    this.connection = connection;
    this.closed = closed;
    connection.onEnd(() => {
      this.ended = true;
    });
  }

  send(bytes: Uint8Array, fds: readonly number[] = []): Promise<void> {
    return this.connection.send(bytes, fds);
  }

  /** The next message of the other end; undefined when it has hung up. */
  async reply(withinMs = 2000): Promise<Reply | undefined> {
    try {
      const head = await this.connection.read(12, { fds: 8, startMs: withinMs });
      if (head === undefined) return undefined;
      const view = new DataView(head.bytes.buffer, head.bytes.byteOffset, 12);
      const size = view.getUint32(8, true);
      const body = size === 0 ? undefined : await this.connection.read(size, { startMs: withinMs });
      const payload = body?.bytes.slice() ?? new Uint8Array(0);
      return { id: view.getUint32(0, true), flags: view.getUint32(4, true), payload, fds: head.fds };
    } catch (error) {
      if ((error as { code?: string }).code === 'UNIX_CLOSED') return undefined;
      throw error;
    }
  }

  /** Sends a message that has an answer of its own, and returns that. */
  async ask(id: number, payload?: Uint8Array, fds?: readonly number[]): Promise<Reply | undefined> {
    await this.send(bytesOf(id, payload), fds);
    return this.reply();
  }

  /** Sends a message and asks for an acknowledgement: 0n, another number, or `gone`. */
  async acked(id: number, payload?: Uint8Array, fds?: readonly number[]): Promise<bigint | 'gone'> {
    try {
      await this.send(bytesOf(id, payload, 9), fds);
    } catch {
      return 'gone';
    }
    const answer = await this.reply();
    if (answer === undefined) return 'gone';
    if (answer.id !== id || answer.flags !== 5 || answer.payload.length !== 8)
      throw new Error(`no acknowledgement of ${id}: ${JSON.stringify(answer)}`);
    return new DataView(answer.payload.buffer).getBigUint64(0, true);
  }

  /** As `acked`, and throws unless it was accepted. */
  async done(id: number, payload?: Uint8Array, fds?: readonly number[]): Promise<void> {
    const answer = await this.acked(id, payload, fds);
    if (answer !== 0n) throw new Error(`message ${id} was not accepted: ${answer}`);
  }

  /** Features and protocol features, so that acknowledgements can be asked for. */
  async negotiate(features: bigint = VERSION_1 | PROTOCOL_FEATURES, protocol: bigint = PROTOCOL): Promise<void> {
    await this.ask(ID.GET_FEATURES);
    await this.ask(ID.GET_PROTOCOL_FEATURES);
    await this.send(bytesOf(ID.SET_PROTOCOL_FEATURES, words(protocol)));
    await this.send(bytesOf(ID.SET_OWNER));
    await this.done(ID.SET_FEATURES, words(features));
  }

  /** Hangs up, and closes what it made. */
  close(): void {
    this.connection.close();
    for (const fd of this.eventfds.splice(0)) this.native.close(fd);
    this.closed();
  }

  /** A new eventfd, this front end's. */
  eventfd(): number {
    const fd = this.native.eventfd();
    this.eventfds.push(fd);
    return fd;
  }
}

/** Memory of a front end: a memfd of 64 KiB units, sealed, mapped here too. */
export interface Shared {
  readonly fd: number;
  readonly bytes: Uint8Array;
  close(): void;
}

export function sharedMemory(native: Native, length = 65_536): Shared {
  const memory = new Uint8Array(reserve(Math.max(262_144, length)).buffer);
  const fd = native.mapMemory(memory, 0, length, false);
  let open = true;
  return {
    fd,
    bytes: memory.subarray(0, length),
    close() {
      if (open) closeSync(fd);
      open = false;
      native.unmap(memory, 0, length);
    },
  };
}

/** Where `setUp` puts memory and rings. */
export const GPA = 0x10_0000n;
export const UVA = 0x7f00_0000_0000n;

/** Tells of 64 KiB of memory. */
export async function tellMemory(front: RawFrontEnd, { fd }: Shared): Promise<void> {
  await front.done(ID.SET_MEM_TABLE, table(region(GPA, 65_536n, UVA)), [fd]);
}

/** Bytes of SET_VRING_ADDR for a ring of up to 256 in the memory of `tellMemory`: each ring has 16 KiB of it. */
export const address = (index: number, flags = 0, at = UVA + BigInt(index) * 0x4000n, log = 0n): Uint8Array =>
  words(index, flags, at, at + 0x2000n, at + 0x1000n, log);

/** Tells of ring `index`, with eventfds. */
export async function tellRing(front: RawFrontEnd, index: number, size = 256): Promise<{ kick: number; call: number }> {
  const [kick, call] = [front.eventfd(), front.eventfd()];
  await front.done(ID.SET_VRING_NUM, words(index, size));
  await front.done(ID.SET_VRING_BASE, words(index, 0));
  await front.done(ID.SET_VRING_ADDR, address(index));
  await front.done(ID.SET_VRING_CALL, words(BigInt(index)), [call]);
  await front.done(ID.SET_VRING_KICK, words(BigInt(index)), [kick]);
  return { kick, call };
}
