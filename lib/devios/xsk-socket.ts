/** One AF_XDP socket, bound to one queue of an interface, its rings mapped into the arena (af_xdp.rst). Control half. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Native } from '../../native/index.ts';
import type { Arena, Segment } from '../arena/arena.ts';
import type { FramePool } from '../arena/frame-pool.ts';
import type { RingPlace } from '../drivers/xdp/places.ts';
import {
  AF_XDP,
  RING_OFFSET_BYTES,
  SOL_XDP,
  TX_BATCH_SIZE,
  XDP_BIND,
  XDP_OPTION,
  XDP_OPTIONS_ZEROCOPY,
  XDP_PACKET_HEADROOM,
  XDP_PGOFF,
  XDP_RINGS,
  XDP_STATISTICS,
} from '../drivers/xdp/regs.ts';
import { DevioError } from '../errors.ts';
import { queueHolder } from '../netlink/owners.ts';
import { errnoName, systemError } from '../system-error.ts';
import type { XdpOptions } from './xsk.ts';

/** Descriptors per ring, powers of two. */
export type RingSizes = Readonly<Record<keyof typeof XDP_RINGS, number>>;

/** Which queue of which interface. */
export interface Where {
  readonly name: string;
  readonly index: number;
  readonly queue: number;
  /** Makes its socket, not yet bound; the fd is the caller's. */
  socket(): Promise<number>;
}

/** A bound socket. */
export interface Xsk {
  readonly fd: number;
  readonly queue: number;
  readonly zeroCopy: boolean;
  /** What the kernel answered when zero-copy was tried and refused. */
  readonly refusal?: string;
  /** Packets that one call sends at most. */
  readonly budget: number;
  /** Packets may have several descriptors. */
  readonly multiBuffer: boolean;
  readonly rings: Readonly<Record<keyof typeof XDP_RINGS, RingPlace>>;
  /** The error that the socket has had since it was asked last, as an error number; 0 is none. */
  failure(): number;
  /** The kernel's own counters. */
  statistics(): Record<string, bigint>;
  close(): void;
}

const SOCK_RAW = 3;
const SOL_SOCKET = 1;
const SO = { error: 4, busyPoll: 46, preferBusyPoll: 69, busyPollBudget: 70 } as const;
/** A queue that was just closed stays busy for some 25 ms: the kernel frees it later. */
const BUSY_MS = 1000;
/** The memory of a UMEM that was just given up counts against the limit of locked memory for as long. */
const UNLOCK_MS = 250;

/** Packets per call to ask for: what a call costs is then little beside what they cost. */
const TX_BUDGET = 128;

const words = (...values: number[]): Uint8Array => new Uint8Array(Uint32Array.from(values).buffer);

/** Opens an AF_XDP socket; the fd is the caller's. What takes privileges is done here: nothing later does. */
export function openSocket(native: Native, busyPoll: boolean): number {
  let fd = -1;
  try {
    fd = native.socket(AF_XDP, SOCK_RAW, 0);
    if (busyPoll) preferBusyPoll(native, fd);
    return fd;
  } catch (cause) {
    if (fd >= 0) native.close(fd);
    throw systemError(DevioError, 'XSK_SOCKET', 'opening an AF_XDP socket', cause, {
      EPERM:
        'run as root, give node CAP_NET_RAW (for busy polling CAP_NET_ADMIN, too), or have root run linecard grant',
      EAFNOSUPPORT: 'the kernel has no AF_XDP (CONFIG_XDP_SOCKETS): use another kernel',
    });
  }
}

/** Registers the frame pool as the socket's UMEM: chunk = frame, address = arena offset less the pool's start. */
async function registerUmem(arena: Arena, frames: FramePool, fd: number): Promise<void> {
  const { base, count, frameSize, headroom } = frames.plan;
  const bytes = count * frameSize;
  const umem = new Uint8Array(32);
  const view = new DataView(umem.buffer);
  view.setBigUint64(8, BigInt(bytes), true);
  view.setUint32(16, frameSize, true);
  view.setUint32(20, Math.max(0, headroom - XDP_PACKET_HEADROOM), true);
  for (const end = performance.now() + UNLOCK_MS; ; await sleep(5)) {
    try {
      arena.native.setsockopt(fd, SOL_XDP, XDP_OPTION.umemReg, umem, [[0, arena.u8.subarray(base, base + bytes)]]);
      return;
    } catch (cause) {
      if (errnoName(cause) === 'ENOBUFS' && performance.now() < end) continue;
      const limit = `locked memory is limited to ${arena.native.memlockLimit()} bytes and the pool has ${bytes}: ulimit -l unlimited, LimitMEMLOCK=infinity, CAP_IPC_LOCK, or fewer frames`;
      throw systemError(DevioError, 'XSK_UMEM', `registering ${count} frames with AF_XDP`, cause, {
        ENOBUFS: limit,
        ENOMEM: limit,
        EPERM: limit,
        EINVAL: 'AF_XDP takes frames of 2048 or 4096 bytes (frameSize)',
      });
    }
  }
}

