/**
 * Frames, rings, clock and context for tests of applications: plain JavaScript over a plain SharedArrayBuffer, written
 * from the contract in `lib/queue.ts`. Every frame has an owner; who gives away a frame that is not theirs gets an error.
 */
import type { AppContext, Burst, Clock, FrameStack, Frames, PortFacts, RxQueue, TxQueue } from '../../lib/queue.ts';

/** Who holds a frame. */
export type Owner = 'free' | 'app' | 'ring';

/** Frames with an owner each. */
export interface FakeFrames extends Frames {
  readonly memory: SharedArrayBuffer;
  /** Bytes from one frame to the next. */
  readonly frameSize: number;
  /** The same frames as a driver sees them: whom it pops for is the ring. */
  readonly stack: FrameStack;
  /** The frame that `offset` points into goes from `from` to `to`. Throws when it is not `from`'s. */
  pass(offset: number, from: Owner, to: Owner): void;
  /** Takes a free frame for `owner`, or returns 0. */
  pop(owner: Owner): number;
  /** How many frames each owner has. */
  count(owner: Owner): number;
  /** Frames freed, and dropped by reason (an index of `DROP`). */
  readonly freed: { total: number };
  readonly dropped: Map<number, number>;
}

const FIRST = 0x1_0000; // as in the arena: nothing lies below 64 KiB, offset 0 is no frame
const POISON = 0xa5; // fills a frame that was freed: who still reads it, or relies on zeros, is found out

/** Makes `count` frames of `frameSize` bytes (a power of two), `headroom` (a multiple of 4) of them in front of a packet. */
export function fakeFrames(count: number, frameSize = 2048, headroom = 128): FakeFrames {
  const memory = new SharedArrayBuffer(FIRST + count * frameSize);
  const u8 = new Uint8Array(memory).fill(POISON);
  const owners = new Array<Owner>(count).fill('free');
  const stack = owners.map((_, i) => FIRST + i * frameSize);
  const freed = { total: 0 };
  const dropped = new Map<number, number>();

  function pass(offset: number, from: Owner, to: Owner): void {
    const i = Math.floor((offset - FIRST) / frameSize);
    if (!(i >= 0 && i < count) || offset % 4 !== 0) throw new Error(`offset ${offset} is in no frame`);
    if (owners[i] !== from) throw new Error(`frame ${i} is given from ${from} to ${to}, but it is ${owners[i]}'s`);
    owners[i] = to;
    if (to !== 'free') return;
    stack.push(FIRST + i * frameSize);
    u8.fill(POISON, FIRST + i * frameSize, FIRST + (i + 1) * frameSize);
  }
  function pop(owner: Owner): number {
    const start = stack.pop();
    if (start === undefined) return 0;
    pass(start, 'free', owner);
    return start + headroom;
  }
  function release(burst: Burst, from: number, to: number): number {
    for (let i = from; i < to; i++) pass(burst.offsets[i]!, 'app', 'free');
    return to - from;
  }
  function take(offsets: Int32Array, at: number, wanted: number, owner: Owner): number {
    const n = Math.min(wanted, stack.length);
    for (let i = 0; i < n; i++) offsets[at + i] = pop(owner);
    return n;
  }
  return {
    memory,
    frameSize,
    pass,
    pop,
    freed,
    dropped,
    count: (owner) => owners.filter((o) => o === owner).length,
    u8,
    i32: new Int32Array(memory),
    view: new DataView(memory),
    room: frameSize - headroom,
    burst: (size) => ({ size, offsets: new Int32Array(size), lengths: new Int32Array(size), count: 0 }),
    allocate(burst, at, wanted) {
      if (at + wanted > burst.size) throw new Error(`${wanted} frames at ${at} do not fit a burst of ${burst.size}`);
      return take(burst.offsets, at, wanted, 'app');
    },
    free(burst, from, to) {
      freed.total += release(burst, from, to);
    },
    drop(burst, from, to, reason) {
      dropped.set(reason, (dropped.get(reason) ?? 0) + release(burst, from, to));
    },
    stack: {
      room: frameSize - headroom,
      pop: () => pop('ring'),
      push: (offset) => pass(offset, 'ring', 'free'),
      ask: () => stack.length,
      take: (offsets, at, wanted) => take(offsets, at, wanted, 'ring'),
      give(offsets, from, to) {
        for (let i = from; i < to; i++) pass(offsets[i]!, 'ring', 'free');
      },
    },
  };
}

/** A frame on the wire of a fake ring. */
export interface WireFrame {
  readonly offset: number;
  readonly length: number;
}

/** A ring: what its `tx` accepts its `rx` receives. In between, a test can do to the wire what wires do to frames. */
export interface FakeRing {
  readonly rx: RxQueue;
  readonly tx: TxQueue;
  /** What is on its way, oldest first: reorder it at will. */
  readonly wire: WireFrame[];
  /** Frames that `tx` may hold; a test may change it at any time. */
  capacity: number;
  /** Bursts that were kicked. */
  readonly kicks: { total: number };
  /** Loses frame `i` of the wire. */
  lose(i: number): void;
  /** Puts a copy of frame `i` at place `to` of the wire. */
  duplicate(i: number, to: number): void;
  /** Inverts bit `bit` (0 is the lowest of byte 0) of frame `i`. */
  flip(i: number, bit: number): void;
  /** Puts a frame with `bytes` at place `to` of the wire. */
  insert(bytes: Uint8Array, to: number): void;
  /** Makes frame `i` `length` bytes long; bytes beyond its old end are what the frame happens to hold. */
  resize(i: number, length: number): void;
  /** A copy of the bytes of frame `i`. */
  bytes(i: number): Uint8Array;
}

