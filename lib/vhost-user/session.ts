/**
 * One front end, from its first message to its last: reads, checks, has it done, answers. What is wrong changes nothing,
 * and is refused where the front end wants to know, or else ends the session (QEMU, docs/interop/vhost-user.rst). Main
 * thread.
 */
import type { Native } from '../../native/index.ts';
import type { UnixConnection } from '../unix/connection.ts';
import { STATUS } from '../virtio/features.ts';
import { frame, type RawMessage, readMessage } from './channel.ts';
import type { Handler, Received, WithFds } from './handler.ts';
import { areaHandlers } from './handlers/areas.ts';
import { configHandlers } from './handlers/config.ts';
import { featureHandlers, isDeadly } from './handlers/features.ts';
import { memoryHandlers } from './handlers/memory.ts';
import { ringHandlers } from './handlers/rings.ts';
import { decode, encode, type Payloads } from './payload.ts';
import type { PeerMemory } from './peer-memory.ts';
import { BACKEND_MESSAGE, FLAG, MESSAGE, type MessageName, type MessageRow, messageName } from './protocol.ts';
import { Refusal, refusal } from './refusal.ts';
import { SessionState } from './state.ts';
import type { RingOwner } from './types.ts';

/** How often to look whether memory was taken from under us, and how soon to ask a stuck worker again. */
const LOOK_MS = 20;
const RETRY_MS = 200;

const HANDLERS = { ...featureHandlers, ...memoryHandlers, ...ringHandlers, ...configHandlers, ...areaHandlers };

/** What a session works with. */
export interface SessionMeans {
  readonly native: Native;
  readonly owner: RingOwner;
  readonly memory: PeerMemory;
  /** How long the rest of a message may take, and the first message, in ms. */
  readonly withinMs: number;
  /** Asked with the first message: whether this is to be the port's front end. Resolves when the one before has gone. */
  admit(session: Session): Promise<boolean>;
}

/** Own it: `end`, and wait for `run`. */
export class Session {
  private readonly means: SessionMeans;
  private readonly connection: UnixConnection;
  private readonly state: SessionState;
  private reason = 'it has hung up';
  private ending = false;

  constructor(means: SessionMeans, connection: UnixConnection) {
    this.means = means;
    this.connection = connection;
    this.state = new SessionState(means.native, means.owner, means.memory);
    // A front end that dies while one of its messages is being worked on: heard now, not after.
    connection.onEnd(() => this.end(this.reason));
  }

  /** Serves the front end until it goes or is sent away, and releases all that was its. Never rejects. */
  async run(): Promise<void> {
    const { owner } = this.means;
    const first = await this.read(this.means.withinMs);
    if (first === undefined || !(await this.means.admit(this)) || this.ending) {
      for (const fd of first?.fds ?? []) this.means.native.close(fd);
      this.connection.close();
      return;
    }
    owner.connected({ pid: this.connection.peer.pid, uid: this.connection.peer.uid });
    const watch = setInterval(() => this.state.faulted && this.end('its memory became shorter'), LOOK_MS);
    for (let message: RawMessage | undefined = first; message !== undefined && !this.ending; ) {
      await this.handle(message);
      message = this.ending ? undefined : await this.read();
    }
    clearInterval(watch);
    this.connection.close();
    await this.release();
    owner.disconnected(this.reason);
  }

  /** It is on its way out. */
  get ended(): boolean {
    return this.ending;
  }

  /** Hangs up. `run` resolves soon after. Idempotent. */
  end(reason: string): void {
    if (this.ending) return;
    this.ending = true;
    this.reason = reason;
    this.connection.close();
  }

  private async read(startMs?: number): Promise<RawMessage | undefined> {
    const { native, withinMs } = this.means;
    const close = (fd: number) => native.close(fd);
    try {
      const message = await readMessage(this.connection, 'request', close, { startMs, withinMs });
      if (!this.ending) return message;
      // It has hung up since.
      message?.fds.forEach(close);
      return undefined;
    } catch (error) {
      this.end((error as Error).message);
      return undefined;
    }
  }

  /** Gives all back; a worker that does not step back is asked again and again, for it may still look at the memory. */
  private async release(): Promise<void> {
    for (;;) {
      try {
        return await this.state.close();
      } catch (error) {
        this.reason = (error as Error).message;
        await new Promise((resolve) => setTimeout(resolve, RETRY_MS));
      }
    }
  }

