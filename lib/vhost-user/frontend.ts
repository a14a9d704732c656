/**
 * The front end's side of one connection: asks, and believes no answer before it has looked at it (QEMU,
 * docs/interop/vhost-user.rst). Main thread.
 */
import { DeviceError } from '../errors.ts';
import type { UnixConnection } from '../unix/connection.ts';
import { FEATURE } from '../virtio/features.ts';
import { frame, gone, type RawMessage, readMessage } from './channel.ts';
import { decode, encode, type Payloads } from './payload.ts';
import {
  FLAG,
  hasProtocol,
  MESSAGE,
  type MessageName,
  type MessageRow,
  type ProtocolFeature,
  protocolSet,
  type Shape,
} from './protocol.ts';

type PayloadOf<N extends MessageName> = Payloads[(typeof MESSAGE)[N]['payload']];
type ReplyOf<N extends MessageName> = (typeof MESSAGE)[N] extends { readonly reply: infer S extends Shape }
  ? Payloads[S]
  : undefined;

/** An answer, with the fds that it carried: the caller's. */
export interface Answer<N extends MessageName> {
  readonly value: ReplyOf<N>;
  readonly fds: readonly number[];
}

/** What the front end can use of a back end; INFLIGHT_SHMFD is only used where it is asked for. */
const PROTOCOL = protocolSet(
  'MQ',
  'REPLY_ACK',
  'MTU',
  'BACKEND_REQ',
  'CONFIG',
  'RESET_DEVICE',
  'CONFIGURE_MEM_SLOTS',
  'STATUS',
);

/** VHOST_USER_F_PROTOCOL_FEATURES. */
export const F_PROTOCOL_FEATURES = 1n << BigInt(FEATURE.PROTOCOL_FEATURES);

/** How a connection ends: told once, unless we hang up ourselves. */
export interface FrontEndEvents {
  lost(reason: string): void;
}

/** One connection to a back end. */
export class FrontEnd {
  /** Virtio features that the back end offers, PROTOCOL_FEATURES among them. Known after `negotiate`. */
  offered = 0n;
  /** Protocol features in use. */
  protocol = 0n;
  private readonly connection: UnixConnection;
  /** Closes an fd that came with an answer. */
  readonly closeFd: (fd: number) => void;
  private readonly timeoutMs: number;
  private readonly events: FrontEndEvents;
  /** One question at a time: answers come in the order of the questions, and have no number. */
  private turn: Promise<unknown> = Promise.resolve();
  private failure: Error | undefined;

  /** Process of the back end, as the kernel noted it. */
  get pid(): number {
    return this.connection.peer.pid;
  }

  constructor(connection: UnixConnection, close: (fd: number) => void, timeoutMs: number, events: FrontEndEvents) {
    this.connection = connection;
    this.closeFd = close;
    this.timeoutMs = timeoutMs;
    this.events = events;
    connection.onEnd(() => this.fail(gone('the back end has hung up')));
  }

  /** Features, then protocol features, then ownership. */
  async negotiate(inflight = false): Promise<void> {
    this.offered = (await this.ask('GET_FEATURES', undefined)).value;
    if ((this.offered & F_PROTOCOL_FEATURES) !== 0n) {
      const theirs = (await this.ask('GET_PROTOCOL_FEATURES', undefined)).value;
      const wanted = theirs & (inflight ? PROTOCOL | protocolSet('INFLIGHT_SHMFD') : PROTOCOL);
      await this.ask('SET_PROTOCOL_FEATURES', wanted);
      this.protocol = wanted;
    }
    await this.ask('SET_OWNER', undefined);
  }

  has(name: ProtocolFeature): boolean {
    return hasProtocol(this.protocol, name);
  }

  /**
   * Sends a message, and waits for the answer when there is one: with REPLY_ACK there always is. The fds stay the
   * caller's. Rejects with `DEVICE_TIMEOUT`, `DEVICE_LOST` and `VHOST_BAD_REPLY`, after which the connection is closed,
   * and with `VHOST_NACK`, after which it goes on.
   */
  ask<N extends MessageName>(name: N, payload: PayloadOf<N>, fds: readonly number[] = []): Promise<Answer<N>> {
    const asked = this.turn.then(() => this.exchange(name, payload, fds));
    this.turn = asked.catch(() => {});
    return asked;
  }

