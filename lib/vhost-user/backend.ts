/** The back end's side of a socket: serves one front end at a time, and whoever comes after it. Main thread. */
import type { Native } from '../../native/index.ts';
import type { UnixConnection } from '../unix/connection.ts';
import { Meeting } from './meeting.ts';
import type { PeerMemory } from './peer-memory.ts';
import { Session } from './session.ts';
import type { RingOwner } from './types.ts';

/** How many may be connected and have said nothing yet: none of them is in the way of the one that speaks. */
const MOST_CALLERS = 64;

/** How long a front end that has gone may take to be noticed before who comes instead is sent away. */
const SUCCESSION_MS = 50;

/** What was asked for, and what it works with. */
export interface BackEndOptions {
  readonly native: Native;
  readonly memory: PeerMemory;
  readonly path: string;
  /** We connect to the front end; else it to us. */
  readonly client: boolean;
  /** The uid that a front end must have; if absent, whom the socket's mode lets. */
  readonly uid?: number | undefined;
  /** How long the rest of a message may take, in ms. */
  readonly withinMs: number;
}

/** See `VhostDevio.serve` and `retire`. */
export class BackEnd {
  private readonly options: BackEndOptions;
  private readonly callers = new Map<Session, Promise<void>>();
  private meeting: Meeting | undefined;
  /** The front end that is served, or is being taken down. */
  private current: Session | undefined;

  constructor(options: BackEndOptions) {
    this.options = options;
  }

  /** Begins. Throws as `UnixListener`. */
  serve(owner: RingOwner): void {
    const { native, path, client, uid } = this.options;
    this.meeting = new Meeting({
      native,
      path,
      server: !client,
      uids: uid === undefined ? undefined : [uid],
      most: MOST_CALLERS,
      met: (connection) => this.meet(connection, owner),
    });
  }

  private meet(connection: UnixConnection, owner: RingOwner): void {
    const { native, memory, client, uid, withinMs } = this.options;
    if (client && uid !== undefined && connection.peer.uid !== uid) {
      connection.close();
      this.meeting?.again();
      return;
    }
    const session = new Session({ native, memory, owner, withinMs, admit: (who) => this.admit(who) }, connection);
    const done = session.run().then(() => {
      this.callers.delete(session);
      if (this.current === session) this.current = undefined;
      this.meeting?.again();
    });
    this.callers.set(session, done);
  }

  /**
   * The first to speak is the front end. Who speaks while it is served is sent away; while it goes, waits. That it has gone
   * may be heard a little after who comes instead.
   */
  private async admit(session: Session): Promise<boolean> {
    if (this.current?.ended === false) await new Promise((resolve) => setTimeout(resolve, SUCCESSION_MS));
    while (this.current?.ended === true) await this.callers.get(this.current);
    if (this.current !== undefined || this.meeting === undefined) return false;
    this.current = session;
    return true;
  }

  configChanged(): void {
    this.current?.configChanged();
  }

  broken(): void {
    this.current?.broken();
  }

  /** Ends it: resolves when nobody is served any more, and nothing of theirs is mapped. */
  async retire(): Promise<void> {
    this.meeting?.close();
    this.meeting = undefined;
    for (const session of this.callers.keys()) session.end('the port was stopped');
    await Promise.all(this.callers.values());
  }
}
