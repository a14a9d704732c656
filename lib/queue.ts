/**
 * The data half's contract: what a driver's `queue.ts` provides and what a packet application sees.
 * Types only. Nothing here may throw, wait, allocate or log once a queue has been made.
 */

/**
 * Added to the length of an entry whose packet goes on in the next entry. Such a length is no possible one for whoever
 * does not know this: `lengths[i] >= MORE` is the question, `lengths[i] & ~MORE` the bytes.
 */
export const MORE = 1 << 30;

/** Most segments of a packet: every ring has room for one. A driver's own limit may be lower. */
export const MAX_SEGMENTS = 64;

/**
 * A burst of frames, as a struct of arrays that is made once and used for ever.
 * `offsets[i]` is the arena offset of the first byte of packet i (a multiple of 4), `lengths[i]` its length in bytes
 * without FCS. Whoever holds an offset owns the frame.
 *
 * A packet that does not fit one frame lies in several, its *segments*: consecutive entries, all but the last with
 * `MORE` (docs/adr/0013-segments.md). The first has an Ethernet header at least, each of the others a byte. A burst neither
 * begins nor ends inside a packet: `receive` delivers whole packets, `transmit` is offered whole ones. Only a port whose
 * longest packet does not fit one frame has them: to others each of their entries is `oversize`. Whatever frees, drops or
 * hands on frames goes entry by entry and need not know; whatever looks into packets does: `RxQueue.segments`.
 */
export interface Burst {
  readonly size: number;
  readonly offsets: Int32Array;
  readonly lengths: Int32Array;
  count: number;
}

/** Where frames come from. One worker polls it. */
export interface RxQueue {
  /**
   * Takes up to `burst.size` frames off the ring into `burst`, from index 0; sets and returns `burst.count`.
   * The caller owns them. Empty is 0. A packet of more segments than the burst has room for is dropped as `oversize`.
   */
  receive(burst: Burst): number;
  /** From now on `receive` starts nothing new: a source delivers no more, a ring that others feed is still emptied. */
  quiesce(): void;
  /** Asks for an interrupt on `fd`. Returns true when frames are waiting already: then the caller must not sleep. */
  arm(): boolean;
  /** Takes the request back. */
  disarm(): void;
  /**
   * An eventfd that becomes readable after `arm()`, or -1: then the worker polls again after a millisecond at most. Asked for
   * before each sleep: it may be -1 while there is nothing that could signal it.
   */
  readonly fd: number;
  /** True when `fd` is to be waited for only during a sleep, and to be left alone otherwise. False if absent. */
  readonly onlyAsleep?: boolean;
  /** True when the source waits for us and loses nothing meanwhile (a file, a generator), false for a wire. */
  readonly patient: boolean;
  /** True when packets of several segments may come; absent is false. */
  readonly segments?: boolean | undefined;
}

/** Where frames go. One worker feeds it. */
export interface TxQueue {
  /**
   * Offers `burst` frames [from, to), whole packets. Returns how many frames were accepted, in order, and never part of
   * a packet; they are no longer the caller's. Full is less than asked, down to 0. An accepted packet of impossible
   * length, or whose last segment is missing, ends in `failed`, not on the wire.
   */
  transmit(burst: Burst, from: number, to: number): number;
  /** Tells the other side about what was transmitted, once per burst and only if it asked. The engine calls it. */
  kick(): void;
  /** Takes back what the other side has completed. Returns how many frames are still in flight. */
  reclaim(): number;
}

