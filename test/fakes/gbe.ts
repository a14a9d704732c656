/**
 * An 82574 and an 82576, as far as their drivers see them, behind a PCI devio: registers with side effects, and an engine that
 * reads and writes the rings in memory. Written from the datasheets, with offsets and bits of its own.
 */
import type { FramePool } from '../../lib/arena/frame-pool.ts';
import type { Api } from '../../lib/framework/types.ts';
import type { BarWindow, InterruptKind, Interrupts, PciDevio, PciEvents, RegisterAccess } from '../../lib/pci/devio.ts';
import { FakeConfig } from './pci-config.ts';

/** Where things are in the fake's memory. */
export const AT = { bar: 0x10_0000, frames: 0x20_0000, heap: 0x1000 } as const;
const BAR_BYTES = 0x2_0000;
const FRAME = 2048;
/** As far away as addresses of a machine's memory can be from arena offsets. */
const FAR = 0x7_0000_0000;
const ONES = 0xffff_ffff;

/** What differs: where rings are, and how many. */
const FAMILIES = {
  82574: { queues: 2, rx: 0x2800, tx: 0x3800, stride: 0x100 },
  82576: { queues: 8, rx: 0xc000, tx: 0xe000, stride: 0x40 },
} as const;

/** How a fake is made. */
export interface FakeOptions {
  readonly family?: keyof typeof FAMILIES;
  readonly frames?: number;
  readonly headroom?: number;
  readonly frameSize?: number;
  readonly wishes?: PciDevio['wishes'];
  readonly vectors?: Partial<Record<InterruptKind, number>>;
  /** The device knows memory by other addresses than arena offsets. */
  readonly far?: boolean;
  readonly nommu?: boolean;
  readonly barBytes?: number;
  readonly mac?: readonly number[];
}

/** Why the device does not take a packet. */
export type Taken = 'taken' | 'filtered' | 'long' | 'full' | 'off';

type Bits = Readonly<Record<string, number>>;
const RCTL: Bits = { EN: 1 << 1, UPE: 1 << 3, MPE: 1 << 4, LPE: 1 << 5, BAM: 1 << 15, SECRC: 1 << 26 };

/** The device, and the way to it. */
export class FakeGbe implements PciDevio {
  readonly api: Api;
  readonly backend = 'fake';
  readonly address = '0000:01:00.0';
  readonly config = new FakeConfig();
  readonly memory: SharedArrayBuffer;
  readonly view: DataView;
  readonly bytes: Uint8Array;
  readonly frames: FramePool;
  readonly frameAddresses: number;
  readonly wishes: PciDevio['wishes'];
  readonly vectors: Record<InterruptKind, number>;
  readonly options: FakeOptions;
  readonly family: keyof typeof FAMILIES;
  /** Everything that was done to it, in order: `CTRL=…`, `busMaster`, `msix 3` … */
  readonly log: string[] = [];
  readonly allocated = new Map<number, number>();
  readonly shared = new Map<number, number>();
  /** What it has sent, and how often each vector has interrupted. */
  readonly sent: number[][] = [];
  readonly interrupts: number[] = [];
  events: PciEvents | undefined;
  interruptsOn: Interrupts | undefined;
  unmasked = 0;
  /** Faults that a test can switch on. */
  readonly faults = { reset: false, master: false, nvm: false, phy: false, phyError: false, queue: false, send: false };
  present = true;
  linkUp = true;
  /** Control and status: negotiation is on, and complete. */
  phy = [0x1140, 0x0020];
  private readonly registers = new Map<number, number>();
  private next: number = AT.heap;
  private busMaster = false;

  constructor(options: FakeOptions = {}) {
    const { family = 82574, frames = 512, headroom = 256, frameSize = FRAME, vectors, wishes = {} } = options;
    this.options = options;
    this.family = family;
    this.wishes = wishes;
    this.api = { name: options.nommu ? 'devio-nommu' : 'devio-iommu', version: 1 };
    this.memory = new SharedArrayBuffer(AT.frames + frames * frameSize);
    this.view = new DataView(this.memory);
    this.bytes = new Uint8Array(this.memory);
    this.vectors = { msix: family === 82574 ? 5 : 10, msi: 1, intx: 1, ...vectors };
    const plan = { base: AT.frames, count: frames, frameSize, headroom, depot: 0, owners: 0 };
    this.frames = { plan } as FramePool;
    this.frameAddresses = options.far ? this.area(frames * 8) : 0;
    for (let i = 0; i < frames && options.far; i++)
      this.view.setBigUint64(this.frameAddresses + i * 8, BigInt(AT.frames + i * frameSize + FAR), true);
    this.powerOn();
  }

