/** The worlds of a virtio-net queue: memory, frames, a worker around it, and a device's end of its ring. */
import { readCounters } from '../../lib/arena/counters.ts';
import { Gate } from '../../lib/arena/gate.ts';
import { BLOCK, blockBytes, heldFrames, openBlock } from '../../lib/drivers/virtio-net/block.ts';
import { VIRTIO_RX_NAMES, VIRTIO_TX_NAMES } from '../../lib/drivers/virtio-net/data.ts';
import * as packed from '../../lib/drivers/virtio-net/packed-queue.ts';
import * as split from '../../lib/drivers/virtio-net/split-queue.ts';
import {
  type Burst,
  type FrameStack,
  MORE,
  type QueueContext,
  type QueueModule,
  type QueuePlan,
  type RxQueue,
  type TxQueue,
} from '../../lib/queue.ts';
import { FakeClock, type FakeStack, fakeStack } from './pcap-queues.ts';
import { type DeviceRing, PackedDeviceRing, type Place, SplitDeviceRing, type Taken } from './virtio-ring.ts';

/** Frames as an engine has them. */
export const POOL = { base: 0x20_0000, frameSize: 2048, headroom: 256 } as const;
export const ROOM = POOL.frameSize - POOL.headroom;
/** struct virtio_net_hdr, in bytes (§5.1.6, with num_buffers). */
export const HDR = 12;

/** A kind of virtqueue. */
export type Kind = 'split' | 'packed';
export const KINDS: readonly Kind[] = ['split', 'packed'];

/** How a world is made. */
export interface WorldOptions {
  readonly kind?: Kind;
  readonly size?: number;
  readonly frames?: number;
  readonly maxLength?: number;
  readonly eventIdx?: boolean;
  readonly inOrder?: boolean;
  readonly mergeable?: boolean;
  readonly checksum?: boolean;
  /** Packets of several frames may be sent: INDIRECT_DESC. */
  readonly indirect?: boolean;
  /** The device knows frames by other addresses. */
  readonly addresses?: boolean;
  readonly notifier?: { readonly register: 'none' | 'u16' | 'u32'; readonly position?: boolean };
  readonly watchful?: boolean;
  /** The device interrupts by a line: reading its ISR status and writing to eventfd 11 let it rise again. */
  readonly line?: boolean;
  /** Leave the gate closed. */
  readonly closed?: boolean;
}

const RX_NAMES = ['packets', 'bytes', 'extra_frames', ...VIRTIO_RX_NAMES];
const TX_NAMES = ['packets', 'bytes', 'completed', 'runt', 'oversize', 'stopped', 'extra_frames', ...VIRTIO_TX_NAMES];

/** Far from arena offsets, and above 4 GiB. */
const FAR = 0x5_4000_0000;

function withHeadroom(stack: FakeStack): FrameStack {
  const pop = () => {
    const offset = stack.pop();
    return offset === 0 ? 0 : offset + POOL.headroom;
  };
  return {
    room: ROOM,
    pop,
    push: (offset) => stack.push(offset),
    ask: (count) => stack.ask(count),
    take(offsets, at, wanted) {
      const n = Math.min(wanted, stack.free.size);
      for (let i = 0; i < n; i++) offsets[at + i] = pop();
      return n;
    },
    give: (offsets, from, to) => stack.give(offsets, from, to),
  };
}

/** One queue, the worker that drives it, and the device's end. */
export class VirtioWorld {
  readonly memory: SharedArrayBuffer;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly free: FakeStack;
  readonly stack: FrameStack;
  readonly frames: number;
  readonly kind: Kind;
  readonly place: Place;
  readonly block: number;
  private readonly tables: number;
  private readonly announcement: number;
  readonly gate: Gate;
  readonly words: Int32Array;
  readonly register: number;
  readonly isr: number;
  /** Eventfds that were signalled, in order. */
  readonly kicks: number[] = [];
  readonly options: WorldOptions;
  device: DeviceRing;
  private next = 0x1000;
  private readonly counterAt: { readonly rx: number; readonly tx: number };
  private readonly table: number;

