/**
 * What of an AF_XDP port takes privileges, and nothing else: its sockets, its program and what feeds them, promiscuous
 * mode. Either this process has them (`LocalRights`), or another one does it for it (`xsk-grant.ts`). Control half.
 */
import type { Native } from '../../native/index.ts';
import type { Term } from '../bpf/match.ts';
import { redirectProgram, XDP } from '../bpf/redirect.ts';
import { ATTACH_MODE, attachXdp, clearXskMap, createXskMap, loadXdp, setXskMap } from '../bpf/syscalls.ts';
import { DevioError } from '../errors.ts';
import { programHolder } from '../netlink/owners.ts';
import { joinPromiscuous } from '../netlink/promiscuous.ts';
import type { Link } from '../netlink/rtnetlink.ts';
import { errnoName, systemError } from '../system-error.ts';
import { openSocket } from './xsk-socket.ts';

/** How the program is attached. */
export type AttachMode = 'native' | 'skb';

/** The same, and why not in native mode when nobody asked for another. */
export interface Attached {
  readonly mode: AttachMode;
  readonly why?: string;
}

/** The program that is wanted. */
export interface ProgramWish {
  /** If absent, native, else skb. */
  readonly mode?: AttachMode | undefined;
  /** Which packets are taken; all, if empty. */
  readonly match: readonly Term[];
  /** Packets that are ours are dropped, not passed to the kernel, while no socket is there for them. */
  readonly closed: boolean;
  /** The program is given packets of several buffers, too (BPF_F_XDP_HAS_FRAGS, Linux 5.18). */
  readonly frags: boolean;
}

/** Privileges over one interface. */
export interface XskRights {
  /** Attaches the program; sockets that are fed from now on get packets. */
  attach(wish: ProgramWish): Promise<Attached>;
  /** Detaches the program; without one, does nothing. */
  detach(): void;
  /** Opens an AF_XDP socket for a queue; the fd is the caller's. */
  openSocket(queue: number, busyPoll: boolean): Promise<number>;
  /** Has the program give a queue's packets to the bound socket `fd`, which stays the caller's. */
  feed(queue: number, fd: number): Promise<void>;
  /** Ends that. */
  starve(queue: number): void;
  /** Has the interface take frames for other addresses too, or not any more. The kernel undoes it when we end. */
  setPromiscuous(on: boolean): void | Promise<void>;
  /** Calls `listener` once when the privileges are taken away, with why. */
  onLost(listener: (why: string) => void): void;
  /** Takes back whatever was done. Idempotent. */
  close(): void;
}

const QUEUES_IN_MAP = 256;

/** Why a driver refuses a program in native mode. */
const NO_NATIVE: Readonly<Record<string, string>> = {
  EOPNOTSUPP: 'its driver has no native XDP',
  ERANGE: "its MTU (of a veth: the other end's) is too large for native XDP",
  ENOSPC: 'it has fewer rx queues than its peer has tx queues',
};

/** This process's own privileges. `link` says what is known of the interface now. */
export class LocalRights implements XskRights {
  private readonly native: Native;
  private readonly index: number;
  private readonly link: () => Link | undefined;
  private program: { map: number; link: number } | undefined;
  private membership = -1;

  constructor(native: Native, index: number, link: () => Link | undefined) {
    this.native = native;
    this.index = index;
    this.link = link;
  }

  private get name(): string {
    return this.link()?.name ?? `interface ${this.index}`;
  }

  async attach(wish: ProgramWish): Promise<Attached> {
    const { native } = this;
    const map = createXskMap(native, QUEUES_IN_MAP);
    try {
      const { link, ...attached } = this.attachProgram(map, wish);
      this.program = { map, link };
      return attached;
    } catch (error) {
      native.close(map);
      throw error;
    }
  }

  private attachProgram(map: number, wish: ProgramWish): Attached & { readonly link: number } {
    const { native } = this;
    const code = redirectProgram(map, wish.match, wish.closed ? XDP.drop : XDP.pass);
    const program = loadXdp(native, code, { frags: wish.frags });
    const modes: AttachMode[] = wish.mode === undefined ? ['native', 'skb'] : [wish.mode];
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
    const { name } = this;
    const holder = errnoName(cause) === 'EBUSY' ? programHolder(this.link()?.xdpProgram ?? 0) : '';
    return systemError(DevioError, 'XDP_ATTACH', `attaching an XDP program to ${name} in ${mode} mode`, cause, {
      EPERM: 'run as root, give node CAP_BPF and CAP_NET_ADMIN, or have root run linecard grant',
      EBUSY: `another XDP program is attached${holder}: end its owner, or ip link set ${name} xdp off`,
      EEXIST: `another XDP program is attached${holder}: end its owner, or ip link set ${name} xdp off`,
      EOPNOTSUPP: `${NO_NATIVE.EOPNOTSUPP}: use mode=skb`,
      ERANGE: `${NO_NATIVE.ERANGE}: lower it, or use mode=skb`,
      ENOSPC: `${NO_NATIVE.ENOSPC}: make them equal, or use mode=skb`,
      ENODEV: 'it has gone',
    });
  }

  detach(): void {
    const { program } = this;
    this.program = undefined;
    if (program === undefined) return;
    // The program first: from now on the kernel has its packets again, and no socket is needed.
    this.native.close(program.link);
    this.native.close(program.map);
  }

  async openSocket(_queue: number, busyPoll: boolean): Promise<number> {
    return openSocket(this.native, busyPoll);
  }

  async feed(queue: number, fd: number): Promise<void> {
    if (this.program !== undefined) setXskMap(this.native, this.program.map, queue, fd);
  }

  starve(queue: number): void {
    if (this.program !== undefined) clearXskMap(this.native, this.program.map, queue);
  }

  setPromiscuous(on: boolean): void {
    if (on === this.membership >= 0) return;
    if (on) this.membership = joinPromiscuous(this.native, this.index, this.name);
    else {
      this.native.close(this.membership);
      this.membership = -1;
    }
  }

  /** Nobody takes them away. */
  onLost(): void {}

  close(): void {
    this.setPromiscuous(false);
    this.detach();
  }
}
