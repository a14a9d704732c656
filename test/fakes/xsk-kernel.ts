/**
 * What stands on the other side of the `xdp` driver's rings: a kernel over plain shared memory, with offsets of its own
 * and descriptors written from Linux, Documentation/networking/af_xdp.rst; and the worker around the queues.
 */
import { readCounters } from '../../lib/arena/counters.ts';
import { makeRxQueue, makeTxQueue } from '../../lib/drivers/xdp/queue.ts';
import type { Burst, QueueContext, QueuePlan, RxQueue, TxQueue } from '../../lib/queue.ts';
import { FakeClock, type FakeStack, fakeStack } from './pcap-queues.ts';

/** Where things are, by hand. */
export const POOL = { base: 0x10_0000, frameSize: 2048, headroom: 256 } as const;
const AT = {
  fill: 0x1000,
  rx: 0x8000,
  tx: 0x1_0000,
  completion: 0x1_8000,
  rxMap: 0x2_0000,
  txMap: 0x2_1000,
  rxCounters: 0x2_2000,
  txCounters: 0x2_2400,
  refusal: 0x2_2800,
};
/** As the kernel of x64 lays a ring out: each index on a cache line of its own, the descriptors on the page's next. */
const RING = { producer: 0, consumer: 64, flags: 128, descriptors: 192 };

const RX_NAMES = ['packets', 'bytes', 'extra_frames', 'runt', 'oversize', 'invalid'];
const TX_NAMES = [
  ...['packets', 'bytes', 'completed', 'runt', 'oversize', 'stopped', 'extra_frames'],
  ...['kernel', 'invalid'],
];
/** Option of a descriptor: the packet goes on in the next (af_xdp.rst, "Multi-Buffer Support"). */
const PKT_CONTD = 1;

/** A ring as the kernel sees it. */
class KernelRing {
  private readonly view: DataView;
  private readonly at: number;
  private readonly size: number;
  private readonly bytes: 8 | 16;

  constructor(memory: SharedArrayBuffer, at: number, size: number, bytes: 8 | 16, start: number) {
    this.view = new DataView(memory);
    this.at = at;
    this.size = size;
    this.bytes = bytes;
    this.producer = start;
    this.consumer = start;
  }

  get producer(): number {
    return this.view.getUint32(this.at + RING.producer, true);
  }
  set producer(value: number) {
    this.view.setUint32(this.at + RING.producer, value, true);
  }
  get consumer(): number {
    return this.view.getUint32(this.at + RING.consumer, true);
  }
  set consumer(value: number) {
    this.view.setUint32(this.at + RING.consumer, value, true);
  }
  get flags(): number {
    return this.view.getUint32(this.at + RING.flags, true);
  }
  set flags(value: number) {
    this.view.setUint32(this.at + RING.flags, value, true);
  }
  get used(): number {
    return (this.producer - this.consumer) >>> 0;
  }

  /** Takes the oldest descriptor; undefined when there is none. */
  take(): { address: bigint; length: number; options: number } | undefined {
    if (this.used === 0) return undefined;
    const d = this.at + RING.descriptors + (this.consumer % this.size) * this.bytes;
    const more = this.bytes === 16;
    const taken = {
      address: this.view.getBigUint64(d, true),
      length: more ? this.view.getUint32(d + 8, true) : 0,
      options: more ? this.view.getUint32(d + 12, true) : 0,
    };
    this.consumer = (this.consumer + 1) >>> 0;
    return taken;
  }

  /** The address in the oldest descriptor. */
  peek(): bigint {
    return this.view.getBigUint64(this.at + RING.descriptors + (this.consumer % this.size) * this.bytes, true);
  }

  /** Puts a descriptor in; false when the ring is full. */
  put(address: bigint, length = 0, options = 0): boolean {
    if (this.used >= this.size) return false;
    const d = this.at + RING.descriptors + (this.producer % this.size) * this.bytes;
    this.view.setBigUint64(d, address, true);
    if (this.bytes === 16) {
      this.view.setUint32(d + 8, length, true);
      this.view.setUint32(d + 12, options, true);
    }
    this.producer = (this.producer + 1) >>> 0;
    return true;
  }