  // The way to it.

  bar(number: number): BarWindow {
    if (number !== 0) throw new Error(`BAR ${number}`);
    const get = (field: number) => this.read(field);
    const put = (field: number, value: number) => this.write(field, value);
    const never = (): never => {
      throw new Error('registers are 32 bits wide');
    };
    const registers = {
      ...{ get8: never, get16: never, get64: never, put8: never, put16: never, put64: never },
      ...{ get32: get, put32: put },
    } as RegisterAccess;
    return { offset: AT.bar, bytes: this.options.barBytes ?? BAR_BYTES, registers };
  }

  setBusMaster(on: boolean): void {
    this.busMaster = on;
    this.log.push(on ? 'bus master' : 'no bus master');
  }

  async reset(): Promise<void> {
    this.powerOn();
  }

  enableInterrupts(kind: InterruptKind, count: number): Interrupts {
    if (count > this.vectors[kind]) throw new Error(`${count} vectors of ${kind}`);
    this.log.push(`${kind} ${count}`);
    const fds = Array.from({ length: count }, (_, i) => 1000 + i);
    this.interruptsOn = { kind, fds, unmask: kind === 'intx' ? 999 : -1 };
    this.interrupts.length = 0;
    this.interrupts.push(...fds.map(() => 0));
    return this.interruptsOn;
  }

  disableInterrupts(): void {
    if (this.interruptsOn !== undefined) this.log.push('no interrupts');
    this.interruptsOn = undefined;
  }

  /** Nobody waits for what only this would tell. */
  signalled(): boolean {
    return false;
  }

  allocate(bytes: number): number {
    const at = this.area(bytes);
    this.allocated.set(at, bytes);
    return at;
  }

  free(offset: number): void {
    if (!this.allocated.delete(offset)) throw new Error(`${offset} is not allocated`);
  }

  allocateShared(bytes: number, align: number): number {
    this.next = Math.ceil(this.next / align) * align;
    const at = this.area(bytes);
    this.shared.set(at, bytes);
    return at;
  }

  freeShared(offset: number): void {
    if (!this.shared.delete(offset)) throw new Error(`${offset} is not shared`);
  }

  addressOf(offset: number): bigint {
    return BigInt(offset + (this.options.far ? FAR : 0));
  }

  watch(events: PciEvents): void {
    this.events = events;
  }

  close(): void {}

  private area(bytes: number): number {
    const at = this.next;
    this.next = Math.ceil((at + bytes) / 64) * 64;
    if (this.next > AT.bar) throw new Error('the fake is full');
    this.bytes.fill(0, at, at + bytes);
    return at;
  }

  /** The arena offset that the device's address stands for. Anything else would be a fault of an IOMMU. */
  private offsetOf(address: bigint): number {
    const offset = Number(address) - (this.options.far ? FAR : 0);
    const ring = [...this.shared].some(([at, bytes]) => offset >= at && offset < at + bytes);
    if (!ring && !(offset >= AT.frames && offset < this.memory.byteLength)) throw new Error(`DMA to ${address}`);
    if (!this.busMaster) throw new Error('DMA without bus master');
    return offset;
  }

  // Registers.

  /** What it is like after a reset, but for what others have set in PCI configuration space. */
  private powerOn(): void {
    this.registers.clear();
    this.bytes.fill(0, AT.bar, AT.bar + BAR_BYTES);
    const mac = this.options.mac ?? [0x52, 0x54, 0x00, 0x12, 0x34, 0x56];
    this.keep(0x5400, (mac[0] | (mac[1] << 8) | (mac[2] << 16) | (mac[3] << 24)) >>> 0);
    this.keep(0x5404, (mac[4] | (mac[5] << 8) | 0x8000_0000) >>> 0);
    this.keep(0x3840, 0x403);
    this.keep(0x3940, 0x403);
    this.keep(0x0010, this.faults?.nvm ? 0 : 0x200);
    this.keep(0x1010, this.faults?.nvm ? 0 : 1 << 18);
    this.showStatus();
  }