  private async exchange<N extends MessageName>(
    name: N,
    payload: PayloadOf<N>,
    fds: readonly number[],
  ): Promise<Answer<N>> {
    if (this.failure !== undefined) throw this.failure;
    const row: MessageRow = MESSAGE[name];
    const acked = row.reply === undefined && this.has('REPLY_ACK');
    const flags = FLAG.VERSION | (acked ? FLAG.NEED_REPLY : 0);
    const bytes = frame(row.id, flags, encode(row.payload, payload as never));
    try {
      await this.connection.send(bytes, fds, { withinMs: this.timeoutMs });
      if (row.reply === undefined && !acked) return { value: undefined as ReplyOf<N>, fds: [] };
      const answer = await this.answer(name, row);
      if (row.reply !== undefined) return this.judge(name, row, answer, payload);
      this.acknowledge(name, answer);
    } catch (error) {
      if ((error as DeviceError).code === 'VHOST_NACK') throw error;
      throw this.fail(this.translate(name, error));
    }
    return { value: undefined as ReplyOf<N>, fds: [] };
  }

  private async answer(name: MessageName, row: MessageRow): Promise<RawMessage> {
    const waits = { startMs: this.timeoutMs, withinMs: this.timeoutMs };
    const answer = await readMessage(this.connection, 'reply', this.closeFd, waits);
    if (answer === undefined) throw gone(`the back end hung up instead of answering ${name}`);
    const { request, fds } = answer;
    const wrong =
      request !== row.id
        ? `it is the answer to message ${request}`
        : fds.length > (name === 'GET_INFLIGHT_FD' ? 1 : 0)
          ? `${fds.length} fds came with it`
          : undefined;
    if (wrong === undefined) return answer;
    for (const fd of fds) this.closeFd(fd);
    throw badReply(name, wrong);
  }

  private acknowledge(name: MessageName, { payload }: RawMessage): void {
    if (payload.length !== 8) throw badReply(name, `it has ${payload.length} bytes, and an acknowledgement has 8`);
    const value = decode('u64', payload);
    if (value === 0n) return;
    throw nack(name, String(value));
  }

  private judge<N extends MessageName>(
    name: N,
    row: MessageRow,
    { payload, fds }: RawMessage,
    asked: PayloadOf<N>,
  ): Answer<N> {
    try {
      // An empty answer to a question about the configuration says that there is none.
      if (name === 'GET_CONFIG' && payload.length === 0) throw nack(name, 'an empty answer');
      const value = decode(row.reply as Shape, payload) as ReplyOf<N>;
      checkAnswer(name, asked, value);
      return { value, fds };
    } catch (error) {
      for (const fd of fds) this.closeFd(fd);
      throw error;
    }
  }

  private translate(name: MessageName, error: unknown): Error {
    const { code, message } = error as DeviceError;
    if (code === 'DEVICE_LOST' || code === 'VHOST_BAD_REPLY') return error as Error;
    if (code === 'UNIX_TIMEOUT') {
      const why = `the back end did not answer ${name} within ${this.timeoutMs} ms`;
      return new DeviceError('DEVICE_TIMEOUT', { what: 'vhost-user device', why, fix: 'see whether it still runs' });
    }
    if (code === 'UNIX_CLOSED') return gone(`the back end hung up during ${name}`, error);
    return badReply(name, message, error);
  }

  /** Hangs up because of `error`. */
  private fail(error: Error): Error {
    if (this.failure !== undefined) return this.failure;
    this.failure = error;
    this.connection.close();
    this.events.lost(error.message);
    return error;
  }

  /** Hangs up; nothing is told. Idempotent. */
  hangUp(): void {
    this.failure ??= gone('it has been closed');
    this.connection.close();
  }
}

/** What an answer must have in common with its question. */
function checkAnswer<N extends MessageName>(name: N, asked: PayloadOf<N>, value: ReplyOf<N>): void {
  if (name === 'GET_VRING_BASE') {
    const [a, b] = [asked as Payloads['state'], value as unknown as Payloads['state']];
    if (a.index !== b.index) throw badReply(name, `it is about ring ${b.index}, not ${a.index}`);
  }
  if (name === 'GET_CONFIG') {
    const [a, b] = [asked as Payloads['config'], value as unknown as Payloads['config']];
    if (a.offset !== b.offset || a.size !== b.size)
      throw badReply(name, `it has bytes ${b.offset}+${b.size}, not ${a.offset}+${a.size}`);
  }
}

function nack(name: MessageName, answer: string): DeviceError {
  const why = `the back end refused it (${answer})`;
  return new DeviceError('VHOST_NACK', { what: `vhost-user ${name}`, why, fix: 'its log says why, if anything does' });
}

function badReply(name: MessageName, why: string, cause?: unknown): DeviceError {
  const text = { what: `the back end's answer to ${name}`, why, fix: 'find out what it is, and mend it' };
  return new DeviceError('VHOST_BAD_REPLY', text, { cause });
}