  get place() {
    const { at, size } = this;
    return {
      producer: at + RING.producer,
      consumer: at + RING.consumer,
      flags: at + RING.flags,
      first: at + RING.descriptors,
      size,
    };
  }
}

const flat = (prefix: string, place: Record<string, number>): Record<string, number> =>
  Object.fromEntries(Object.entries(place).map(([key, value]) => [`${prefix}.${key}`, value]));

/** How a fake kernel is set up. */
export interface KernelOptions {
  readonly frames?: number;
  readonly ring?: number;
  /** If absent, as `ring`. */
  readonly completionRing?: number;
  /** All indices begin here. */
  readonly start?: number;
  readonly maxLength?: number;
  readonly busyPoll?: boolean;
  readonly fillChecksums?: boolean;
  /** Packets per call, as the kernel agreed to: 32 if absent. */
  readonly budget?: number;
  /** Frames that the kernel may have for packets to come: as many as it has room for, if absent. */
  readonly most?: number;
  /** Most segments of a packet: 1 if absent. */
  readonly segments?: number;
}

/** One interface queue, and the worker that drives it. */
export class XskWorld {
  readonly memory = new SharedArrayBuffer(0x20_0000);
  readonly fill: KernelRing;
  readonly rx: KernelRing;
  readonly tx: KernelRing;
  readonly completion: KernelRing;
  readonly stack: FakeStack;
  readonly frames: number;
  /** What was sent, in order: the arena offset and the length of each segment, and what of a packet is not over yet. */
  readonly sent: { offset: number; length: number }[] = [];
  /** Segments of each packet that was sent, in order. */
  readonly packets: number[] = [];
  private segments = 0;
  /** Answers of the next kicks; when there are none left, a kick sends all and answers 0. */
  readonly answers: { errno: number; sends: number }[] = [];
  /** System calls so far. */
  readonly calls = { tx: 0, rx: 0 };
  private readonly options: KernelOptions;

  constructor(options: KernelOptions = {}) {
    const { frames = 64, ring = 16, completionRing = ring, start = 0 } = options;
    this.options = options;
    this.frames = frames;
    this.fill = new KernelRing(this.memory, AT.fill, ring, 8, start);
    this.rx = new KernelRing(this.memory, AT.rx, ring, 16, start);
    this.tx = new KernelRing(this.memory, AT.tx, ring, 16, start);
    this.completion = new KernelRing(this.memory, AT.completion, completionRing, 8, start);
    this.tx.flags = 1; // copy mode: always wants the call
    this.stack = fakeStack(POOL.base, frames, POOL.frameSize);
  }

  get context(): QueueContext {
    const fail = (): never => {
      throw new Error('a queue must not do that');
    };
    return {
      memory: this.memory,
      pool: { base: POOL.base, count: this.frames, frameSize: POOL.frameSize },
      stack: this.stack,
      clock: new FakeClock(),
      kick: fail,
      scratch: fail,
      kickTx: () => this.kicked(),
      kickRx: () => {
        this.calls.rx++;
        return 0;
      },
    };
  }

  makeRx(): RxQueue {
    const rings = { ...flat('rx', this.rx.place), ...flat('fill', this.fill.place) };
    return makeRxQueue(this.plan('rx', AT.rxCounters, RX_NAMES, { ...rings, map: AT.rxMap }), this.context);
  }

  makeTx(): TxQueue {
    const rings = { ...flat('tx', this.tx.place), ...flat('completion', this.completion.place) };
    return makeTxQueue(
      this.plan('tx', AT.txCounters, TX_NAMES, { ...rings, map: AT.txMap, refusal: AT.refusal }),
      this.context,
    );
  }

