/** devio `devio-xsk`: AF_XDP sockets on a kernel interface, and the program that feeds them. Control half. */
import type { Native } from '../../native/index.ts';
import type { Arena } from '../arena/arena.ts';
import type { FramePool } from '../arena/frame-pool.ts';
import type { Term } from '../bpf/match.ts';
import { redirectProgram, XDP } from '../bpf/redirect.ts';
import { ATTACH_MODE, attachXdp, clearXskMap, createXskMap, loadXdp, setXskMap } from '../bpf/syscalls.ts';
import { DevioError } from '../errors.ts';
import { type Api, type Device, type Devio, type DevioProvider, FRAMEWORK_API } from '../framework/types.ts';
import type { Channels } from '../netlink/ethtool.ts';
import { programHolder } from '../netlink/owners.ts';
import { joinPromiscuous } from '../netlink/promiscuous.ts';
import type { Link } from '../netlink/rtnetlink.ts';
import { errnoName, systemError } from '../system-error.ts';
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
  /** Calls `listener` when the link changes; returns how to end that. */
  watch(index: number, listener: LinkWatcher): () => void;
}

/** How the program is attached. */
export type AttachMode = 'native' | 'skb';

/** The same, and why not in native mode when nobody asked for another. */
export interface Attached {
  readonly mode: AttachMode;
  readonly why?: string;
}

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
  allocate(bytes: number): number;
  free(offset: number): void;
  /** Attaches the program; sockets that are opened from now on are fed. */
  attach(): Attached;
  /** Opens the socket of queue `queue` of the interface. */
  openQueue(queue: number, sizes: RingSizes): Promise<Xsk>;
  closeQueue(xsk: Xsk): void;
  /** Detaches the program. */
  detach(): void;
  /** Has the interface take frames for other addresses too, or not any more. The kernel undoes it when we end. */
  setPromiscuous(on: boolean): void;
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

const QUEUES_IN_MAP = 256;

/** Why a driver refuses a program in native mode. */
const NO_NATIVE: Readonly<Record<string, string>> = {
  EOPNOTSUPP: 'its driver has no native XDP',
  ERANGE: "its MTU (of a veth: the other end's) is too large for native XDP",
  ENOSPC: 'it has fewer rx queues than its peer has tx queues',
};

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
  /** Sockets of the engine that are bound: whoever comes next shares the frame pool with them. */
  private readonly bound: Set<Xsk>;
  private readonly mine = new Set<Xsk>();
  private readonly offsets = new Set<number>();
  private readonly unwatch: (() => void)[] = [];
  private program: { map: number; link: number } | undefined;
  private membership = -1;
  private closed = false;

  constructor(
    arena: Arena,
    frames: FramePool,
    netdevs: NetdevView,
    bound: Set<Xsk>,
    index: number,
    options: XdpOptions,
  ) {
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

  allocate(bytes: number): number {
    const offset = this.arena.allocate(bytes);
    this.offsets.add(offset);
    return offset;
  }

  free(offset: number): void {
    if (this.offsets.delete(offset)) this.arena.free(offset);
  }

  attach(): Attached {
    const { native } = this;
    const map = createXskMap(native, QUEUES_IN_MAP);
    try {
      const { link, ...attached } = this.attachProgram(map);
      this.program = { map, link };
      return attached;
    } catch (error) {
      native.close(map);
      throw error;
    }
  }

  private attachProgram(map: number): Attached & { readonly link: number } {
    const { native, options } = this;
    const code = redirectProgram(map, options.match, options.closed ? XDP.drop : XDP.pass);
    const program = loadXdp(native, code, { frags: false });
    const modes: AttachMode[] = options.mode === undefined ? ['native', 'skb'] : [options.mode];
    let fallback: { readonly why?: string } = {};
    try {
      for (const [i, mode] of modes.entries()) {
        try {
          return { mode, link: attachXdp(native, program, this.index, ATTACH_MODE[mode]), ...fallback };
        } catch (cause) {
          // No native XDP in this driver, or not with this MTU: behind the driver it works everywhere.
          const refused = ['EOPNOTSUPP', 'ERANGE', 'EINVAL', 'ENOSPC'].includes(errnoName(cause) ?? '');
          if (!refused || i === modes.length - 1) throw this.attachError(mode, cause);
          fallback = { why: NO_NATIVE[errnoName(cause) ?? ''] ?? `native mode was refused: ${errnoName(cause)}` };
        }
      }
      throw new RangeError('no mode'); // unreachable: modes is never empty
    } finally {
      native.close(program); // the link keeps it
    }
  }

  private attachError(mode: AttachMode, cause: unknown): Error {
    const name = this.link()?.name ?? `interface ${this.index}`;
    const holder = errnoName(cause) === 'EBUSY' ? programHolder(this.link()?.xdpProgram ?? 0) : '';
    return systemError(DevioError, 'XDP_ATTACH', `attaching an XDP program to ${name} in ${mode} mode`, cause, {
      EPERM: 'run as root, or give node CAP_BPF and CAP_NET_ADMIN',
      EBUSY: `another XDP program is attached${holder}: end its owner, or ip link set ${name} xdp off`,
      EEXIST: `another XDP program is attached${holder}: end its owner, or ip link set ${name} xdp off`,
      EOPNOTSUPP: `${NO_NATIVE.EOPNOTSUPP}: use mode=skb`,
      ERANGE: `${NO_NATIVE.ERANGE}: lower it, or use mode=skb`,
      ENOSPC: `${NO_NATIVE.ENOSPC}: make them equal, or use mode=skb`,
      ENODEV: 'it has gone',
    });
  }

  async openQueue(queue: number, sizes: RingSizes): Promise<Xsk> {
    const sharing = [...this.bound][0];
    const where = { name: this.link()?.name ?? `interface ${this.index}`, index: this.index, queue };
    const xsk = await openXsk(this.arena, this.frames, where, sizes, this.options, sharing);
    this.bound.add(xsk);
    this.mine.add(xsk);
    if (this.program !== undefined) setXskMap(this.native, this.program.map, queue, xsk.fd);
    return xsk;
  }

  closeQueue(xsk: Xsk): void {
    if (!this.mine.delete(xsk)) return;
    if (this.program !== undefined) clearXskMap(this.native, this.program.map, xsk.queue);
    this.bound.delete(xsk);
    xsk.close();
  }

  detach(): void {
    const { program } = this;
    this.program = undefined;
    if (program === undefined) return;
    // The program first: from now on the kernel has its packets again, and no socket is needed.
    this.native.close(program.link);
    this.native.close(program.map);
  }

  setPromiscuous(on: boolean): void {
    if (on === this.membership >= 0) return;
    if (on) this.membership = joinPromiscuous(this.native, this.index, this.link()?.name ?? '');
    else {
      this.native.close(this.membership);
      this.membership = -1;
    }
  }

  close(): void {
    if (this.closed) return;
    this.closed = true;
    this.setPromiscuous(false);
    for (const end of this.unwatch) end();
    this.detach();
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
    open(device) {
      const index = indexOf(device);
      const options = netdevs.take(index) as XdpOptions;
      return new InterfaceDevio(arena, frames, netdevs, bound, index, options);
    },
  };
}