/** A worker's frames: bytes, free stack, and the ledger. */
export interface Frames {
  /** The whole arena as bytes, as 32-bit words (`i32[offset >>> 2]`), and as a view for fields at any alignment. */
  readonly u8: Uint8Array;
  readonly i32: Int32Array;
  readonly view: DataView;
  /** Bytes a packet may have in a frame, at the offset that `allocate` gives. */
  readonly room: number;
  /** Makes a burst of up to `size` frames. Not for the fast path. */
  burst(size: number): Burst;
  /**
   * Takes up to `count` free frames into `burst.offsets` from index `at`. Returns how many there were.
   * Does not change `burst.count`, `lengths` or the bytes.
   */
  allocate(burst: Burst, at: number, count: number): number;
  /** Returns frames [from, to) of `burst` to the free stack: consumed, the regular end of a frame. */
  free(burst: Burst, from: number, to: number): void;
  /** As `free`, but counted as dropped for `reason`, an index into the worker's drop reasons (`DROP`). */
  drop(burst: Burst, from: number, to: number, reason: number): void;
}

/** Frames as a driver's queue sees them: the same stack, without the application's ledger. */
export interface FrameStack {
  /** Takes a free frame; returns the offset at which a packet starts, or 0 when there is none. */
  pop(): number;
  /** Returns the frame that `offset` points into. */
  push(offset: number): void;
  /** Tries to have `count` frames ready to pop. Returns how many there are. */
  ask(count: number): number;
  /** `pop` for a burst: up to `count` offsets into `offsets` from index `at`. Returns how many there were. */
  take(offsets: Int32Array, at: number, count: number): number;
  /** `push` for a burst: `offsets` [from, to). */
  give(offsets: Int32Array, from: number, to: number): void;
  /** Bytes a packet may have in a frame that `pop` gave. */
  readonly room: number;
}

/** A worker's clock, refreshed by one native call per read; no allocation. */
export interface Clock {
  /** Nanoseconds since an arbitrary start, monotonic. Exact to 2^53. */
  now(): number;
  /** Reads nanoseconds since 1970 into `words`. */
  utc(): void;
  /** What was read last, as unsigned halves, low first: words 0 and 1 by `now`, 2 and 3 by `utc`. */
  readonly words: Int32Array;
}

/** One queue as plain data: made by `device.ts`, sent to a worker, consumed by `queue.ts`. */
export interface QueuePlan {
  /** URL of the module that exports `makeRxQueue` and `makeTxQueue`. */
  readonly module: string;
  readonly direction: 'rx' | 'tx';
  /** The port's name and the queue's number, for messages. */
  readonly port: string;
  readonly queue: number;
  /** Arena offset of the queue's counters, in the order of `counterNames`: packets, bytes, then the rest. */
  readonly counters: number;
  readonly counterNames: readonly string[];
  /** rx: eventfd for interrupt mode, or -1. tx: eventfd of the other side, or -1. */
  readonly fd: number;
  /** Longest frame that may pass, in bytes without FCS. */
  readonly maxLength: number;
  /** What this driver's two halves say to each other. */
  readonly data: Readonly<Record<string, number>>;
  /** Address spaces of a peer, where the other side's memory is not in the arena: never ours, never another peer's. */
  readonly peer?: readonly SharedArrayBuffer[];
}

/** What a queue is given besides its plan: the worker it will live in. */
export interface QueueContext {
  readonly memory: SharedArrayBuffer;
  /** The pool that the frames come from: `count` blocks of `frameSize` bytes from arena offset `base` on. */
  readonly pool: { readonly base: number; readonly count: number; readonly frameSize: number };
  readonly stack: FrameStack;
  readonly clock: Clock;
  /** Writes 1 to an eventfd, or unmasks the interrupt line that a PCI devio gave for this: at once, never blocks. */
  kick(fd: number): void;
  /** Ask the kernel to send from, or to fill, the rings of AF_XDP socket `fd`. One system call; 0 or an errno. */
  kickTx(fd: number): number;
  /** See `kickTx`. */
  kickRx(fd: number): number;
  /**
   * Zeroed arena memory for a warm-up's rings and counters, from the worker's own scratch area: about 512 KiB and four
   * bytes per frame of the pool in all. Only during `warmUp`, which gives back all frames that it takes from `stack`.
   */
  scratch(bytes: number): number;
}

