/** Privileges over an interface that a helper has: `linecard grant` at the other end of a unix socket. Control half. */
import type { Native } from '../../native/index.ts';
import { AF_XDP } from '../drivers/xdp/regs.ts';
import { DevioError, fromPlainError, type LinecardError } from '../errors.ts';
import { connectUnix } from '../unix/connect.ts';
import type { UnixConnection } from '../unix/connection.ts';
import {
  decodeAnswer,
  encodeRecord,
  GRANT_RECORD,
  GRANT_VERSION,
  type GrantRequest,
  malformed,
} from './grant-protocol.ts';
import type { Attached, ProgramWish, XskRights } from './xsk-rights.ts';

/** Where the helper is, and what goes to it as it was typed. */
export interface GrantPlace {
  /** Path of its socket. */
  readonly path: string;
  /** The match, as text; the empty string takes all packets. */
  readonly match: string;
}

const SOL_SOCKET = 1;
const SO_DOMAIN = 39;
/** How long the helper may take for anything. */
const ANSWER_MS = 5000;

type Values = Readonly<Record<string, unknown>>;
interface Answer {
  readonly ok: Values;
  readonly fds: readonly number[];
}

/** A lease of one interface. */
export class GrantedRights implements XskRights {
  private readonly native: Native;
  private readonly place: GrantPlace;
  private readonly connection: UnixConnection;
  private readonly listeners: ((why: string) => void)[] = [];
  /** Requests go one after the other: each waits for its answer. */
  private last: Promise<unknown> = Promise.resolve();
  private requests = 0;
  private promiscuous = false;
  private open = true;

  private constructor(native: Native, place: GrantPlace, connection: UnixConnection) {
    this.native = native;
    this.place = place;
    this.connection = connection;
    connection.onEnd(() => this.lose('the process that granted it has ended'));
  }

  /**
   * Asks the helper at `place` for the interface. Throws `UNIX_CONNECT`, `UNIX_PATH`, `GRANT_NAMESPACE`,
   * `GRANT_PROTOCOL`, and what the helper says: `GRANT_REFUSED`, `GRANT_TAKEN`, `GRANT_VERSION`.
   */
  static async open(native: Native, place: GrantPlace, name: string, index: number): Promise<GrantedRights> {
    const connection = await connectUnix(native, place.path, { kind: 'seqpacket' });
    const rights = new GrantedRights(native, place, connection);
    try {
      const { ok } = await rights.ask({ type: 'hello', version: GRANT_VERSION, interface: name });
      if (ok.index === index) return rights;
      throw new DevioError('GRANT_NAMESPACE', {
        what: `grant of ${name}`,
        why: `it is interface ${index} here, and ${String(ok.index)} where the helper runs: another network namespace`,
        fix: 'run linecard grant in the same network namespace (ip netns exec)',
      });
    } catch (error) {
      rights.close();
      throw error;
    }
  }

  /** Sends a request and waits for its answer, which brings `fds` fds, the caller's. */
  private ask(request: GrantRequest, sent: readonly number[] = [], fds = 0): Promise<Answer> {
    const answer = this.last.then(() => this.exchange(request, sent, fds));
    this.last = answer.catch(() => {});
    return answer;
  }

  private async exchange(request: GrantRequest, sent: readonly number[], fds: number): Promise<Answer> {
    if (!this.open) throw lost(this.place.path);
    const id = ++this.requests;
    let message: Awaited<ReturnType<UnixConnection['read']>>;
    try {
      const sending = this.connection.send(encodeRecord({ id, ...request }), sent, { withinMs: ANSWER_MS });
      // Who is turned away may not even be able to send; that it was, the end of the stream says.
      await (id === 1 ? sending.catch(() => {}) : sending);
      message = await this.connection.read(GRANT_RECORD, { fds, startMs: ANSWER_MS });
    } catch (cause) {
      // After this, nobody knows to what the next answer would belong.
      this.lose((cause as Error).message);
      throw lost(this.place.path, cause);
    }
    if (message === undefined) {
      this.lose('the process that granted it has ended');
      throw id === 1 ? turnedAway(this.place.path) : lost(this.place.path);
    }
    return this.answerOf(message, id, fds);
  }

  private answerOf(message: { bytes: Uint8Array; fds: readonly number[] }, id: number, fds: number): Answer {
    try {
      const answer = decodeAnswer(message.bytes);
      if (answer.id !== id) throw malformed('it answers something else');
      if ('error' in answer) throw fromPlainError({ name: 'DevioError', stack: '', ...answer.error });
      if (message.fds.length !== fds) throw malformed(`${message.fds.length} fds came with it`);
      return { ok: answer.ok, fds: message.fds };
    } catch (error) {
      for (const fd of message.fds) this.native.close(fd);
      if ((error as LinecardError).code === 'GRANT_PROTOCOL') this.lose((error as Error).message);
      throw error;
    }
  }

  private lose(why: string): void {
    if (!this.open) return;
    this.close();
    for (const listener of this.listeners.splice(0)) listener(why);
  }

  async attach({ mode, closed, frags }: ProgramWish): Promise<Attached> {
    const { match } = this.place;
    const { ok } = await this.ask({ type: 'attach', mode: mode ?? null, match, closed, frags });
    if (ok.mode !== 'native' && ok.mode !== 'skb') throw malformed('it does not say in which mode');
    return { mode: ok.mode, ...(typeof ok.why === 'string' ? { why: ok.why } : {}) };
  }

  detach(): void {
    this.tell({ type: 'detach' });
  }

  async openSocket(queue: number, busyPoll: boolean): Promise<number> {
    const { fds } = await this.ask({ type: 'socket', queue, busyPoll }, [], 1);
    if (this.isXdpSocket(fds[0])) return fds[0];
    this.native.close(fds[0]);
    throw malformed('its fd is no AF_XDP socket');
  }

  private isXdpSocket(fd: number): boolean {
    const domain = new Uint8Array(4);
    try {
      this.native.getsockopt(fd, SOL_SOCKET, SO_DOMAIN, domain);
    } catch {
      return false; // ENOTSOCK
    }
    return new DataView(domain.buffer).getUint32(0, true) === AF_XDP;
  }

  async feed(queue: number, fd: number): Promise<void> {
    await this.ask({ type: 'feed', queue }, [fd]);
  }

  starve(queue: number): void {
    this.tell({ type: 'starve', queue });
  }

  setPromiscuous(on: boolean): void | Promise<void> {
    if (on === this.promiscuous) return;
    this.promiscuous = on;
    if (on) return this.ask({ type: 'promiscuous', on }).then(() => {});
    this.tell({ type: 'promiscuous', on });
  }

  /** What only takes back: it is done before anything that is asked later, and with the end of the lease at the latest. */
  private tell(request: GrantRequest): void {
    if (this.open) this.ask(request).catch(() => {});
  }

  onLost(listener: (why: string) => void): void {
    this.listeners.push(listener);
  }

  close(): void {
    if (!this.open) return;
    this.open = false;
    this.connection.close();
  }
}

function turnedAway(path: string): DevioError {
  return new DevioError('GRANT_REFUSED', {
    what: `grant at ${path}`,
    why: 'it hung up without a word: it is for another user, or ended just now',
    fix: 'linecard grant says there whom it turned away; start it with --to and this user',
  });
}

function lost(path: string, cause?: unknown): DevioError {
  return new DevioError(
    'GRANT_LOST',
    {
      what: `grant at ${path}`,
      why: cause === undefined ? 'the process that granted it has ended' : (cause as Error).message,
      fix: 'start linecard grant again, then open the port again',
    },
    { cause },
  );
}
