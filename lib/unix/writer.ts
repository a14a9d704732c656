/** The sending half of a connection: whole messages, in order, in time. Main thread. */
import type { NativeUnixSocket } from '../../native/index.ts';
import { SystemError } from '../errors.ts';
import { errnoName, systemError } from '../system-error.ts';
import { MOST_FDS, unixError } from './reader.ts';

interface Sending {
  readonly bytes: Uint8Array;
  readonly fds: Int32Array;
  readonly done: () => void;
  readonly failed: (error: Error) => void;
  readonly timer: NodeJS.Timeout;
  at: number;
}

/** How many bytes may wait for a peer that does not read. */
const MOST_WAITING = 1024 * 1024;
const NO_FDS = new Int32Array(0);

/** Writes to a socket that somebody else owns and watches; see `UnixReader`. */
export class UnixWriter {
  private readonly socket: NativeUnixSocket;
  private readonly changed: () => void;
  private readonly queue: Sending[] = [];
  private bytes = 0;
  private broken: Error | undefined;

  constructor(socket: NativeUnixSocket, changed: () => void) {
    this.socket = socket;
    this.changed = changed;
  }

  get waiting(): boolean {
    return this.queue.length > 0;
  }

  /** See `UnixConnection.send`. */
  send(bytes: Uint8Array, fds: readonly number[], withinMs: number): Promise<void> {
    if (bytes.length === 0 || fds.length > MOST_FDS) throw new RangeError('a message has 1 byte or more, 0 to 253 fds');
    if (this.broken !== undefined) return Promise.reject(this.broken);
    if (this.bytes > MOST_WAITING)
      return Promise.reject(unixError('UNIX_BUSY', `the peer has ${this.bytes} bytes to read`));
    return new Promise((done, failed) => {
      const timer = setTimeout(() => {
        this.ready();
        const late = this.queue.some((sending) => sending.timer === timer);
        if (late) this.fail(unixError('UNIX_TIMEOUT', `the peer did not read what was sent within ${withinMs} ms`));
        this.changed();
      }, withinMs);
      this.bytes += bytes.length;
      this.queue.push({ bytes, fds: Int32Array.from(fds), done, failed, timer, at: 0 });
      this.ready();
    });
  }

  /** See `UnixConnection.sendNow`. */
  sendNow(bytes: Uint8Array, fds: readonly number[]): void {
    if (this.broken !== undefined) throw this.broken;
    if (this.waiting) throw unixError('UNIX_BUSY', `the peer has ${this.bytes} bytes to read`);
    let sent = 0;
    try {
      sent = Math.max(0, this.socket.send(bytes, Int32Array.from(fds)));
    } catch (error) {
      throw sendError(error);
    }
    if (sent === bytes.length) return;
    const busy = unixError('UNIX_BUSY', `the peer does not read: ${sent} of ${bytes.length} bytes went`);
    // Half a message: nobody knows any more where the next one begins.
    if (sent > 0) this.fail(busy);
    throw busy;
  }

  /** Sends what can be sent. */
  ready(): void {
    while (this.queue.length > 0 && this.put(this.queue[0]));
    this.changed();
  }

  /** Sends something of a message; false when the socket takes no more now. */
  private put(sending: Sending): boolean {
    const { bytes, fds, at } = sending;
    try {
      const n = this.socket.send(bytes.subarray(at), at === 0 ? fds : NO_FDS);
      if (n < 0) return false;
      sending.at += n;
    } catch (error) {
      this.fail(sendError(error));
      return false;
    }
    if (sending.at === bytes.length) {
      this.queue.shift();
      this.settle(sending).done();
    }
    return true;
  }

  private settle(sending: Sending): Sending {
    clearTimeout(sending.timer);
    this.bytes -= sending.bytes.length;
    return sending;
  }

  /** Nothing is sent any more; what waits fails. */
  fail(error: Error): void {
    this.broken ??= error;
    for (const sending of this.queue.splice(0)) this.settle(sending).failed(error);
  }
}

function sendError(error: unknown): Error {
  const gone = ['EPIPE', 'ECONNRESET', 'ENOTCONN'].includes(errnoName(error) ?? '');
  if (gone) return unixError('UNIX_CLOSED', 'the peer has gone');
  return systemError(SystemError, 'UNIX_IO', 'writing to a unix socket', error, {
    EMSGSIZE: 'send a shorter record',
    ETOOMANYREFS: 'too many fds are on their way: have the peer take those that it was sent',
  });
}
