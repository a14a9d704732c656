/** The receiving half of a connection: exact lengths, with the fds that came with them, in time. Main thread. */
import { type Native, type NativeUnixSocket, UNIX_RECEIVE } from '../../native/index.ts';
import { SystemError } from '../errors.ts';
import { errnoName, systemError } from '../system-error.ts';

/** The most fds that one message can carry (SCM_MAX_FD). */
export const MOST_FDS = 253;

/** What was read. */
export interface UnixMessage {
  readonly bytes: Uint8Array;
  /** Fds that came with these bytes, in order, close-on-exec. Whoever is given the message owns them and closes each once. */
  readonly fds: readonly number[];
}

/** How to read. */
export interface ReadOptions {
  /** How many fds may come; with more, all are closed and the connection is broken. 0 if absent. */
  readonly fds?: number | undefined;
  /** How long to wait for the first byte, in ms; for ever if absent. */
  readonly startMs?: number | undefined;
  /** How long the rest may take from the first byte on, in ms; 5000 if absent. */
  readonly withinMs?: number | undefined;
}

interface Reading {
  readonly bytes: Uint8Array;
  readonly fds: number[];
  readonly mostFds: number;
  readonly withinMs: number;
  readonly done: (message: UnixMessage | undefined) => void;
  readonly failed: (error: Error) => void;
  at: number;
  timer: NodeJS.Timeout | undefined;
}

const WITHIN_MS = 5000;

/**
 * Reads from a socket that somebody else owns and watches: `ready` is called when it is readable, `changed` calls back
 * when that is wanted, or not any more.
 */
export class UnixReader {
  private readonly native: Native;
  private readonly socket: NativeUnixSocket;
  private readonly records: boolean;
  private readonly changed: () => void;
  private readonly slots = new Int32Array(1 + MOST_FDS);
  private reading: Reading | undefined;
  private broken: Error | undefined;

  constructor(native: Native, socket: NativeUnixSocket, records: boolean, changed: () => void) {
    this.native = native;
    this.socket = socket;
    this.records = records;
    this.changed = changed;
  }

  get waiting(): boolean {
    return this.reading !== undefined;
  }

  /** See `UnixConnection.read`. */
  read(length: number, options: ReadOptions): Promise<UnixMessage | undefined> {
    const { fds = 0, startMs, withinMs = WITHIN_MS } = options;
    if (this.reading !== undefined) throw new RangeError('one read at a time');
    if (!(length >= 1) || !(fds >= 0 && fds <= MOST_FDS))
      throw new RangeError('a read is of 1 byte or more, 0 to 253 fds');
    if (this.broken !== undefined) return Promise.reject(this.broken);
    return new Promise((done, failed) => {
      const bytes = new Uint8Array(length);
      this.reading = { bytes, fds: [], mostFds: fds, withinMs, done, failed, at: 0, timer: undefined };
      if (startMs !== undefined) this.reading.timer = setTimeout(() => this.expire(startMs), startMs);
      this.ready();
    });
  }

  /** Takes what is there. */
  ready(): void {
    for (let reading = this.reading; reading !== undefined && this.take(reading); reading = this.reading);
    this.changed();
  }

  /** Takes something; false when there is no more now. */
  private take(reading: Reading): boolean {
    const length = this.receive(reading);
    if (length === undefined || length === UNIX_RECEIVE.nothing) return false;
    if (length === 0) this.end(reading);
    else if (length === UNIX_RECEIVE.fdsLost) {
      this.fail(
        unixError('UNIX_FDS', `more came than the ${reading.mostFds} that may, or this process may open no more`),
      );
    } else if (length === UNIX_RECEIVE.recordCut) {
      this.fail(
        unixError('UNIX_TOO_LONG', `a record is longer than the ${reading.bytes.length} bytes that it may have`),
      );
    } else this.add(reading, length);
    return true;
  }

  private receive({ bytes, at, fds, mostFds }: Reading): number | undefined {
    try {
      // Never past the end of what was asked for: the fds of the next message come with its bytes.
      return this.socket.receive(bytes.subarray(at), this.slots.subarray(0, 1 + mostFds - fds.length));
    } catch (error) {
      // The peer went while it had not read all that we sent: for us that is its end.
      if (errnoName(error) === 'ECONNRESET') return 0;
      this.fail(systemError(SystemError, 'UNIX_IO', 'reading from a unix socket', error));
      return undefined;
    }
  }

  private add(reading: Reading, length: number): void {
    for (let i = 0; i < this.slots[0]; i++) reading.fds.push(this.slots[1 + i]);
    if (reading.at === 0) {
      clearTimeout(reading.timer);
      reading.timer = setTimeout(() => this.expire(reading.withinMs), reading.withinMs);
    }
    reading.at += length;
    if (reading.at < reading.bytes.length && !this.records) return;
    this.settle().done({ bytes: reading.bytes.subarray(0, reading.at), fds: reading.fds });
  }

  private end(reading: Reading): void {
    if (reading.at > 0)
      this.fail(unixError('UNIX_CLOSED', `the peer went after ${reading.at} of ${reading.bytes.length} bytes`));
    else this.settle().done(undefined);
  }

  private expire(ms: number): void {
    const before = this.reading?.at ?? 0;
    // What came while this thread was busy with something else came in time.
    this.ready();
    if (this.reading === undefined || (before === 0 && this.reading.at > 0)) return;
    const { at, bytes } = this.reading;
    const error = unixError('UNIX_TIMEOUT', `${at} of ${bytes.length} bytes came within ${ms} ms`);
    // Between messages nothing is lost by it; within one, nobody knows any more where the next one begins.
    if (at > 0) this.fail(error);
    else this.settle().failed(error);
    this.changed();
  }

  private settle(): Reading {
    const reading = this.reading as Reading;
    clearTimeout(reading.timer);
    this.reading = undefined;
    return reading;
  }

  /** Nothing is read any more; what is under way fails, and the fds that it had are closed. */
  fail(error: Error): void {
    this.broken ??= error;
    if (this.reading === undefined) return;
    const { fds, failed } = this.settle();
    for (const fd of fds) this.native.close(fd);
    failed(error);
  }
}

/** An error of a connection. */
export function unixError(code: string, why: string): SystemError {
  return new SystemError(code, { what: 'unix socket', why, fix: 'close it, and connect again' });
}