  constructor(options: WorldOptions = {}) {
    const { kind = 'split', size = 16, frames = Math.max(64, size * 2) } = options;
    this.options = options;
    this.kind = kind;
    this.frames = frames;
    this.memory = new SharedArrayBuffer(POOL.base + frames * POOL.frameSize);
    this.view = new DataView(this.memory);
    this.bytes = new Uint8Array(this.memory);
    this.free = fakeStack(POOL.base, frames, POOL.frameSize, ROOM);
    this.stack = withHeadroom(this.free);
    this.place = { size, desc: this.area(16 * size), driver: this.area(8 + 2 * size), device: this.area(8 + 8 * size) };
    this.announcement = this.area(72);
    const several = options.indirect ?? false;
    this.block = this.area(blockBytes(size, several));
    this.tables = several ? this.area(1024 * size) : 0;
    const { tableAt } = openBlock(this.memory, this.block, size, several);
    for (let id = 0; id < tableAt.length / 2; id++) tableAt[id * 2] = this.tables + 1024 * id;
    this.words = new Int32Array(this.memory, this.block, BLOCK.first);
    this.counterAt = { rx: this.area(256), tx: this.area(256) };
    this.register = this.area(64);
    this.isr = this.area(64);
    this.table = options.addresses ? this.area(8 * frames) : 0;
    for (let i = 0; i < frames && this.table !== 0; i++)
      this.view.setBigUint64(this.table + 8 * i, BigInt(this.farAddress(POOL.base + i * POOL.frameSize)), true);
    this.gate = new Gate(this.memory, this.block + BLOCK.gate * 4, () => {});
    this.device = this.makeDevice();
    if (!options.closed) this.gate.set(true);
  }

  /** Zeroed memory, as a warm-up is given it. */
  scratch(bytes: number): number {
    return this.area(bytes);
  }

  private area(bytes: number): number {
    const at = this.next;
    this.next = Math.ceil((at + bytes) / 64) * 64;
    if (this.next > POOL.base) throw new Error('the world is too small');
    return at;
  }

  private farAddress(offset: number): number {
    return FAR + (this.frames - 1 - Math.floor((offset - POOL.base) / POOL.frameSize)) * 0x1_0000;
  }

  /** The arena offset that the device's address `addr` stands for. */
  offsetOf(addr: number): number {
    if (this.table === 0) return addr;
    const frame = this.frames - 1 - Math.floor((addr - FAR) / 0x1_0000);
    return POOL.base + frame * POOL.frameSize + ((addr - FAR) % 0x1_0000);
  }

  private makeDevice(): DeviceRing {
    const Ring = this.kind === 'split' ? SplitDeviceRing : PackedDeviceRing;
    return new Ring(this.memory, this.place, this.options);
  }

  /** Zeroed rings and a device that knows nothing of before: what the main thread does behind a closed gate. */
  resetDevice(): void {
    const { size, desc, driver, device } = this.place;
    this.bytes.fill(0, desc, desc + 16 * size);
    this.bytes.fill(0, driver, driver + 8 + 2 * size);
    this.bytes.fill(0, device, device + 8 + 8 * size);
    this.device = this.makeDevice();
  }

