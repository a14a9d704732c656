/**
 * What stands on the other side of the `pcap` driver's rings, with offsets of its own: a reader that puts records in,
 * a writer that takes blocks out; and the worker around the queues: frames, a clock.
 */
import { readCounters } from '../../lib/arena/counters.ts';
import type { Burst, Clock, FrameStack, QueueContext, QueuePlan } from '../../lib/queue.ts';

/** Frames of one size, each of which is free or somebody's. Who frees a frame twice gets an error. */
export interface FakeStack extends FrameStack {
  readonly free: Set<number>;
  readonly pool: { readonly base: number; readonly count: number; readonly frameSize: number };
}

/** Makes `count` frames of `frameSize` bytes from `base` on, without headroom. */
export function fakeStack(base: number, count: number, frameSize: number, room = frameSize): FakeStack {
  const free = new Set(Array.from({ length: count }, (_, i) => base + i * frameSize));
  const stack: FakeStack = {
    free,
    pool: { base, count, frameSize },
    room,
    pop() {
      for (const offset of free) {
        free.delete(offset);
        return offset;
      }
      return 0;
    },
    push(offset) {
      const frame = offset - ((offset - base) % frameSize);
      if (free.has(frame)) throw new Error(`frame ${frame} is freed twice`);
      free.add(frame);
    },
    ask: () => free.size,
    take(offsets, at, wanted) {
      const n = Math.min(wanted, free.size);
      for (let i = 0; i < n; i++) offsets[at + i] = stack.pop();
      return n;
    },
    give(offsets, from, to) {
      for (let i = from; i < to; i++) stack.push(offsets[i]);
    },
  };
  return stack;
}

/** A clock that stands still until it is told; `utc` is a time of its own. */
export class FakeClock implements Clock {
  readonly words = new Int32Array(4);
  ns = 5_000_000_000;
  utcNs = 0x18_2233_4455_6677n;

  now(): number {
    return this.ns;
  }

  utc(): void {
    this.words[2] = Number(this.utcNs & 0xffff_ffffn) | 0;
    this.words[3] = Number(this.utcNs >> 32n);
  }
}

/** Where things are in the test's memory. */
export const AT = { ring: 0x1_0000, counters: 0x8000, frames: 0x8_0000 } as const;
/** Bytes before the first word of a ring. */
const CONTROL_BYTES = 256;

/** One queue's world. */
export class World {
  readonly memory = new SharedArrayBuffer(0x20_0000);
  readonly bytes = new Uint8Array(this.memory);
  readonly clock = new FakeClock();
  readonly stack: FakeStack;
  readonly plan: QueuePlan;
  readonly words: number;
  private readonly control = new Int32Array(this.memory, AT.ring, CONTROL_BYTES / 4);
  private readonly ring: DataView;

  constructor(options: {
    words: number;
    maxLength?: number;
    timed?: boolean;
    frames?: number;
    frameSize?: number;
    names: string[];
  }) {
    const { words } = options;
    this.words = words;
    this.ring = new DataView(this.memory, AT.ring + CONTROL_BYTES, words * 4);
    this.stack = fakeStack(AT.frames, options.frames ?? 64, options.frameSize ?? 2048);
    this.plan = {
      module: 'test',
      direction: 'rx',
      port: 'pcap:test',
      queue: 0,
      counters: AT.counters,
      counterNames: options.names,
      fd: -1,
      maxLength: options.maxLength ?? 1518,
      data: { ring: AT.ring, words, timed: Number(options.timed ?? false) },
    };
  }

  get context(): QueueContext {
    const { memory, stack, clock } = this;
    const fail = (): never => {
      throw new Error('a queue must not do that');
    };
    return { memory, pool: stack.pool, stack, clock, kick: fail, kickTx: fail, kickRx: fail, scratch: fail };
  }

  get counters(): Record<string, number> {
    const counters = readCounters(this.memory, AT.counters, this.plan.counterNames);
    return Object.fromEntries(Object.entries(counters).map(([name, n]) => [name, Number(n)]));
  }

  /** Starts all indices at `words`, to see them wrap. */
  startAt(words: number): void {
    this.control[0] = words;
    this.control[16] = words;
  }

  /** Puts a record in as the reader does: words stored, length, due low, due high, bytes, up to a multiple of 16 bytes. */
  putRecord(data: Uint8Array, more: { due?: bigint; length?: number } = {}): void {
    const head = this.control[0];
    const due = more.due ?? 0n;
    const put = (word: number, value: number) =>
      this.ring.setUint32(((head + word) * 4) & (this.words * 4 - 1), value, true);
    put(0, data.length);
    put(1, more.length ?? data.length);
    put(2, Number(due & 0xffff_ffffn));
    put(3, Number(due >> 32n));
    data.forEach((byte, i) => {
      this.ring.setUint8((head * 4 + 16 + i) & (this.words * 4 - 1), byte);
    });
    const used = Math.ceil((16 + data.length) / 16) * 4;
    if (((this.control[0] + used - this.control[16]) | 0) > this.words) throw new Error('the test overfills its ring');
    this.control[0] = (head + used) | 0;
  }

  /** True when the queue has taken out everything. */
  get empty(): boolean {
    return this.control[0] === this.control[16];
  }

  /** Takes up to `most` bytes of blocks out, as the writer does. */
  takeBlocks(most = Number.POSITIVE_INFINITY): Uint8Array {
    const bytes = Math.min(most, ((this.control[0] - this.control[16]) | 0) * 4);
    const from = this.control[16] * 4;
    const taken = Uint8Array.from({ length: bytes }, (_, i) => this.ring.getUint8((from + i) & (this.words * 4 - 1)));
    this.control[16] = (this.control[16] + bytes / 4) | 0;
    return taken;
  }

  /** Frames that the queue says it has put in. */
  get accepted(): number {
    return this.control[1];
  }

  /** Says that `frames` were written, or that the file failed. */
  tell(told: { done?: number; failed?: boolean }): void {
    if (told.done !== undefined) this.control[17] = told.done;
    if (told.failed !== undefined) this.control[18] = Number(told.failed);
  }

  /** Fills frames with packets, for a tx queue. Bytes behind each packet are rubbish. */
  burstOf(packets: readonly Uint8Array[], lengths = packets.map((p) => p.length)): Burst {
    const burst = this.burst(packets.length);
    packets.forEach((packet, i) => {
      const offset = this.stack.pop();
      this.bytes.fill(0xee, offset, offset + 2048);
      this.bytes.set(packet, offset);
      burst.offsets[i] = offset;
      burst.lengths[i] = lengths[i];
    });
    burst.count = packets.length;
    return burst;
  }

  burst(size: number): Burst {
    return { size, offsets: new Int32Array(size), lengths: new Int32Array(size), count: 0 };
  }

  /** The packets of a burst; their frames are freed. */
  consume(burst: Burst): Uint8Array[] {
    const packets = Array.from({ length: burst.count }, (_, i) =>
      this.bytes.slice(burst.offsets[i], burst.offsets[i] + burst.lengths[i]),
    );
    this.stack.give(burst.offsets, 0, burst.count);
    return packets;
  }
}
