/** How the two ends of a vhost-user socket meet: one listens, the other calls until it is heard. Main thread. */
import type { Native } from '../../native/index.ts';
import { connectUnix } from '../unix/connect.ts';
import type { UnixConnection } from '../unix/connection.ts';
import { UnixListener } from '../unix/listener.ts';

/**
 * Between two calls: doubled each time, and after a connection that lasted the first one again. A call that nobody hears
 * costs next to nothing, and who comes back is to be met soon.
 */
const FIRST_MS = 50;
const MOST_MS = 200;
const LASTED_MS = 1000;

/** Where, in which role, and who is told. */
export interface MeetingOptions {
  readonly native: Native;
  readonly path: string;
  /** We listen; else we call. */
  readonly server: boolean;
  /** Uids that may connect to us; if absent, whom the socket's mode (0600) lets. */
  readonly uids?: readonly number[] | undefined;
  /** How many may be connected to us at a time. */
  readonly most?: number | undefined;
  /** A connection; it is the callee's, who says `again` when a caller's has ended. */
  met(connection: UnixConnection): void;
  /** Nobody was met, for this reason; it is tried again. */
  alone?(error: Error): void;
}

/** Goes on until `close`. */
export class Meeting {
  private readonly options: MeetingOptions;
  private readonly listener: UnixListener | undefined;
  private timer: NodeJS.Timeout | undefined;
  private wait = FIRST_MS;
  private since = 0;
  private open = true;

  /** Throws as `UnixListener` when we are to listen and cannot. */
  constructor(options: MeetingOptions) {
    this.options = options;
    const { native, path, server, uids, most, met, alone } = options;
    if (!server) {
      void this.call();
      return;
    }
    this.listener = new UnixListener(native, {
      path,
      uids,
      most,
      connected: met,
      ...(alone === undefined ? {} : { failed: alone }),
    });
  }

  private async call(): Promise<void> {
    const { native, path, met, alone } = this.options;
    try {
      const connection = await connectUnix(native, path);
      if (!this.open) return connection.close();
      this.since = performance.now();
      met(connection);
    } catch (error) {
      if (!this.open) return;
      alone?.(error as Error);
      this.again();
    }
  }

  /** The connection has ended, or was no good: there may be another. A listener hears of it by itself. */
  again(): void {
    if (!this.open || this.listener !== undefined || this.timer !== undefined) return;
    if (this.since > 0 && performance.now() - this.since > LASTED_MS) this.wait = FIRST_MS;
    this.since = 0;
    this.timer = setTimeout(() => {
      this.timer = undefined;
      void this.call();
    }, this.wait);
    this.wait = Math.min(this.wait * 2, MOST_MS);
  }

  /** Ends it; connections that were met stay. Idempotent. */
  close(): void {
    this.open = false;
    clearTimeout(this.timer);
    this.listener?.close();
  }
}