  /** The data half reads it from memory. */
  private showStatus(): void {
    this.view.setUint32(AT.bar + 0x8, this.status, true);
  }

  private get status(): number {
    if (!this.present) return ONES;
    const master = (this.of(0x0) & 4) === 0 || this.faults.master ? 1 << 19 : 0;
    return (this.linkUp && (this.of(0x0) & 0x40) !== 0 ? 0x83 : 0x80) | master;
  }

  private of(offset: number): number {
    return this.registers.get(offset) ?? 0;
  }

  private keep(offset: number, value: number): void {
    this.registers.set(offset, value >>> 0);
  }

  /** Sets what a test wants to be read. */
  put(offset: number, value: number): void {
    this.keep(offset, value);
  }

  /** What a register holds, without its side effects. */
  peek(offset: number): number {
    return this.of(offset);
  }

  read(offset: number): number {
    if (!this.present) return ONES;
    if (offset === 0x8) return this.status;
    const value = this.of(offset);
    // Statistics, and causes, are cleared as they are read.
    if (offset === 0xc0 || offset === 0x1580 || (offset >= 0x4000 && offset < 0x4200)) this.keep(offset, 0);
    return value;
  }

  private write(offset: number, value: number): void {
    if (!this.present) return;
    this.log.push(`${offset.toString(16).padStart(4, '0')}=${(value >>> 0).toString(16)}`);
    if (offset === 0x0) this.control(value);
    else if (offset === 0x20) this.mdic(value);
    else if (offset === 0xc0) this.keep(0xc0, this.of(0xc0) & ~value);
    else if (offset === 0xd0) this.keep(0xd0, this.of(0xd0) | value);
    else if (offset === 0xd8) this.keep(0xd0, this.of(0xd0) & ~value);
    else if (offset === 0x1580) this.keep(0x1580, this.of(0x1580) & ~value);
    else if (offset === 0x1524) this.keep(0x1524, this.of(0x1524) | value);
    else if (offset === 0x1528) this.keep(0x1524, this.of(0x1524) & ~value);
    else {
      this.keep(offset, offset === 0x18 ? value & ~0x8000_0000 : value);
      this.mirrorRing(offset, value);
    }
    if (offset === 0xd0 || offset === 0x1524) this.raise();
  }

  /** Tails are written by the data half, in memory; a queue of the 82576 has to be enabled, which takes its time. */
  private mirrorRing(offset: number, value: number): void {
    const { rx, tx, stride, queues } = FAMILIES[this.family];
    for (const base of [rx, tx]) {
      const n = Math.floor((offset - base) / stride);
      if (n < 0 || n >= queues) continue;
      if ((offset - base) % stride === 0x18) this.view.setUint32(AT.bar + offset, value, true);
      if ((offset - base) % stride === 0x28 && this.faults.queue) this.keep(offset, value & ~(1 << 25));
    }
  }

  private control(value: number): void {
    const reset = (value & (1 << 26)) !== 0;
    if (!reset) this.keep(0x0, value);
    else if (this.faults.reset) this.keep(0x0, value);
    else this.powerOn();
    this.showStatus();
  }

  private mdic(value: number): void {
    if (this.faults.phy) return;
    const register = (value >>> 16) & 31;
    if ((value & (1 << 26)) !== 0) this.phy[register] = value & 0xffff & ~0x200;
    const error = this.faults.phyError ? 1 << 30 : 0;
    this.keep(0x20, (value & 0xffff_0000) | (this.phy[register] ?? 0) | (1 << 28) | error);
  }

  // What the data half writes to memory: looked at when the device gets around to it.

  private mailbox(offset: number, act: (value: number) => void): void {
    const value = this.view.getUint32(AT.bar + offset, true);
    if (value === 0) return;
    this.view.setUint32(AT.bar + offset, 0, true);
    act(value);
  }

  /** Takes note of registers that were written in memory, and sends what it was given. */
  tick(): void {
    if (!this.present) {
      this.view.setUint32(AT.bar + 0x8, ONES, true);
      return;
    }
    this.showStatus();
    for (const offset of [0xc0, 0xd0, 0xd8, 0x1580, 0x1524, 0x1528]) this.mailbox(offset, (v) => this.write(offset, v));
    const { queues } = FAMILIES[this.family];
    for (let n = 0; n < queues; n++) this.transmit(n);
  }

