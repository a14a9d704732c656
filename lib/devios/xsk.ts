/** devio `devio-xsk`: AF_XDP sockets on a kernel interface, and the program that feeds them. Control half. */
import type { Native } from '../../native/index.ts';
import type { Arena } from '../arena/arena.ts';
import type { FramePool } from '../arena/frame-pool.ts';
import type { Term } from '../bpf/match.ts';
import { DevioError } from '../errors.ts';
import { type Api, type Device, type Devio, type DevioProvider, FRAMEWORK_API } from '../framework/types.ts';
import type { Channels } from '../netlink/ethtool.ts';
import type { Link } from '../netlink/rtnetlink.ts';
import { GrantedRights, type GrantPlace } from './xsk-grant.ts';
import { type Attached, LocalRights, type XskRights } from './xsk-rights.ts';
import { openXsk, type RingSizes, type Xsk } from './xsk-socket.ts';

/** What drivers ask for. */
export const XSK_API: Api = { name: 'devio-xsk', version: 1 };

/** How an interface is opened. */
export interface XdpOptions {
  /** `native` and `skb` force a mode of the program; if absent, native, else skb. */
  readonly mode?: 'native' | 'skb' | undefined;
  /** Force or forbid zero-copy; if absent, zero-copy, else copy. */
  readonly zeroCopy?: boolean | undefined;
  /** First queue of the interface that is opened. */
  readonly firstQueue: number;
  /** Which packets are taken; all, if empty. */
  readonly match: readonly Term[];
  /** Packets that are ours are dropped, not passed to the kernel, while no socket is there for them. */
  readonly closed: boolean;
  readonly busyPoll: boolean;
  /** Finish checksums that the sender left to hardware; if absent, on interfaces without hardware. */
  readonly fillChecksums?: boolean | undefined;
  /** Take the interface although a default route leaves by it. */
  readonly force: boolean;
  /** The helper that has the privileges; this process, if absent. */
  readonly grant?: GrantPlace | undefined;
}

/** Hears of changes of a link; without one, it has gone, and `why` says how. */
export type LinkWatcher = (link: Link | undefined, why: string) => void;

/** An interface as the devio sees it: what the enumerator knows, and what was asked for. */
export interface NetdevView {
  link(index: number): Link | undefined;
  addresses(index: number): string[];
  carriesDefaultRoute(index: number): Promise<boolean>;
  /** Rx queues in use. */
  queues(index: number): number;
  /** Its queues by kind, when its driver says. */
  channels(index: number): Channels | undefined;
  driver(index: number): string;
  /** Set while somebody has asked for the interface by name. */
  wanted(index: number): XdpOptions | undefined;
  /** As `wanted`; and until `unwant` nobody else gets it. */
  take(index: number): XdpOptions | undefined;
  /** The asking is over. */
  unwant(index: number): void;
  /** Reads interfaces afresh. */
  refresh(): Promise<void>;
  /** Calls `listener` when the link changes; returns how to end that. */
  watch(index: number, listener: LinkWatcher): () => void;
}

export type { Attached, AttachMode } from './xsk-rights.ts';

/** An open interface. */
export interface XskDevio extends Devio {
  readonly memory: SharedArrayBuffer;
  readonly native: Native;
  readonly options: XdpOptions;
  readonly frames: FramePool;
  readonly index: number;
  link(): Link | undefined;
  queues(): number;
  channels(): Channels | undefined;
  watch(listener: LinkWatcher): void;
  /** Reads interfaces afresh: of XDP programs that come and go the kernel does not tell. */
  refresh(): Promise<void>;
  allocate(bytes: number): number;
  free(offset: number): void;
  /**
   * Attaches the program; sockets that are opened from now on are fed. `multiBuffer`: it is given packets of several
   * buffers, too (Linux 5.18 on).
   */
  attach(multiBuffer?: boolean): Promise<Attached>;
  /** Opens the socket of queue `queue` of the interface; `multiBuffer` is a wish: see `openXsk`. */
  openQueue(queue: number, sizes: RingSizes, multiBuffer?: boolean): Promise<Xsk>;
  closeQueue(xsk: Xsk): void;
  /** Detaches the program. */
  detach(): void;
  /** Has the interface take frames for other addresses too, or not any more. The kernel undoes it when we end. */
  setPromiscuous(on: boolean): void | Promise<void>;
  /** Calls `listener` when the privileges to do any of it are taken away, with why. */
  onLost(listener: (why: string) => void): void;
}

/** Returns `devio` as what its api says it is. Throws `WRONG_DEVIO` when a driver was given another kind. */
export function asXskDevio(devio: Devio): XskDevio {
  if (devio.api.name === XSK_API.name && devio.api.version === XSK_API.version) return devio as XskDevio;
  throw new DevioError('WRONG_DEVIO', {
    what: `devio ${devio.api.name} ${devio.api.version}`,
    why: `the driver needs ${XSK_API.name} ${XSK_API.version}`,
    fix: 'let the framework match drivers and devios',
  });
}