/** Makes a ring over `frames`. */
export function fakeRing(frames: FakeFrames, capacity = Number.POSITIVE_INFINITY): FakeRing {
  const wire: WireFrame[] = [];
  const kicks = { total: 0 };
  const place = (bytes: Uint8Array, to: number): void => {
    const offset = frames.pop('ring');
    if (offset === 0) throw new Error('no free frame left for the wire');
    frames.u8.set(bytes, offset);
    wire.splice(to, 0, { offset, length: bytes.length });
  };
  const ring: FakeRing = {
    wire,
    capacity,
    kicks,
    rx: {
      fd: -1,
      patient: false,
      receive(burst) {
        const taken = wire.splice(0, burst.size);
        for (const [i, { offset, length }] of taken.entries()) {
          frames.pass(offset, 'ring', 'app');
          burst.offsets[i] = offset;
          burst.lengths[i] = length;
        }
        burst.count = taken.length;
        return taken.length;
      },
      quiesce: () => {}, // others feed this ring: it is still emptied
      arm: () => wire.length > 0,
      disarm: () => {},
    },
    tx: {
      transmit(burst, from, to) {
        const n = Math.max(0, Math.min(to - from, ring.capacity - wire.length));
        for (let i = from; i < from + n; i++) {
          frames.pass(burst.offsets[i]!, 'app', 'ring');
          wire.push({ offset: burst.offsets[i]!, length: burst.lengths[i]! });
        }
        return n;
      },
      kick: () => {
        kicks.total++;
      },
      reclaim: () => wire.length,
    },
    lose(i) {
      for (const { offset } of wire.splice(i, 1)) frames.pass(offset, 'ring', 'free');
    },
    duplicate: (i, to) => place(ring.bytes(i), to),
    insert: place,
    flip(i, bit) {
      frames.u8[wire[i]!.offset + (bit >>> 3)]! ^= 1 << (bit & 7);
    },
    resize(i, length) {
      wire[i] = { offset: wire[i]!.offset, length };
    },
    bytes(i) {
      const { offset, length } = wire[i]!;
      return Uint8Array.from(frames.u8.subarray(offset, offset + length));
    },
  };
  return ring;
}

/** A clock that stands still until it is told. */
export interface FakeClock extends Clock {
  /** Lets `ns` nanoseconds pass. */
  advance(ns: number): void;
}

/** Makes a clock that reads `ns`, also as time since 1970. */
export function fakeClock(ns = 1_000_000): FakeClock {
  const words = new Int32Array(4);
  const read = (at: number): void => {
    words[at] = (ns % 2 ** 32) | 0;
    words[at + 1] = Math.floor(ns / 2 ** 32) | 0;
  };
  return {
    now() {
      read(0);
      return ns;
    },
    utc: () => read(2),
    words,
    advance(by) {
      ns += by;
    },
  };
}

/** A context whose counters and wake-ups a test can read. */
export interface FakeContext<Options> extends AppContext<Options> {
  readonly frames: FakeFrames;
  readonly clock: FakeClock;
  readonly counters: Record<string, number>;
  /** What `wakeAfter` was called with, in order. */
  readonly wakes: number[];
  /** How often `finish` was called. */
  readonly finished: { total: number };
}

/** What a test may choose; the rest is a job without queues, bursts of 32 and 1,024 frames. */
export type FakeContextParts<Options> = Partial<
  Pick<FakeContext<Options>, 'rx' | 'rxPort' | 'tx' | 'txPorts' | 'frames' | 'clock' | 'burst' | 'worker'>
>;

const NEVER: RxQueue = {
  fd: -1,
  patient: false,
  receive(burst) {
    burst.count = 0;
    return 0;
  },
  quiesce() {},
  arm: () => false,
  disarm() {},
};

/** Facts of a port number `index`, with MAC 02:00:00:00:00:index. */
export const fakePort = (index: number, mtu = 1500, hosts = false): PortFacts => ({
  name: `fake:${index}`,
  index,
  mac: Uint8Array.of(2, 0, 0, 0, 0, index),
  mtu,
  hosts,
});

/** Makes a context. There is a port for every tx queue unless `txPorts` says otherwise. */
export function fakeContext<Options>(options: Options, parts: FakeContextParts<Options> = {}): FakeContext<Options> {
  const counters: Record<string, number> = {};
  const wakes: number[] = [];
  const finished = { total: 0 };
  const tx = parts.tx ?? [];
  return {
    rx: NEVER,
    rxPort: null,
    tx,
    txPorts: tx.map((_, i) => fakePort(i)),
    frames: parts.frames ?? fakeFrames(1024),
    clock: parts.clock ?? fakeClock(),
    burst: 32,
    worker: 0,
    options,
    ...parts,
    counters,
    wakes,
    finished,
    finish() {
      finished.total++;
    },
    counter(name) {
      if (name in counters) throw new Error(`counter ${name} is made twice`);
      if (Object.keys(counters).length === 16) throw new Error('a job has up to 16 counters');
      counters[name] = 0;
      return (n) => {
        if (!Number.isInteger(n) || n < 0 || n >= 2 ** 31) throw new Error(`${name} cannot be advanced by ${n}`);
        counters[name]! += n;
      };
    },
    wakeAfter(us) {
      if (!Number.isInteger(us) || us < 0 || us >= 2 ** 31) throw new Error(`cannot wake after ${us} µs`);
      wakes.push(us);
    },
  };
}