  private plan(
    direction: 'rx' | 'tx',
    counters: number,
    counterNames: string[],
    data: Record<string, number>,
  ): QueuePlan {
    const pool = { base: POOL.base, umemBytes: this.frames * POOL.frameSize, frameShift: 11, frames: this.frames };
    const busyPoll = Number(this.options.busyPoll ?? false);
    const { maxLength = 1518, segments = 1, fillChecksums = false, budget = 32, most = 2 ** 20 } = this.options;
    return {
      module: 'test',
      direction,
      port: 'xdp:test',
      queue: 0,
      counters,
      counterNames,
      fd: 7,
      maxLength,
      data: { ...pool, ...data, busyPoll, segments, fillChecksums: Number(fillChecksums), socket: 7, budget, most },
    };
  }

  /** A packet of `length` bytes arrives. False when there was no frame for it, or no room in the rx ring. */
  arrive(length: number): boolean {
    if (this.rx.used >= (this.options.ring ?? 16)) return false;
    const taken = this.fill.take();
    return taken !== undefined && this.rx.put(taken.address + BigInt(POOL.headroom), length);
  }

  /** A packet arrives in segments of these lengths, at once or not at all, as `arrive`. */
  arriveIn(...lengths: number[]): boolean {
    const room = (this.options.ring ?? 16) - this.rx.used;
    if (room < lengths.length || this.fill.used < lengths.length) return false;
    for (const [i, length] of lengths.entries()) {
      const { address } = this.fill.take()!;
      this.rx.put(address + BigInt(POOL.headroom), length, i < lengths.length - 1 ? PKT_CONTD : 0);
    }
    return true;
  }

  /** Sends up to `most` descriptors from the tx ring, completing each; stops when the completion ring is full. */
  send(most = Number.POSITIVE_INFINITY): number {
    let n = 0;
    for (; n < most && this.completion.used < (this.options.completionRing ?? this.options.ring ?? 16); n++) {
      const taken = this.tx.take();
      if (taken === undefined) break;
      this.sent.push({ offset: POOL.base + Number(taken.address), length: taken.length });
      this.segments++;
      if ((taken.options & PKT_CONTD) === 0) this.packets.push(this.segments);
      if ((taken.options & PKT_CONTD) === 0) this.segments = 0;
      this.completion.put(taken.address & ~0x7ffn);
    }
    return n;
  }

  private kicked(): number {
    this.calls.tx++;
    const { errno, sends } = this.answers.shift() ?? { errno: 0, sends: Number.POSITIVE_INFINITY };
    this.send(sends);
    return errno;
  }

  /** The error number that the tx queue left for the control half. */
  get refusal(): number {
    return new Int32Array(this.memory, AT.refusal, 1)[0];
  }

  get counters(): { rx: Record<string, number>; tx: Record<string, number> } {
    const read = (at: number, names: string[]) =>
      Object.fromEntries(Object.entries(readCounters(this.memory, at, names)).map(([name, n]) => [name, Number(n)]));
    return { rx: read(AT.rxCounters, RX_NAMES), tx: read(AT.txCounters, TX_NAMES) };
  }

  burst(size = 32): Burst {
    return { size, offsets: new Int32Array(size), lengths: new Int32Array(size), count: 0 };
  }

  /** A burst of frames from the stack with these lengths. */
  burstOf(...lengths: number[]): Burst {
    const burst = this.burst(lengths.length);
    burst.count = lengths.length;
    for (const [i, length] of lengths.entries()) {
      burst.offsets[i] = this.stack.pop() + POOL.headroom;
      burst.lengths[i] = length;
    }
    return burst;
  }

  /** Frames that a queue's map says the kernel has. */
  mapped(direction: 'rx' | 'tx'): number {
    return new Uint8Array(this.memory, direction === 'rx' ? AT.rxMap : AT.txMap, this.frames).filter(
      (state) => state !== 0,
    ).length;
  }
}

/** Frames less their ends: what is in flight by the counters. */
export function inFlightOf(tx: Record<string, number>): number {
  const { packets, extra_frames: extra, completed, runt, oversize, stopped, kernel, invalid } = tx;
  return packets + extra - completed - runt - oversize - stopped - kernel - invalid;
}
