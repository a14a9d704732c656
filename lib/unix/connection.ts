/**
 * A connected unix socket that carries fds. Main thread.
 *
 * Framing is the caller's: it reads exactly as many bytes as its protocol says come next. That is also what tells which
 * message an fd belongs to, since the kernel hands an fd over with the first byte of what it was sent with, and would
 * join two messages of a stream in one larger read.
 */
import { type Native, type NativeUnixSocket, UNIX_EVENT } from '../../native/index.ts';
import { type Peer, peerOf, type UnixKind } from './address.ts';
import { type ReadOptions, type UnixMessage, UnixReader, unixError } from './reader.ts';
import { UnixWriter } from './writer.ts';

const WITHIN_MS = 5000;

/** Belongs to whoever has it, until `close`. */
export class UnixConnection {
  /** Who is at the other end, as the kernel noted it when the connection was made. */
  readonly peer: Peer;
  private readonly socket: NativeUnixSocket;
  private readonly reader: UnixReader;
  private readonly writer: UnixWriter;
  private readonly closed: () => void;
  private readonly listeners: (() => void)[] = [];
  private ended = false;
  private open = true;
  private events = 0;

  /** Takes a connected socket over, also when it throws. `closed` is called when it has been closed. */
  constructor(native: Native, fd: number, kind: UnixKind, closed: () => void = () => {}) {
    try {
      this.peer = peerOf(native, fd);
      this.socket = new native.UnixSocket(fd);
    } catch (error) {
      native.close(fd);
      throw error;
    }
    this.closed = closed;
    this.reader = new UnixReader(native, this.socket, kind === 'seqpacket', () => this.watch());
    this.writer = new UnixWriter(this.socket, () => this.watch());
    this.watch();
  }

  /**
   * Reads exactly `length` bytes, or, of records, one of at most `length`. Undefined: the peer has gone, between two
   * messages. One read at a time. Rejects with `UNIX_TIMEOUT` (a peer that goes silent within a message), `UNIX_CLOSED`
   * (that goes within one), `UNIX_FDS` (more fds than may come, or than this process may have open; all are closed),
   * `UNIX_TOO_LONG` (a longer record), `UNIX_IO`. But for a timeout before the first byte, the connection is no good
   * after that: every later read rejects with the same error. The fds of the message are the caller's.
   */
  read(length: number, options: ReadOptions = {}): Promise<UnixMessage | undefined> {
    return this.reader.read(length, options);
  }

  /**
   * Sends one message, after those that were sent before. The fds go with its first byte; they stay the caller's, and
   * like the bytes they must stay as they are until the promise settles. Rejects with `UNIX_CLOSED`, `UNIX_TIMEOUT` (the
   * peer does not read), `UNIX_BUSY` (more than 1 MiB waits for it), `UNIX_IO`.
   */
  send(bytes: Uint8Array, fds: readonly number[] = [], options: { readonly withinMs?: number } = {}): Promise<void> {
    return this.writer.send(bytes, fds, options.withinMs ?? WITHIN_MS);
  }

  /**
   * Sends one message at once, whole: when it returns, the kernel has it, and keeps it and its fds for the peer, whatever
   * becomes of this process. Throws `UNIX_BUSY` (the peer has not read what was sent before), `UNIX_CLOSED`, `UNIX_IO`.
   */
  sendNow(bytes: Uint8Array, fds: readonly number[] = []): void {
    this.writer.sendNow(bytes, fds);
  }

  /** Calls `listener` once when the peer has hung up; what it sent before that can still be read. Never after `close`. */
  onEnd(listener: () => void): void {
    this.listeners.push(listener);
    if (this.ended) queueMicrotask(() => this.tellEnd());
  }

  /** Closes it, at once. Reads and sends under way reject with `UNIX_CLOSED`; no listener is called. Idempotent. */
  close(): void {
    if (!this.open) return;
    this.open = false;
    this.socket.close();
    const error = unixError('UNIX_CLOSED', 'it was closed on this side');
    this.reader.fail(error);
    this.writer.fail(error);
    this.closed();
  }

  private watch(): void {
    if (!this.open) return;
    const { readable, writable, disconnect } = UNIX_EVENT;
    const events =
      (this.reader.waiting ? readable : 0) | (this.writer.waiting ? writable : 0) | (this.ended ? 0 : disconnect);
    if (events === this.events) return;
    this.events = events;
    this.socket.watch(events, (seen) => this.ready(seen));
  }

  private ready(seen: number): void {
    // After an error libuv has stopped watching: the next `watch` has to say it anew.
    this.events = -1;
    if (this.open && this.reader.waiting) this.reader.ready();
    if (this.open && this.writer.waiting) this.writer.ready();
    if (this.open && (seen & UNIX_EVENT.disconnect) !== 0) this.ended = true;
    this.watch();
    if (this.ended) this.tellEnd();
  }

  private tellEnd(): void {
    for (const listener of this.listeners.splice(0)) if (this.open) listener();
  }
}