  private async handle(message: RawMessage): Promise<void> {
    const { native } = this.means;
    const left = new Set(message.fds);
    const fds: Received = {
      peek: (i) => message.fds[i],
      take(i) {
        left.delete(message.fds[i]);
        return message.fds[i];
      },
    };
    try {
      await this.answer(message, fds);
    } catch (error) {
      this.end((error as Error).message);
    } finally {
      for (const fd of left) native.close(fd);
    }
  }

  private async answer({ request, flags, payload, fds }: RawMessage, received: Received): Promise<void> {
    // Before the handler: SET_PROTOCOL_FEATURES itself is not yet answered by what it turns on.
    const acked = (flags & FLAG.NEED_REPLY) !== 0 && this.state.has('REPLY_ACK');
    const name = messageName(request);
    const row: MessageRow | undefined = name === undefined ? undefined : MESSAGE[name];
    try {
      const result = await this.perform(request, name, row, payload, fds.length, received);
      if (row?.reply !== undefined) await this.reply(request, row, result);
      else if (acked) await this.send(request, encode('u64', 0n));
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
      // What is refused there is said with no bytes at all.
      if (name === 'GET_CONFIG') await this.send(request, new Uint8Array(0));
      else if (acked && row?.reply === undefined) await this.send(request, encode('u64', 1n));
      else throw error;
    }
  }

  private async perform(
    request: number,
    name: MessageName | undefined,
    row: MessageRow | undefined,
    bytes: Uint8Array,
    fdCount: number,
    fds: Received,
  ): Promise<unknown> {
    if (name === undefined || row === undefined)
      throw refusal(`message ${request}`, 'nothing here knows it', 'VHOST_UNKNOWN');
    if (row.needs !== undefined && !this.state.has(row.needs))
      throw refusal(name, `${row.needs} was not negotiated`, 'VHOST_NOT_NEGOTIATED');
    const payload = decode(row.payload, bytes);
    checkFds(name, row, payload, fdCount);
    if (name === 'SET_PROTOCOL_FEATURES' && isDeadly(payload as bigint))
      throw new Error('vhost-user: in-band notifications without BACKEND_REQ and REPLY_ACK');
    const result = await (HANDLERS[name] as Handler<MessageName>)(this.state, payload as never, fds);
    await this.state.rings.settle();
    return result;
  }

  private async reply(request: number, row: MessageRow, result: unknown): Promise<void> {
    const { value, fds } = isWithFds(result) ? result : { value: result, fds: [] };
    try {
      await this.send(request, encode(row.reply as 'u64', value as bigint), fds);
    } finally {
      for (const fd of fds) this.means.native.close(fd);
    }
  }

  private send(request: number, payload: Uint8Array, fds: readonly number[] = []): Promise<void> {
    return this.connection.send(frame(request, FLAG.VERSION | FLAG.REPLY, payload), fds);
  }

  /** The configuration has changed. The front end is told if it can be told; nobody waits for what it makes of it. */
  configChanged(): void {
    const { requests } = this.state;
    const message = frame(BACKEND_MESSAGE.CONFIG_CHANGE_MSG, FLAG.VERSION, encode('none', undefined));
    if (this.state.has('CONFIG')) requests?.send(message).catch(() => requests.close());
  }

  /** A ring was given up: the device needs a reset, virtio 1.2 §2.1.2. */
  broken(): void {
    if (!this.state.has('STATUS')) return;
    this.state.status |= STATUS.DEVICE_NEEDS_RESET;
    this.configChanged();
  }
}

const isWithFds = (result: unknown): result is WithFds<unknown> =>
  typeof result === 'object' && result !== null && 'fds' in result;

/** Throws a refusal unless as many fds came as the message has. */
function checkFds(name: MessageName, { fds }: MessageRow, payload: unknown, count: number): void {
  const ring = payload as Payloads['ring'];
  const wanted = {
    none: [0, 0],
    one: [1, 1],
    stray: [0, 1],
    ring: [Number(ring?.hasFd), Number(ring?.hasFd)],
    regions: [(payload as readonly unknown[] | undefined)?.length, (payload as readonly unknown[] | undefined)?.length],
  }[fds] as [number, number];
  if (count >= wanted[0] && count <= wanted[1]) return;
  throw refusal(name, `${count} fds came with it, and it has ${wanted[0]}`, 'VHOST_BAD_FDS');
}
