/** One engine at the helper: a lease of one interface, from `hello` to the end of the connection. */
import { parseMatch } from '../bpf/match.ts';
import {
  decodeRequest,
  encodeRecord,
  GRANT_RECORD,
  GRANT_VERSION,
  type GrantRequest,
} from '../devios/grant-protocol.ts';
import type { XskRights } from '../devios/xsk-rights.ts';
import { DevioError, toPlainError } from '../errors.ts';
import type { UnixConnection } from '../unix/connection.ts';

/** How long an engine may take to say what it wants, and to take an answer. */
const HELLO_MS = 2000;
const ANSWER_MS = 2000;

/** A lease, as the helper gives it out. */
export interface Lease {
  readonly index: number;
  readonly rights: XskRights;
  /** Queues that may be opened. */
  readonly queues: { readonly first: number; readonly last: number };
  /** All the queues that the interface has are among them. */
  readonly whole: boolean;
}

/** What a session needs of the helper. */
export interface SessionHost {
  /** Leases an interface to one session. Throws `GRANT_REFUSED`, `GRANT_TAKEN`. */
  claim(name: string): Promise<Lease>;
  /** The session's lease is over; its rights are closed. */
  release(lease: Lease): void;
  /** Closes an fd that came. */
  close(fd: number): void;
}

/** Answers an engine until it goes; whatever it did is taken back then. Never rejects; returns why it ended, if for no good reason. */
export async function serveGrant(host: SessionHost, connection: UnixConnection): Promise<string | undefined> {
  const session = new Session(host, connection);
  try {
    while (await session.next());
    return undefined;
  } catch (error) {
    // An engine may go without having taken its last answer.
    return toPlainError(error).code === 'UNIX_CLOSED' ? undefined : (error as Error).message;
  } finally {
    session.end();
  }
}

interface Done {
  readonly ok?: Readonly<Record<string, unknown>>;
  /** An fd for the engine; closed here once it has been sent. */
  readonly fd?: number;
}

class Session {
  private readonly host: SessionHost;
  private readonly connection: UnixConnection;
  private lease: Lease | undefined;

  constructor(host: SessionHost, connection: UnixConnection) {
    this.host = host;
    this.connection = connection;
  }

  /** Answers one request; false when the engine has gone. Throws when it does not keep to the protocol. */
  async next(): Promise<boolean> {
    // Once it has a lease, an engine has nothing to say for days.
    const startMs = this.lease === undefined ? HELLO_MS : undefined;
    const message = await this.connection.read(GRANT_RECORD, { fds: 1, startMs });
    if (message === undefined) return false;
    let id = 0;
    try {
      const decoded = decodeRequest(message.bytes);
      id = decoded.id;
      const done = await this.answer(decoded.request, message.fds);
      await this.send({ id, ok: done.ok ?? {} }, done.fd);
      return true;
    } catch (error) {
      const { code, message: text, detail } = toPlainError(error);
      await this.send({
        id,
        error: { code: code === '' ? 'GRANT_FAILED' : code, message: text.slice(0, 2000), detail },
      });
      if (code === 'GRANT_PROTOCOL' || code === 'GRANT_VERSION') throw error;
      return true;
    } finally {
      for (const fd of message.fds) this.host.close(fd);
    }
  }

  private async send(record: object, fd?: number): Promise<void> {
    try {
      await this.connection.send(encodeRecord(record), fd === undefined ? [] : [fd], { withinMs: ANSWER_MS });
    } finally {
      if (fd !== undefined) this.host.close(fd);
    }
  }

  private async answer(request: GrantRequest, fds: readonly number[]): Promise<Done> {
    if (fds.length !== (request.type === 'feed' ? 1 : 0)) throw protocol(`${fds.length} fds came with ${request.type}`);
    if (request.type === 'hello') return this.hello(request);
    if (this.lease === undefined) throw protocol(`${request.type} came before hello`);
    const { rights, whole } = this.lease;
    switch (request.type) {
      case 'attach': {
        const { mode, match, closed, frags } = request;
        // The program sees the packets of all queues.
        if (closed && !whole)
          throw refused('closed=1 would drop packets of queues that are not granted', 'leave it out');
        const wish = { mode: mode ?? undefined, match: match === '' ? [] : parseMatch(match), closed, frags };
        rights.detach();
        return { ok: { ...(await rights.attach(wish)) } };
      }
      case 'detach':
        rights.detach();
        return {};
      case 'socket':
        return { fd: await rights.openSocket(this.queue(request.queue), request.busyPoll) };
      case 'feed':
        await rights.feed(this.queue(request.queue), fds[0]);
        return {};
      case 'starve':
        rights.starve(this.queue(request.queue));
        return {};
      case 'promiscuous':
        await rights.setPromiscuous(request.on);
        return {};
    }
  }

  private async hello(request: GrantRequest & { type: 'hello' }): Promise<Done> {
    if (request.version !== GRANT_VERSION) {
      throw new DevioError('GRANT_VERSION', {
        what: 'grant',
        why: `the engine speaks version ${request.version}, linecard grant version ${GRANT_VERSION}`,
        fix: 'run the same version of linecard at both ends',
      });
    }
    if (this.lease !== undefined) throw protocol('hello came twice');
    this.lease = await this.host.claim(request.interface);
    return { ok: { index: this.lease.index } };
  }

  private queue(queue: number): number {
    const { first, last } = (this.lease as Lease).queues;
    if (queue >= first && queue <= last) return queue;
    throw refused(`queue ${queue} is not granted`, `open queues from ${first} to ${last} (queue=${first})`);
  }

  end(): void {
    const { lease } = this;
    this.lease = undefined;
    if (lease !== undefined) {
      lease.rights.close();
      this.host.release(lease);
    }
    this.connection.close();
  }
}

function protocol(why: string): DevioError {
  return new DevioError('GRANT_PROTOCOL', { what: 'grant', why, fix: 'is the same linecard at both ends?' });
}

/** The error for what may not be. */
export function refused(why: string, fix: string): DevioError {
  return new DevioError('GRANT_REFUSED', { what: 'grant', why, fix });
}
