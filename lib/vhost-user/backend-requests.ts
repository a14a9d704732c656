/** What a back end may ask of us, the front end: it has a socket of its own for that (BACKEND_REQ). Main thread. */
import type { Native } from '../../native/index.ts';
import { UnixConnection } from '../unix/connection.ts';
import { frame, readMessage } from './channel.ts';
import type { FrontEnd } from './frontend.ts';
import { encode } from './payload.ts';
import { BACKEND_MESSAGE, FLAG } from './protocol.ts';

const WITHIN_MS = 5000;

/** Serves the requests of one back end until it goes or `close`. What we know nothing of is refused, if it wants to know. */
export class BackendRequests {
  private readonly connection: UnixConnection;
  private readonly native: Native;
  private readonly changed: () => void;

  /** `changed` is called when the back end says that its configuration has changed. */
  static async open(native: Native, front: FrontEnd, changed: () => void): Promise<BackendRequests> {
    const [ours, theirs] = native.socketPair();
    try {
      const requests = new BackendRequests(native, ours, changed);
      await front.ask('SET_BACKEND_REQ_FD', undefined, [theirs]).catch((error) => {
        requests.close();
        throw error;
      });
      void requests.serve();
      return requests;
    } finally {
      native.close(theirs);
    }
  }

  private constructor(native: Native, fd: number, changed: () => void) {
    this.native = native;
    this.changed = changed;
    this.connection = new UnixConnection(native, fd, 'stream');
  }

  private async serve(): Promise<void> {
    const close = (fd: number) => this.native.close(fd);
    try {
      for (;;) {
        const message = await readMessage(this.connection, 'request', close, { withinMs: WITHIN_MS });
        if (message === undefined) break;
        for (const fd of message.fds) close(fd);
        const known = message.request === BACKEND_MESSAGE.CONFIG_CHANGE_MSG;
        if (known) this.changed();
        if ((message.flags & FLAG.NEED_REPLY) === 0) continue;
        const reply = frame(message.request, FLAG.VERSION | FLAG.REPLY, encode('u64', known ? 0n : 1n));
        await this.connection.send(reply);
      }
    } catch {
      // It broke its own channel: the device goes on without.
    }
    this.close();
  }

  close(): void {
    this.connection.close();
  }
}
