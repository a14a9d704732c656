/** `linecard grant`: does for an unprivileged engine what of its AF_XDP ports takes privileges (docs/adr). */
import type { Native } from '../../native/index.ts';
import type { XskRights } from '../devios/xsk-rights.ts';
import { DevioError } from '../errors.ts';
import { channelsOf, rxQueueCount } from '../netlink/ethtool.ts';
import { Netdevs } from '../netlink/netdevs.ts';
import type { Link } from '../netlink/rtnetlink.ts';
import type { Peer } from '../unix/address.ts';
import type { UnixConnection } from '../unix/connection.ts';
import { UnixListener } from '../unix/listener.ts';
import { ConfinedRights } from './confined.ts';
import { type Lease, refused, serveGrant } from './session.ts';

/** An interface that is granted. */
export interface GrantedPort {
  readonly name: string;
  /** Rx queues; all, if absent. */
  readonly queues?: { readonly first: number; readonly last: number } | undefined;
  /** Although a default route leaves by it. */
  readonly force: boolean;
}

/** What happened, for the log. */
export type GrantEvent =
  | { readonly type: 'granted' | 'released'; readonly port: string; readonly peer: Peer; readonly why?: string }
  | { readonly type: 'refused'; readonly peer: Peer; readonly why: string }
  | { readonly type: 'error'; readonly error: Error };

/** What is granted, to whom, where. */
export interface GrantOptions {
  readonly ports: readonly GrantedPort[];
  readonly uid: number;
  readonly path: string;
  tell(event: GrantEvent): void;
}

/** Makes what has the privileges over an interface: replaced by tests. */
export type MakeRights = (index: number, link: () => Link | undefined) => XskRights;

/** The last number that a queue can have in the program's map. */
const LAST_QUEUE = 255;

/** Waits for engines and serves them, until it is closed. */
export class GrantHelper {
  private readonly native: Native;
  private readonly options: GrantOptions;
  private readonly makeRights: MakeRights;
  private readonly netdevs: Netdevs;
  private readonly leases = new Map<string, Peer>();
  private readonly connections = new Set<UnixConnection>();
  private readonly sessions = new Set<Promise<void>>();
  private listener: UnixListener | undefined;

  constructor(native: Native, options: GrantOptions, makeRights?: MakeRights) {
    this.native = native;
    this.options = options;
    this.makeRights = makeRights ?? ((index, link) => new ConfinedRights(native, index, link));
    const failed = (error: Error) => options.tell({ type: 'error', error });
    this.netdevs = new Netdevs(native, { appeared() {}, changed() {}, vanished() {}, failed });
  }

  /** Throws `NO_SUCH_INTERFACE`, `GRANT_REFUSED` (a default route), `UNIX_PATH_TAKEN`, `UNIX_LISTEN`. */
  async start(): Promise<void> {
    const { ports, uid, path, tell } = this.options;
    await this.netdevs.start();
    try {
      for (const port of ports) await this.find(port);
      this.listener = new UnixListener(this.native, {
        path,
        kind: 'seqpacket',
        owner: uid,
        uids: [uid],
        // One for each interface, and as many that find out that there is none left.
        most: 2 * ports.length + 8,
        connected: (connection) => this.serve(connection),
        refused: (peer, why) => tell({ type: 'refused', peer, why }),
        failed: (error) => tell({ type: 'error', error }),
      });
    } catch (error) {
      this.netdevs.stop();
      throw error;
    }
  }

  /** The interface, as it is now. */
  private async find(port: GrantedPort): Promise<Link> {
    this.netdevs.look();
    const link = this.netdevs.links().find(({ name }) => name === port.name);
    if (link === undefined || !link.ethernet) {
      throw new DevioError('NO_SUCH_INTERFACE', {
        what: `grant of ${port.name}`,
        why:
          link === undefined ? 'there is no such interface in this network namespace' : 'it carries no Ethernet frames',
        fix: 'see ip link',
      });
    }
    if (!port.force && (await this.netdevs.defaultRoutes()).has(link.index)) {
      const why = `a default route leaves by ${port.name}, and taking it may cut this machine off`;
      throw refused(why, 'add force=1 where it is granted to take it all the same');
    }
    return link;
  }

  private serve(connection: UnixConnection): void {
    const { peer } = connection;
    const { tell } = this.options;
    let port = '';
    const host = {
      claim: async (name: string) => {
        const lease = await this.claim(name, peer);
        port = name;
        tell({ type: 'granted', port, peer });
        return lease;
      },
      release: () => {
        this.leases.delete(port);
      },
      close: (fd: number) => this.native.close(fd),
    };
    this.connections.add(connection);
    const session: Promise<void> = serveGrant(host, connection).then((why) => {
      this.connections.delete(connection);
      this.sessions.delete(session);
      if (port !== '') tell({ type: 'released', port, peer, ...(why === undefined ? {} : { why }) });
      else if (why !== undefined) tell({ type: 'refused', peer, why });
    });
    this.sessions.add(session);
  }

  private async claim(name: string, peer: Peer): Promise<Lease> {
    const { ports } = this.options;
    const port = ports.find((granted) => granted.name === name);
    if (port === undefined) {
      throw refused(`${name} is not granted`, `granted are ${ports.map((granted) => granted.name).join(', ')}`);
    }
    const link = await this.find(port);
    const holder = this.leases.get(name);
    if (holder !== undefined) {
      const fix = 'end it first: an interface is for one engine at a time';
      throw new DevioError('GRANT_TAKEN', { what: `grant of ${name}`, why: `process ${holder.pid} has it`, fix });
    }
    this.leases.set(name, peer);
    const count = rxQueueCount(channelsOf(this.native, name), link.rxQueues);
    const queues = port.queues ?? { first: 0, last: LAST_QUEUE };
    const rights = this.makeRights(link.index, () => this.netdevs.link(link.index));
    return { index: link.index, rights, queues, whole: queues.first === 0 && queues.last >= count - 1 };
  }

  /** Takes everything back. Idempotent. */
  async close(): Promise<void> {
    this.listener?.close();
    this.listener = undefined;
    for (const connection of this.connections) connection.close();
    await Promise.all(this.sessions);
    this.netdevs.stop();
  }
}