/** Makes the four rings and maps them. */
function mapRings(arena: Arena, fd: number, sizes: RingSizes, segments: Segment[]): Xsk['rings'] {
  const { native } = arena;
  native.setsockopt(fd, SOL_XDP, XDP_OPTION.umemFillRing, words(sizes.fill));
  native.setsockopt(fd, SOL_XDP, XDP_OPTION.umemCompletionRing, words(sizes.completion));
  native.setsockopt(fd, SOL_XDP, XDP_OPTION.rxRing, words(sizes.rx));
  native.setsockopt(fd, SOL_XDP, XDP_OPTION.txRing, words(sizes.tx));
  const names = Object.keys(XDP_RINGS) as (keyof typeof XDP_RINGS)[];
  const offsets = new Uint8Array(names.length * RING_OFFSET_BYTES);
  native.getsockopt(fd, SOL_XDP, XDP_OPTION.mmapOffsets, offsets);
  const view = new DataView(offsets.buffer);
  const place = (name: keyof typeof XDP_RINGS, index: number): RingPlace => {
    const [producer, consumer, first, flags] = [0, 8, 16, 24].map((at) =>
      Number(view.getBigUint64(index * RING_OFFSET_BYTES + at, true)),
    );
    const segment = arena.mapFd(fd, XDP_PGOFF[name], first + sizes[name] * XDP_RINGS[name], { writable: true });
    segments.push(segment);
    const at = segment.offset;
    return {
      producer: at + producer,
      consumer: at + consumer,
      first: at + first,
      flags: at + flags,
      size: sizes[name],
    };
  };
  return Object.fromEntries(names.map((name, index) => [name, place(name, index)])) as Xsk['rings'];
}

function makeRings(
  arena: Arena,
  fd: number,
  { name, queue }: Where,
  sizes: RingSizes,
  segments: Segment[],
): Xsk['rings'] {
  try {
    return mapRings(arena, fd, sizes, segments);
  } catch (cause) {
    throw systemError(DevioError, 'XSK_RINGS', `making the rings of queue ${queue} of ${name}`, cause, {
      ENOMEM: 'use smaller rings (rxRing, txRing)',
    });
  }
}

async function bindSocket(
  arena: Arena,
  fd: number,
  { name, index, queue }: Where,
  flags: number,
  shared: number,
): Promise<void> {
  const address = new Uint8Array(16);
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_XDP, true);
  view.setUint16(2, flags, true);
  view.setUint32(4, index, true);
  view.setUint32(8, queue, true);
  view.setUint32(12, shared, true);
  for (const end = performance.now() + BUSY_MS; ; await sleep(5)) {
    try {
      arena.native.bind(fd, address);
      return;
    } catch (cause) {
      if (errnoName(cause) === 'EBUSY' && performance.now() < end) continue;
      const holder = errnoName(cause) === 'EBUSY' ? await queueHolder(arena.native, index, queue) : '';
      throw systemError(DevioError, 'XSK_BIND', `binding to queue ${queue} of ${name}`, cause, {
        EBUSY: `another AF_XDP socket has this queue${holder}: end its owner, or open other queues (queue=N)`,
        EINVAL: 'the interface has no such queue in use: see ethtool -l',
        EOPNOTSUPP: 'its driver cannot do this: without zero-copy=1 packets are copied',
        ENETDOWN: `set it up: ip link set ${name} up`,
        ENODEV: 'it has gone',
      });
    }
  }
}

/** A way of binding; `shared` is the socket whose UMEM is shared. */
interface Way {
  readonly flags: number;
  readonly shared: number;
  readonly multiBuffer: boolean;
}