/** What a driver's `queue.ts` exports. */
export interface QueueModule {
  /** Attaches to the rx ring of `plan`; once per start, in the worker. */
  makeRxQueue(plan: QueuePlan, context: QueueContext): RxQueue;
  /** The same for a tx ring. */
  makeTxQueue(plan: QueuePlan, context: QueueContext): TxQueue;
  /** Drives this module's code through every branch (empty, partial, full, wrap, drop) on scratch memory. */
  warmUp(context: QueueContext): void;
}

/** What a port looks like to an application: facts, no operations. */
export interface PortFacts {
  readonly name: string;
  readonly index: number;
  /** Six bytes. */
  readonly mac: Uint8Array;
  readonly mtu: number;
  /** Other machines are behind it, which know each other by their addresses: a network interface. */
  readonly hosts: boolean;
}

/** What an application's factory is given. One per job, in the worker. */
export interface AppContext<Options = Record<string, unknown>> {
  /** The job's rx queue; a job without one (a generator) has a queue that is always empty. */
  readonly rx: RxQueue;
  /** Port of `rx`, or null. */
  readonly rxPort: PortFacts | null;
  /** The job's tx queues, in the order in which the job names them, and their ports. */
  readonly tx: readonly TxQueue[];
  readonly txPorts: readonly PortFacts[];
  readonly frames: Frames;
  readonly clock: Clock;
  /** Frames per burst that the engine was asked for. */
  readonly burst: number;
  readonly worker: number;
  readonly options: Options;
  /** Makes a counter (u64) that the main thread sees under `name`; returns its adder. Up to 16 per job. */
  counter(name: string): (n: number) => void;
  /** For an application that waits for time, not for packets: call me again after `us` microseconds at the latest. */
  wakeAfter(us: number): void;
  /** Says that this job has nothing more to do (a generator that has sent all): a run whose jobs all say so ends. */
  finish(): void;
}

/** The function that an application's factory returns: handles one burst, returns how many frames it moved. */
export type BurstFunction = () => number;

/**
 * A packet application: a factory that runs once per job, in its worker, and returns the function that runs once per
 * burst. The factory may allocate and throw; the function should do neither.
 */
// biome-ignore lint/suspicious/noExplicitAny: each application states its own options
export type App<Options = any> = (context: AppContext<Options>) => BurstFunction;

/** Why an application dropped a frame: indices for `frames.drop`. */
export const DROP = {
  /** The tx queue was full. */
  tx_full: 0,
  /** The application chose to. */
  filter: 1,
  /** The packet is malformed. */
  malformed: 2,
  /** No free frame for the packet that was to be made: nothing was lost, something was not sent. */
  no_frame: 3,
  /** Held by an application that threw, hung or died. Counted by the engine. */
  app_died: 4,
  /** Held by an application when the engine stopped. Counted by the engine. */
  stopped: 5,
} as const;

/**
 * Index of each counter that every rx queue has, in `QueuePlan.counterNames`. A driver's own come after them. `packets`
 * are packets, `extra_frames` the frames that they had beyond one each; every other counter, here, of a tx queue and of
 * a job, counts frames: those of a packet meet their end together, but are freed one by one.
 */
export const RX = { packets: 0, bytes: 1, extra_frames: 2 } as const;

/**
 * Index of each counter that every tx queue has. `packets` + `extra_frames` were accepted; each of these frames is then
 * `completed`, failed as `runt` (a packet under 14 bytes), `oversize` (over `maxLength`) or `stopped` (still in the ring
 * when the port stopped), or in flight. A driver's own reasons come after them.
 */
export const TX = {
  packets: 0,
  bytes: 1,
  completed: 2,
  runt: 3,
  oversize: 4,
  stopped: 5,
  extra_frames: 6,
} as const;

/** Shortest frame: an Ethernet header, in bytes. */
export const MIN_FRAME_LENGTH = 14;