class InterfaceDevio implements XskDevio {
  readonly api = XSK_API;
  readonly backend = 'af-xdp';
  readonly memory: SharedArrayBuffer;
  readonly native: Native;
  readonly options: XdpOptions;
  readonly frames: FramePool;
  readonly index: number;
  private readonly arena: Arena;
  private readonly netdevs: NetdevView;
  private readonly rights: XskRights;
  /** Sockets of the engine that are bound: whoever comes next shares the frame pool with them. */
  private readonly bound: Set<Xsk>;
  private readonly mine = new Set<Xsk>();
  private readonly offsets = new Set<number>();
  private readonly unwatch: (() => void)[] = [];
  private closed = false;

  constructor(
    arena: Arena,
    frames: FramePool,
    netdevs: NetdevView,
    bound: Set<Xsk>,
    index: number,
    options: XdpOptions,
    rights: XskRights,
  ) {
    this.rights = rights;
    this.arena = arena;
    this.memory = arena.memory;
    this.native = arena.native;
    this.frames = frames;
    this.netdevs = netdevs;
    this.bound = bound;
    this.index = index;
    this.options = options;
  }

  link(): Link | undefined {
    return this.netdevs.link(this.index);
  }

  queues(): number {
    return this.netdevs.queues(this.index);
  }

  channels(): Channels | undefined {
    return this.netdevs.channels(this.index);
  }

  watch(listener: LinkWatcher): void {
    this.unwatch.push(this.netdevs.watch(this.index, listener));
  }

  refresh(): Promise<void> {
    return this.netdevs.refresh();
  }

  allocate(bytes: number): number {
    const offset = this.arena.allocate(bytes);
    this.offsets.add(offset);
    return offset;
  }

  free(offset: number): void {
    if (this.offsets.delete(offset)) this.arena.free(offset);
  }

  attach(multiBuffer = false): Promise<Attached> {
    const { mode, match, closed } = this.options;
    return this.rights.attach({ mode, match, closed, frags: multiBuffer });
  }

  async openQueue(queue: number, sizes: RingSizes, multiBuffer = false): Promise<Xsk> {
    // Whether packets may have several descriptors belongs to a UMEM: with sockets that differ it is not shared.
    const sharing = [...this.bound].find((xsk) => xsk.multiBuffer === multiBuffer);
    const name = this.link()?.name ?? `interface ${this.index}`;
    const socket = () => this.rights.openSocket(queue, this.options.busyPoll);
    const where = { name, index: this.index, queue, socket };
    const xsk = await openXsk(this.arena, this.frames, where, sizes, this.options, sharing, multiBuffer);
    this.bound.add(xsk);
    this.mine.add(xsk);
    await this.rights.feed(queue, xsk.fd);
    return xsk;
  }

  closeQueue(xsk: Xsk): void {
    if (!this.mine.delete(xsk)) return;
    this.rights.starve(xsk.queue);
    this.bound.delete(xsk);
    xsk.close();
  }

  detach(): void {
    this.rights.detach();
  }

  setPromiscuous(on: boolean): void | Promise<void> {
    return this.rights.setPromiscuous(on);
  }

  onLost(listener: (why: string) => void): void {
    this.rights.onLost(listener);
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    for (const end of this.unwatch) end();
    this.rights.close();
    for (const xsk of [...this.mine]) this.closeQueue(xsk);
    for (const offset of this.offsets) this.arena.free(offset);
    this.offsets.clear();
    this.netdevs.unwant(this.index);
  }
}

/** Makes the provider. An interface is only taken when it was asked for by name. */
export function xskDevio(arena: Arena, frames: FramePool, netdevs: NetdevView, enumeratorApi: Api): DevioProvider {
  const bound = new Set<Xsk>();
  const indexOf = (device: Device): number => Number(device.facts.ifindex);
  return {
    name: 'xsk',
    version: '1.0.0',
    frameworkApi: FRAMEWORK_API,
    api: XSK_API,
    backend: 'af-xdp',
    enumeratorApi,
    async usable(device) {
      const index = indexOf(device);
      const wanted = netdevs.wanted(index);
      if (wanted === undefined) return `nobody asked for it: open xdp:${String(device.facts.name)}`;
      if (!wanted.force && (await netdevs.carriesDefaultRoute(index))) {
        // Refused once is refused: what is tried later, for another reason, must not find the wish.
        netdevs.unwant(index);
        return 'a default route leaves by it, and taking it may cut this machine off; add force=1 to take it all the same';
      }
      return true;
    },
    async open(device) {
      const index = indexOf(device);
      const options = netdevs.take(index) as XdpOptions;
      try {
        const { native } = arena;
        const rights =
          options.grant === undefined
            ? new LocalRights(native, index, () => netdevs.link(index))
            : await GrantedRights.open(native, options.grant, String(device.facts.name), index);
        return new InterfaceDevio(arena, frames, netdevs, bound, index, options, rights);
      } catch (error) {
        netdevs.unwant(index);
        throw error;
      }
    },
  };
}