  /** The link comes or goes. */
  setLink(up: boolean): void {
    this.linkUp = up;
    this.showStatus();
    this.cause(1 << 2);
  }

  private cause(bits: number): void {
    this.keep(0xc0, this.of(0xc0) | bits);
    this.raise();
  }

  /** Interrupts for causes that are pending and enabled. */
  private raise(): void {
    const on = this.interruptsOn;
    if (on === undefined) return;
    if (on.kind !== 'msix') {
      if ((this.of(0xc0) & this.of(0xd0)) !== 0) this.signal(0);
    } else if (this.family === 82574) this.raise82574();
    else this.raise82576();
  }

  private raise82574(): void {
    const ivar = this.of(0xe4);
    for (const [bit, at] of [
      [20, 0],
      [21, 4],
      [24, 16],
    ]) {
      const pending = bit === 24 ? this.of(0xc0) & (1 << 2) : this.of(0xc0) & (1 << bit);
      if (pending === 0 || (this.of(0xd0) & (1 << bit)) === 0 || ((ivar >>> at) & 8) === 0) continue;
      this.signal((ivar >>> at) & 7);
      const auto = this.of(0xdc) & (1 << bit);
      this.keep(0xc0, this.of(0xc0) & ~auto);
      this.keep(0xd0, this.of(0xd0) & ~auto);
    }
  }

  private raise82576(): void {
    if ((this.of(0xc0) & this.of(0xd0)) !== 0) this.keep(0x1580, this.of(0x1580) | this.vector(0x1740, 8));
    for (let vector = 0; vector < 10; vector++) {
      const bit = 1 << vector;
      if ((this.of(0x1580) & this.of(0x1524) & bit) === 0) continue;
      this.signal(vector);
      this.keep(0x1580, this.of(0x1580) & ~(this.of(0x152c) & bit));
      this.keep(0x1524, this.of(0x1524) & ~(this.of(0x1530) & bit));
    }
  }

  /** The bit of the vector in the byte at bit `at` of an IVAR, or 0. */
  private vector(register: number, at: number): number {
    const byte = (this.of(register) >>> at) & 0xff;
    return (byte & 0x80) === 0 ? 0 : 1 << (byte & 31);
  }

  private signal(vector: number): void {
    this.interrupts[vector] = (this.interrupts[vector] ?? 0) + 1;
  }

  // Rings.

  private ring(direction: 'rx' | 'tx', n: number) {
    const { stride, ...first } = FAMILIES[this.family];
    const base = first[direction] + n * stride;
    const address = (BigInt(this.of(base + 4)) << 32n) | BigInt(this.of(base));
    const size = this.of(base + 8) / 16;
    const tail = this.view.getUint32(AT.bar + base + 0x18, true);
    const head = this.of(base + 0x10);
    return { size, tail, head, at: (i: number) => this.offsetOf(address + BigInt(i * 16)), headAt: base + 0x10 };
  }

  /** Sends what tx queue `n` was given. */
  private transmit(n: number): void {
    if ((this.of(0x400) & 2) === 0 || this.faults.send) return;
    const ring = this.ring('tx', n);
    if (ring.size === 0) return;
    let packet: number[] = [];
    let { head } = ring;
    while (head !== ring.tail) {
      const at = ring.at(head);
      const command = this.view.getUint32(at + 8, true);
      const extended = (command & (1 << 29)) !== 0;
      const length = command & (extended ? 0xf_ffff : 0xffff);
      const from = this.offsetOf(this.view.getBigUint64(at, true));
      packet.push(...this.bytes.subarray(from, from + length));
      if ((command & (1 << 27)) !== 0) this.view.setUint32(at + 12, this.view.getUint32(at + 12, true) | 1, true);
      head = (head + 1) % ring.size;
      this.keep(ring.headAt, head);
      if ((command & (1 << 24)) === 0) continue;
      if ((command & (1 << 25)) === 0) throw new Error('a packet without FCS');
      if (this.family === 82576 && this.payload(at) !== packet.length) throw new Error('PAYLEN is not the length');
      if (packet.length < 17) throw new Error('too short to be padded');
      while (packet.length < 60) packet.push(0);
      this.count(0x4080, 1);
      this.count(0x4090, packet.length + 4);
      this.sent.push(packet);
      packet = [];
    }
    if (packet.length > 0) throw new Error('the tail is inside a packet');
  }