  /** Says that the device has let go of the frames, while the gate is closed. */
  release(): void {
    Atomics.store(this.words, BLOCK.released, this.words[BLOCK.gate]);
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
      kick: (fd) => void this.kicks.push(fd),
      kickTx: fail,
      kickRx: fail,
      scratch: fail,
    };
  }

  plan(direction: 'rx' | 'tx'): QueuePlan {
    const { place, block, options } = this;
    const { register = 'none', position = false } = options.notifier ?? {};
    return {
      module: 'test',
      direction,
      port: 'virtio-user:test',
      queue: 0,
      counters: this.counterAt[direction],
      counterNames: direction === 'rx' ? RX_NAMES : TX_NAMES,
      fd: direction === 'rx' ? 7 : -1,
      maxLength: options.maxLength ?? 1518,
      data: {
        ...place,
        block,
        eventIdx: Number(options.eventIdx ?? false),
        inOrder: Number(options.inOrder ?? false),
        mergeable: Number(options.mergeable ?? false),
        checksum: Number(options.checksum ?? false),
        tables: this.tables,
        announceLow: this.announcement,
        announceHigh: 0,
        frameAddresses: this.table,
        kickFd: register === 'none' ? 9 : -1,
        kickRegister: register === 'none' ? 0 : this.register,
        kickValue: 5,
        kickWidth: register === 'u16' ? 2 : 4,
        position: Number(position),
        isr: options.line ? this.isr : 0,
        unmask: options.line ? 11 : -1,
      },
    };
  }

  /** The queue module of the world's kind. */
  get module(): QueueModule {
    return this.kind === 'split' ? split : packed;
  }

  makeRx(): RxQueue {
    return this.module.makeRxQueue(this.plan('rx'), this.context);
  }

  makeTx(): TxQueue {
    return this.module.makeTxQueue(this.plan('tx'), this.context);
  }

  counters(direction: 'rx' | 'tx'): Record<string, number> {
    const { counters, counterNames } = this.plan(direction);
    const read = readCounters(this.memory, counters, counterNames);
    return Object.fromEntries(Object.entries(read).map(([name, n]) => [name, Number(n)]));
  }

  /** Frames that the queue says the device has. */
  get held(): number[] {
    return heldFrames(this.memory, this.block, this.place.size, this.kind === 'packed', this.tables !== 0);
  }

  burst(size = 32): Burst {
    return { size, offsets: new Int32Array(size), lengths: new Int32Array(size), count: 0 };
  }

  /** A burst of frames from the stack with these lengths, each filled with its number. */
  burstOf(...lengths: number[]): Burst {
    const burst = this.burst(lengths.length);
    burst.count = lengths.length;
    for (const [i, length] of lengths.entries()) {
      burst.offsets[i] = this.stack.pop();
      burst.lengths[i] = length;
      const bytes = length > 0 ? length & ~MORE : 0;
      if (bytes <= ROOM) this.bytes.fill(i + 1, burst.offsets[i], burst.offsets[i] + bytes);
    }
    return burst;
  }

  /** The device puts `packet` behind a header into the next rx buffer; false when it has none. */
  deliver(packet: Uint8Array | number[], header: Partial<RxHeader> = {}): boolean {
    const taken = this.device.take();
    if (taken === undefined) return false;
    this.fill(taken, packet, header);
    this.device.use(taken.id, HDR + packet.length);
    return true;
  }

  /** Writes header and packet into a buffer. */
  fill({ parts: [part] }: Taken, packet: Uint8Array | number[], header: Partial<RxHeader> = {}): void {
    if (!part.write) throw new Error('an rx buffer must be writable');
    const at = this.offsetOf(part.addr);
    const fields: RxHeader = {
      flags: 0,
      gsoType: 0,
      hdrLen: 0,
      gsoSize: 0,
      csumStart: 0,
      csumOffset: 0,
      numBuffers: 1,
      ...header,
    };
    this.view.setUint8(at, fields.flags);
    this.view.setUint8(at + 1, fields.gsoType);
    this.view.setUint16(at + 2, fields.hdrLen, true);
    this.view.setUint16(at + 4, fields.gsoSize, true);
    this.view.setUint16(at + 6, fields.csumStart, true);
    this.view.setUint16(at + 8, fields.csumOffset, true);
    this.view.setUint16(at + 10, fields.numBuffers, true);
    this.bytes.set(packet, at + HDR);
  }

  /** The device takes what was transmitted, up to `most` packets, and completes it: header and packet of each. */
  collect(most = Number.POSITIVE_INFINITY): Sent[] {
    const sent: Sent[] = [];
    for (
      let taken = this.device.take();
      taken !== undefined;
      taken = sent.length < most ? this.device.take() : undefined
    ) {
      sent.push(this.read(taken));
      this.device.use(taken.id, 0);
      if (sent.length === most) break;
    }
    return sent;
  }

  /** The device puts `packet` into as many rx buffers as it needs, and uses them together; false when there are too few. */
  deliverOver(packet: Uint8Array | number[], header: Partial<RxHeader> = {}): boolean {
    const taken: Taken[] = [];
    for (let room = -HDR; room < packet.length; room += taken[taken.length - 1].parts[0].len) {
      const next = this.device.take();
      if (next === undefined) return false;
      taken.push(next);
    }
    let at = 0;
    const lengths = taken.map((one, i) => {
      const first = i === 0 ? HDR : 0;
      const n = Math.min(one.parts[0].len - first, packet.length - at);
      const part = packet.slice(at, at + n);
      if (i === 0) this.fill(one, part, { numBuffers: taken.length, ...header });
      else this.bytes.set(part, this.offsetOf(one.parts[0].addr));
      at += n;
      return first + n;
    });
    this.device.useTogether(taken.map(({ id }, i) => ({ id, len: lengths[i] })));
    return true;
  }

  /** What lies in a tx buffer, in one piece or in several. */
  read({ parts }: Taken): Sent {
    if (parts.some(({ write }) => write)) throw new Error('a tx buffer must be readable');
    const bytes = parts.flatMap(({ addr, len }) => {
      const at = this.offsetOf(addr);
      return [...this.bytes.slice(at, at + len)];
    });
    return { header: bytes.slice(0, HDR), packet: bytes.slice(HDR) };
  }
}

/** Fields of the header of a received packet. */
export interface RxHeader {
  flags: number;
  gsoType: number;
  hdrLen: number;
  gsoSize: number;
  csumStart: number;
  csumOffset: number;
  numBuffers: number;
}

/** What was on the wire. */
export interface Sent {
  readonly header: readonly number[];
  readonly packet: readonly number[];
}

/** `n` bytes that tell packets apart. */
export const packetOf = (n: number, length = 60): number[] => Array.from({ length }, (_, i) => (n * 7 + i) & 0xff);