/** Which ways of binding to try, in order. */
function attempts(options: XdpOptions, sharing: Xsk | undefined, multiBuffer: boolean): Way[] {
  const wake = XDP_BIND.useNeedWakeup;
  const own = [
    ...(options.zeroCopy === false ? [] : [XDP_BIND.zeroCopy | wake]),
    ...(options.zeroCopy === true ? [] : [XDP_BIND.copy | wake]),
  ].map((flags) => ({ flags, shared: 0, multiBuffer: false }));
  // Where it copies the kernel's limit on descriptors per packet is known; a device's own we do not ask for.
  const several = { flags: XDP_BIND.copy | wake | XDP_BIND.useSg, shared: 0, multiBuffer };
  // A shared UMEM takes its mode from the socket that it is shared with: not to be asked for here.
  const shared = sharing === undefined ? [] : [{ flags: XDP_BIND.sharedUmem, shared: sharing.fd, multiBuffer }];
  return [...shared, ...(multiBuffer ? [several] : []), ...own];
}

const isRefusal = (error: unknown): boolean => {
  const { errno } = (error as DevioError).detail;
  // EBADF: the socket to share with has lost its interface.
  return ['EOPNOTSUPP', 'EINVAL', 'EPROTONOSUPPORT', 'EBADF'].includes(String(errno));
};

/**
 * Opens and binds the socket; what was made is closed again when any of it fails. `multiBuffer` is a wish: the socket
 * says whether it was granted (Linux 6.6 on). `sharing` has been granted the same.
 */
export async function openXsk(
  arena: Arena,
  frames: FramePool,
  where: Where,
  sizes: RingSizes,
  options: XdpOptions,
  sharing: Xsk | undefined,
  multiBuffer = false,
): Promise<Xsk> {
  const ways = attempts(options, sharing, multiBuffer);
  let refusal: { readonly refusal?: string } = {};
  for (const [i, way] of ways.entries()) {
    const fd = await where.socket();
    const segments: Segment[] = [];
    // The rings are unmapped before the socket is closed: the kernel keeps the queue while a ring is mapped.
    const close = () => {
      for (const segment of segments.splice(0)) arena.unmap(segment);
      arena.native.close(fd);
    };
    try {
      if (way.flags !== XDP_BIND.sharedUmem) await registerUmem(arena, frames, fd);
      const rings = makeRings(arena, fd, where, sizes, segments);
      await bindSocket(arena, fd, where, way.flags, way.shared);
      const zeroCopy = isZeroCopy(arena, fd);
      return {
        fd,
        queue: where.queue,
        zeroCopy,
        multiBuffer: way.multiBuffer,
        budget: zeroCopy ? TX_BATCH_SIZE : askForBudget(arena, fd, Math.min(TX_BUDGET, sizes.tx)),
        ...refusal,
        rings,
        failure: () => socketError(arena, fd),
        statistics: () => statistics(arena, fd),
        close,
      };
    } catch (error) {
      close();
      if (i === ways.length - 1 || !(error instanceof DevioError) || !isRefusal(error)) throw error;
      if ((way.flags & XDP_BIND.zeroCopy) !== 0) refusal = { refusal: String(error.detail.errno) };
    }
  }
  throw new RangeError('no way to bind'); // unreachable: there is always at least one
}

function preferBusyPoll(native: Native, fd: number): void {
  native.setsockopt(fd, SOL_SOCKET, SO.preferBusyPoll, words(1));
  native.setsockopt(fd, SOL_SOCKET, SO.busyPoll, words(20));
  native.setsockopt(fd, SOL_SOCKET, SO.busyPollBudget, words(64));
}

/** Returns how many packets one call will send: `wanted`, or what the kernel stays with. */
function askForBudget(arena: Arena, fd: number, wanted: number): number {
  try {
    arena.native.setsockopt(fd, SOL_XDP, XDP_OPTION.maxTxSkbBudget, words(wanted));
    return wanted;
  } catch {
    return TX_BATCH_SIZE; // ENOPROTOOPT before Linux 6.17, EACCES when it is too small
  }
}

function isZeroCopy(arena: Arena, fd: number): boolean {
  const options = new Uint8Array(4);
  arena.native.getsockopt(fd, SOL_XDP, XDP_OPTION.options, options);
  return (options[0] & XDP_OPTIONS_ZEROCOPY) !== 0;
}

function socketError(arena: Arena, fd: number): number {
  const error = new Uint8Array(4);
  arena.native.getsockopt(fd, SOL_SOCKET, SO.error, error);
  return new DataView(error.buffer).getInt32(0, true);
}

function statistics(arena: Arena, fd: number): Record<string, bigint> {
  const bytes = new Uint8Array(XDP_STATISTICS.length * 8);
  arena.native.getsockopt(fd, SOL_XDP, XDP_OPTION.statistics, bytes);
  const view = new DataView(bytes.buffer);
  return Object.fromEntries(XDP_STATISTICS.map((name, i) => [name, view.getBigUint64(i * 8, true)]));
}