  private payload(at: number): number {
    return this.view.getUint32(at + 12, true) >>> 14;
  }

  count(offset: number, n: number): void {
    this.keep(offset, this.of(offset) + n);
  }

  private get bufferBytes(): number {
    if (this.family === 82576) return (this.of(0xc00c) & 0x7f) * 1024 || 2048;
    const rctl = this.of(0x100);
    const flexible = (rctl >>> 27) & 15;
    return flexible > 0 ? flexible * 1024 : [2048, 1024, 512, 256][(rctl >>> 16) & 3];
  }

  private passes(packet: readonly number[]): boolean {
    const rctl = this.of(0x100);
    if (packet.slice(0, 6).every((byte) => byte === 0xff)) return (rctl & RCTL.BAM) !== 0;
    if ((packet[0] & 1) !== 0) {
      if ((rctl & RCTL.MPE) !== 0) return true;
      const hash = ((packet[4] >> 4) | (packet[5] << 4)) & 0xfff;
      return (this.of(0x5200 + (hash >> 5) * 4) & (1 << (hash & 31))) !== 0;
    }
    if ((rctl & RCTL.UPE) !== 0) return true;
    const low = (packet[0] | (packet[1] << 8) | (packet[2] << 16) | (packet[3] << 24)) >>> 0;
    const high = packet[4] | (packet[5] << 8);
    return this.of(0x5400) === low && this.of(0x5404) === (high | 0x8000_0000) >>> 0;
  }

  /** A packet comes from the wire, for queue `n`; `status` is what its last descriptor says beyond done. */
  receive(packet: readonly number[], n = 0, status = 2): Taken {
    const rctl = this.of(0x100);
    if (!this.present || (rctl & RCTL.EN) === 0) return 'off';
    if ((rctl & RCTL.SECRC) === 0) throw new Error('the FCS would be part of the packet');
    if (!this.passes(packet)) return 'filtered';
    const longest = (rctl & RCTL.LPE) === 0 ? 1522 : this.family === 82576 ? this.of(0x5004) - 4 : 9230;
    if (packet.length > longest) {
      this.count(0x40ac, 1);
      return 'long';
    }
    const ring = this.ring('rx', n);
    const buffers = Math.max(1, Math.ceil(packet.length / this.bufferBytes));
    if ((ring.tail - ring.head + ring.size) % ring.size < buffers) {
      this.count(0x4010, 1);
      return 'full';
    }
    for (let i = 0; i < buffers; i++) {
      const part = packet.slice(i * this.bufferBytes, (i + 1) * this.bufferBytes);
      this.fill(n, part, part.length, i === buffers - 1 ? status : 0);
    }
    this.count(0x4074, 1);
    this.count(0x4088, packet.length + 4);
    this.rxCause(n);
    return 'taken';
  }

  rxCause(n: number): void {
    if (this.family === 82574) this.cause((1 << 7) | (1 << (20 + n)));
    else {
      this.keep(0x1580, this.of(0x1580) | this.vector(0x1700 + n * 4, 0));
      this.cause(1 << 7);
    }
  }

  /** Fills one buffer, and says of it what is asked for, true or not. */
  fill(n: number, bytes: readonly number[], length: number, status: number): void {
    const ring = this.ring('rx', n);
    if (ring.head === ring.tail) throw new Error('no buffer');
    const at = ring.at(ring.head);
    this.bytes.set(bytes, this.offsetOf(this.view.getBigUint64(at, true)));
    const extended = this.family === 82576 || (this.of(0x5008) & 0x8000) !== 0;
    if (extended) {
      this.view.setUint32(at, 0xdead_beef, true);
      this.view.setUint32(at + 4, 0xdead_beef, true);
      this.view.setUint32(at + 12, (0xabcd << 16) | length, true);
      this.view.setUint32(at + 8, (status | 1) >>> 0, true);
    } else {
      this.view.setUint32(at + 8, (0xabcd << 16) | length, true);
      this.view.setUint32(at + 12, (status | 1) >>> 0, true);
    }
    this.keep(ring.headAt, (ring.head + 1) % ring.size);
  }

  /** Buffers that rx queue `n` has. */
  posted(n = 0): number {
    const { head, tail, size } = this.ring('rx', n);
    return (tail - head + size) % size;
  }
}
