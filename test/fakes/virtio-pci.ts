/**
 * A virtio network device as a PCI function, with the devio in front of it, written from virtio 1.2 §4.1 and PCI Local Bus
 * 3.0 §6 with literal offsets: configuration space with capabilities, registers with their side effects, queues, MSI-X or
 * a line. It notes what the driver must not do, and misbehaves on request.
 */
import type { FramePool } from '../../lib/arena/frame-pool.ts';
import { DevioError } from '../../lib/errors.ts';
import type { BarWindow, InterruptKind, Interrupts, PciDevio, PciEvents, RegisterAccess } from '../../lib/pci/devio.ts';
import { loadNative } from '../../native/index.ts';
import { FakeConfig } from './pci-config.ts';
import { ControlDevice, type NetConfigFields, netConfig, type Told } from './virtio-control.ts';
import { HDR, POOL } from './virtio-queues.ts';
import { type DeviceRing, PackedDeviceRing, SplitDeviceRing } from './virtio-ring.ts';
import { F } from './virtio-transport.ts';

/** struct virtio_pci_cap with what follows it; `at` is where it lies, `next` what its link says if not the next one. */
export interface VirtioCap {
  readonly type: number;
  readonly bar: number;
  readonly offset: number;
  readonly length: number;
  readonly capLen?: number;
  readonly multiplier?: number;
  readonly vendor?: number;
}

/** Where the device has its structures, unless it is told otherwise: as an emulated one has them. */
export const CAPS = {
  pciCfg: { type: 5, bar: 0, offset: 0, length: 0 },
  device: { type: 4, bar: 4, offset: 0x2000, length: 0x1000 },
  isr: { type: 3, bar: 4, offset: 0x1000, length: 0x1000 },
  notify: { type: 2, bar: 4, offset: 0x3000, length: 0x1000, multiplier: 4 },
  common: { type: 1, bar: 4, offset: 0, length: 0x1000 },
} as const satisfies Record<string, VirtioCap>;

/** How a device is. */
export interface PciOptions {
  readonly features?: bigint;
  readonly wishes?: Readonly<Record<string, string | number | boolean>>;
  readonly config?: NetConfigFields;
  readonly caps?: readonly VirtioCap[];
  readonly numQueues?: number;
  readonly queueMax?: number;
  /** In front of it is no IOMMU: addresses are other ones than arena offsets. */
  readonly nommu?: boolean;
  /** Vectors of its table. */
  readonly msix?: number;
  readonly intx?: number;
  /** Where the table of vectors lies: BAR and offset. */
  readonly msixAt?: readonly [number, number];
  /** Sizes of its BARs; `io`: cannot be mapped. */
  readonly bars?: Readonly<Record<number, number | 'io'>>;
  readonly queueNotifyOff?: (queue: number) => number;
  readonly frames?: number;
}

interface Queue {
  size: number;
  vector: number;
  enable: number;
  reset: number;
  desc: bigint;
  driver: bigint;
  device: bigint;
  ring?: DeviceRing | undefined;
  control?: ControlDevice;
}

const DRIVER_OK = 4;
const FEATURES_OK = 8;
const NEEDS_RESET = 64;
const NO_VECTOR = 0xffff;
/** Addresses of a device without an IOMMU: above 4 GiB, frames back to front. */
const FAR_RINGS = 0x1_2000_0000;
const FAR_FRAMES = 0x5_4000_0000;
const BAR_AT = 0x10_0000;
const BAR_BYTES = 0x4000;

/** The bits of `F` that a plain device offers. */
export const PLAIN = F.VERSION_1 | F.MAC | F.STATUS | F.ACCESS_PLATFORM;
/** With a control queue, and what goes over it. */
export const CONTROLLED = PLAIN | F.CTRL_VQ | F.CTRL_RX | F.CTRL_MAC;

/** Configuration space whose PCI_CFG window leads to the BARs, §4.1.4.9. */
class PciConfig extends FakeConfig {
  private readonly device: FakeVirtioPci;
  private readonly window: number;
  constructor(device: FakeVirtioPci, window: number) {
    super(256);
    this.device = device;
    this.window = window;
  }

  private aimed(width: number): [number, number] | undefined {
    const field = (at: number, bytes: 8 | 32) => super.read(this.window + at, bytes) >>> 0;
    const [bar, offset, length] = [field(4, 8), field(8, 32), field(12, 32)];
    const { violations, options } = this.device;
    if (length * 8 !== width) violations.push(`V71: ${width} bits of a window of ${length} bytes`);
    if (offset % length !== 0) violations.push(`V71: offset ${offset} is no multiple of ${length}`);
    const inside = (options.caps ?? Object.values(CAPS)).some(
      (cap) => cap.type !== 5 && cap.bar === bar && offset >= cap.offset && offset + length <= cap.offset + cap.length,
    );
    if (!inside) violations.push(`V71: BAR ${bar} + ${offset} is in no structure`);
    return [bar, offset];
  }

  override read(offset: number, width: 8 | 16 | 32): number {
    if (this.device.gone) return width === 32 ? 0xffff_ffff : 2 ** width - 1;
    if (this.window === 0 || offset !== this.window + 16) return super.read(offset, width);
    const [bar, at] = this.aimed(width)!;
    return this.device.access(bar, at, width);
  }

  override write(offset: number, width: 8 | 16 | 32, value: number): void {
    const { window, device } = this;
    if (window === 0 || offset !== window + 16) {
      if (offset >= 0x40 && (window === 0 || offset < window || offset >= window + 20))
        device.violations.push(`V62: a write of ${value} to ${offset} of configuration space`);
      super.write(offset, width, value);
      return;
    }
    const [bar, at] = this.aimed(width)!;
    device.access(bar, at, width, value);
  }
}

/** The function and its devio. Close it: it has eventfds. */
export class FakeVirtioPci implements PciDevio {
  readonly api: PciDevio['api'];
  readonly backend = 'fake';
  readonly address = '0000:01:00.0';
  readonly memory: SharedArrayBuffer;
  readonly frames: FramePool;
  readonly frameAddresses: number;
  readonly wishes: PciDevio['wishes'];
  readonly config: PciConfig;
  readonly options: PciOptions;
  readonly vectors: Readonly<Record<InterruptKind, number>>;
  readonly violations: string[] = [];
  /** What was done to it, in order. */
  readonly log: string[] = [];
  readonly told: Told[] = [];
  readonly allocated = new Map<number, number>();
  /** Vectors that were turned on, each time. */
  readonly enabled: string[] = [];
  netConfig: Uint8Array;
  accepted = 0n;
  isr = 0;
  generation = 0;
  configVector = NO_VECTOR;
  busMaster = false;
  gone = false;
  closed = false;
  queues: Queue[] = [];
  /** Misbehaviour. */
  readonly faults = {
    /** Milliseconds that a reset takes, of the device and of a queue. */
    resetMs: 0,
    queueResetMs: 0,
    /** The configuration changes whenever it is looked at. */
    unsettled: false,
    /** Vectors that it refuses to map. */
    refused: (_vector: number) => false as boolean,
    /** Vectors that the kernel has to give. */
    most: Number.POSITIVE_INFINITY,
    /** It works only with ACCESS_PLATFORM. */
    demanding: false,
    notifyData: (queue: number) => 0x40 + queue,
    silent: false,
    /** The function cannot be reset. */
    noReset: false,
  };
  private readonly native = loadNative();
  private readonly view: DataView;
  private events: PciEvents | undefined;
  private interrupts: Interrupts | undefined;
  private masked = false;
  private current = 0;
  private resetUntil = 0;
  private selected = { device: 0, driver: 0, queue: 0 };
  private next = 0x1000;

  constructor(options: PciOptions = {}) {
    this.options = options;
    this.api = { name: options.nommu ? 'devio-nommu' : 'devio-iommu', version: 1 };
    const count = options.frames ?? 1024;
    this.memory = new SharedArrayBuffer(POOL.base + count * POOL.frameSize);
    this.view = new DataView(this.memory);
    this.frames = { plan: { ...POOL, count, depot: 0, owners: 0 } } as unknown as FramePool;
    this.wishes = options.wishes ?? {};
    this.netConfig = netConfig(options.config);
    this.vectors = { msix: options.msix ?? 4, msi: 0, intx: options.intx ?? 1 };
    this.frameAddresses = options.nommu ? this.allocate(8 * count) : 0;
    for (let i = 0; i < count && options.nommu; i++)
      this.view.setBigUint64(this.frameAddresses + 8 * i, BigInt(FAR_FRAMES + (count - 1 - i) * 0x1_0000), true);
    this.allocated.clear();
    this.config = this.makeConfig();
    this.clear();
  }

  private get caps(): readonly VirtioCap[] {
    return this.options.caps ?? Object.values(CAPS);
  }

  /** MSI-X at 0x40, then the virtio capabilities in their order. */
  private makeConfig(): PciConfig {
    const at = (i: number) => 0x50 + 0x18 * i;
    const { caps } = this;
    const window = caps.findIndex(({ type }) => type === 5);
    const config = new PciConfig(this, window < 0 ? 0 : at(window));
    const u32 = (n: number) => [n & 0xff, (n >>> 8) & 0xff, (n >>> 16) & 0xff, n >>> 24];
    config.put(0, 0xf4, 0x1a, 0x41, 0x10).put(0x06, 0x10, 0).put(0x34, 0x40);
    const [bar, offset] = this.options.msixAt ?? [1, 0];
    const size = (this.options.msix ?? 4) - 1;
    const msix = this.options.msix !== 0;
    const control = [size & 0xff, size >>> 8];
    config.put(0x40, msix ? 0x11 : 0x01, caps.length > 0 ? at(0) : 0, ...control);
    config.put(0x44, ...u32(offset | bar), ...u32((offset + 0x800) | bar));
    for (const [i, cap] of caps.entries()) {
      const next = i + 1 < caps.length ? at(i + 1) : 0;
      const head = [cap.vendor ?? 0x09, next, cap.capLen ?? (cap.type === 2 || cap.type === 5 ? 20 : 16), cap.type];
      config.put(at(i), ...head, cap.bar, 0, 0, 0, ...u32(cap.offset), ...u32(cap.length), ...u32(cap.multiplier ?? 0));
    }
    return config;
  }

  /** After a reset. */
  private clear(): void {
    const { numQueues = 3, queueMax = 256 } = this.options;
    const queue = () => ({ size: queueMax, vector: NO_VECTOR, enable: 0, reset: 0, desc: 0n, driver: 0n, device: 0n });
    this.queues = Array.from({ length: Math.min(numQueues, 300) }, queue);
    this.current = 0;
    this.accepted = 0n;
    this.isr = 0;
    this.configVector = NO_VECTOR;
  }

  get offered(): bigint {
    return this.options.features ?? PLAIN;
  }

  get status(): number {
    if (performance.now() < this.resetUntil) return 1;
    if (this.resetUntil > 0) {
      this.resetUntil = 0;
      this.clear();
    }
    return this.current;
  }

  /** Sets DEVICE_NEEDS_RESET, or any other status. */
  set status(status: number) {
    this.current = status;
  }

  /** One access to a BAR: a read, or a write of `value`. */
  access(bar: number, offset: number, width: number, value?: number): number {
    if (this.closed) this.violations.push('an access after the devio was closed');
    if (this.gone) return width === 32 ? 0xffff_ffff : 2 ** width - 1;
    if (offset % (width / 8) !== 0) this.violations.push(`V56: ${width} bits at ${offset}`);
    const cap = this.caps.find(
      (one) => one.type !== 5 && one.bar === bar && offset >= one.offset && offset < one.offset + one.length,
    );
    const at = offset - (cap?.offset ?? 0);
    if (cap?.type === 1) return this.common(at, width, value);
    if (cap?.type === 2) return this.notified(at, width, value);
    if (cap?.type === 3) return this.readIsr(value);
    if (cap?.type === 4) return this.readConfig(at, width, value);
    this.violations.push(`an access outside of the structures: BAR ${bar} + ${offset}`);
    return 0;
  }

  private readIsr(value: number | undefined): number {
    if (value !== undefined) this.violations.push('a write to the ISR status');
    if (this.interrupts?.kind === 'msix') this.violations.push('V69: ISR status read with MSI-X');
    const isr = this.isr;
    this.isr = 0;
    return isr;
  }

  private readConfig(at: number, width: number, value: number | undefined): number {
    if (value !== undefined) this.violations.push('V48: a write to the device configuration');
    const widths: Record<number, number> = { 6: 16, 8: 16, 10: 16, 12: 32, 16: 8, 17: 8, 18: 16, 20: 32 };
    if ((at < 6 ? 8 : widths[at]) !== width) this.violations.push(`V56: ${width} bits of the configuration at ${at}`);
    if (this.faults.unsettled) this.generation = (this.generation + 1) & 0xff;
    const view = new DataView(this.netConfig.buffer);
    return width === 8 ? view.getUint8(at) : width === 16 ? view.getUint16(at, true) : view.getUint32(at, true);
  }

  /** struct virtio_pci_common_cfg, §4.1.4.3. */
  private common(at: number, width: number, value: number | undefined): number {
    const widths: Record<number, number> = { 0: 32, 4: 32, 8: 32, 12: 32, 16: 16, 18: 16, 20: 8, 21: 8 };
    if ((widths[at] ?? (at >= 32 && at < 56 ? 32 : 16)) !== width) this.violations.push(`V56: ${width} bits at ${at}`);
    if (value === undefined) return at < 22 ? this.readDevice(at) : this.readQueue(at);
    if ([4, 18, 21, 30, 56].includes(at)) this.violations.push(`V63: a write to ${at}`);
    if (at < 22) this.writeDevice(at, value);
    else if (at === 22) this.selected.queue = value;
    else this.writeQueue(at, value);
    return 0;
  }

  private readDevice(at: number): number {
    const half = (set: bigint, select: number) => (select > 1 ? 0 : Number((set >> BigInt(32 * select)) & 0xffffffffn));
    if (at === 0) return this.selected.device;
    if (at === 4) {
      this.log.push('features?');
      return half(this.offered, this.selected.device);
    }
    if (at === 12) return half(this.accepted, this.selected.driver);
    if (at === 16) return this.configVector;
    if (at === 18) return this.options.numQueues ?? 3;
    if (at === 20) return this.status;
    if (at === 21) return this.generation;
    return this.selected.driver;
  }

  private writeDevice(at: number, value: number): void {
    if (at === 0) this.selected.device = value;
    else if (at === 8) this.selected.driver = value;
    else if (at === 12) this.acceptFeatures(value);
    else if (at === 16) this.configVector = this.mapped(value);
    else if (at === 20) this.setStatus(value);
  }

  private acceptFeatures(value: number): void {
    this.log.push('features');
    if ((this.current & FEATURES_OK) !== 0) this.violations.push('V49: features after FEATURES_OK');
    const shift = BigInt(32 * this.selected.driver);
    this.accepted = (this.accepted & ~(0xffff_ffffn << shift)) | (BigInt(value) << shift);
    if ((this.accepted & ~this.offered) !== 0n) this.violations.push('V5: a feature that was not offered');
  }

  private setStatus(value: number): void {
    this.log.push(`status ${value}`);
    if (value === 0) {
      this.resetUntil = performance.now() + this.faults.resetMs;
      if (this.faults.resetMs === 0) this.clear();
      return;
    }
    if (this.status === 1 && this.resetUntil > 0) this.violations.push('V66: a status before the reset has ended');
    if ((this.current & ~value) !== 0) this.violations.push(`V2: status ${value} after ${this.current}`);
    const added = value & ~this.current;
    if ((added & DRIVER_OK) !== 0 && !this.busMaster) this.violations.push('DRIVER_OK without bus master');
    if ((added & FEATURES_OK) !== 0 && this.faults.demanding && (this.accepted & F.ACCESS_PLATFORM) === 0n)
      this.current = value & ~FEATURES_OK;
    else this.current = value;
  }

  private get queue(): Queue | undefined {
    return this.queues[this.selected.queue];
  }

  private readQueue(at: number): number {
    const { queue, options } = this;
    if (at === 22) return this.selected.queue;
    if (queue === undefined) return 0;
    if (at === 24) return queue.size;
    if (at === 26) return queue.vector;
    if (at === 28) return queue.enable;
    if (at === 30) return options.queueNotifyOff?.(this.selected.queue) ?? this.selected.queue;
    if (at === 56) {
      if ((this.accepted & F.NOTIF_CONFIG_DATA) === 0n) this.violations.push('queue_notify_data is not there');
      return this.faults.notifyData(this.selected.queue);
    }
    if (at === 58) return this.readReset(queue);
    this.violations.push(`a read of ${at}`);
    return 0;
  }

  private readReset(queue: Queue): number {
    if (queue.reset > 0 && performance.now() >= queue.reset) {
      queue.reset = 0;
      queue.enable = 0;
      queue.ring = undefined;
    }
    return queue.reset > 0 ? 1 : 0;
  }

  private writeQueue(at: number, value: number): void {
    const { queue } = this;
    const index = this.selected.queue;
    if (queue === undefined) {
      this.violations.push(`a write to ${at} of queue ${index}, which is not there`);
      return;
    }
    if (queue.enable === 1 && at !== 58) this.violations.push(`V65: a write to ${at} of queue ${index}, enabled`);
    const packed = (this.accepted & F.PACKED) !== 0n;
    const put = (field: bigint, high: boolean) =>
      high ? (field & 0xffff_ffffn) | (BigInt(value) << 32n) : (field & ~0xffff_ffffn) | BigInt(value);
    if (at === 24) {
      if (packed ? value === 0 : value === 0 || (value & (value - 1)) !== 0)
        this.violations.push(`V64: queue_size ${value}`);
      queue.size = value;
    } else if (at === 26) queue.vector = this.mapped(value);
    else if (at === 28) this.enable(index, queue, value);
    else if (at === 32 || at === 36) queue.desc = put(queue.desc, at === 36);
    else if (at === 40 || at === 44) queue.driver = put(queue.driver, at === 44);
    else if (at === 48 || at === 52) queue.device = put(queue.device, at === 52);
    else if (at === 58) {
      if ((this.accepted & F.RING_RESET) === 0n) this.violations.push('queue_reset is not there');
      this.log.push(`reset queue ${index}`);
      queue.reset = performance.now() + this.faults.queueResetMs;
    } else this.violations.push(`a write to ${at}`);
  }

  private mapped(vector: number): number {
    if (vector === NO_VECTOR) return vector;
    if (vector >= this.vectors.msix) this.violations.push(`V73: vector ${vector} of ${this.vectors.msix}`);
    if (vector >= (this.interrupts?.fds.length ?? 0)) this.violations.push(`vector ${vector} is not on`);
    return this.faults.refused(vector) ? NO_VECTOR : vector;
  }

  private enable(index: number, queue: Queue, value: number): void {
    this.log.push(`queue ${index} of ${queue.size}`);
    if (value === 0) this.violations.push('V67: 0 to queue_enable');
    if ((this.current & FEATURES_OK) === 0) this.violations.push('V47: a queue before FEATURES_OK');
    queue.enable = 1;
    const [desc, driver, device] = [queue.desc, queue.driver, queue.device].map((address) => this.offsetOf(address));
    const place = { size: queue.size, desc, driver, device };
    const packed = (this.accepted & F.PACKED) !== 0n;
    const eventIdx = (this.accepted & F.EVENT_IDX) !== 0n;
    const control = (this.accepted & F.CTRL_VQ) !== 0n && index === this.controlQueue;
    if (control) {
      const at = (address: bigint) => this.offsetOf(address);
      queue.control = new ControlDevice(this.memory, { ...place, packed, eventIdx }, this.violations, at);
      return;
    }
    const negotiated = { eventIdx };
    queue.ring = new (packed ? PackedDeviceRing : SplitDeviceRing)(this.memory, place, negotiated);
  }

  private get controlQueue(): number {
    const several = (this.accepted & (F.MQ | F.RSS)) !== 0n;
    return several ? 2 * (this.options.config?.pairs ?? 1) : 2;
  }

  /** A notification by the main thread, §4.1.5.2. */
  private notified(at: number, width: number, value: number | undefined): number {
    if (value === undefined) {
      this.violations.push('a read of the notification structure');
      return 0;
    }
    this.checkNotified(
      this.queues.findIndex((_, queue) => this.notifyAt(queue) === at),
      width,
      value,
    );
    return 0;
  }

  private notifyAt(queue: number): number {
    const { multiplier = 0 } = this.caps.find(({ type }) => type === 2)!;
    return (this.options.queueNotifyOff?.(queue) ?? queue) * multiplier;
  }

  private checkNotified(index: number, width: number, value: number): void {
    const withData = (this.accepted & F.NOTIFICATION_DATA) !== 0n;
    const named = (this.accepted & F.NOTIF_CONFIG_DATA) !== 0n ? this.faults.notifyData(index) : index;
    if (width !== (withData ? 32 : 16)) this.violations.push(`a notification of ${width} bits`);
    if ((value & 0xffff) !== named) this.violations.push(`V75: ${value & 0xffff} for queue ${index}`);
    if ((this.current & DRIVER_OK) === 0) this.violations.push('V51: a notification before DRIVER_OK');
    this.log.push(`notify ${index}${withData ? ` at ${value >>> 16}` : ''}`);
    const control = this.queues[index]?.control;
    if (control === undefined || this.faults.silent) return;
    const { told, answer } = control.take();
    this.told.push(told);
    answer(0);
  }

  /** Where in memory an address of the driver's is. */
  offsetOf(address: bigint): number {
    if (!this.options.nommu) return Number(address);
    const at = Number(address);
    if (at < FAR_FRAMES) return at - FAR_RINGS;
    const { count } = this.frames.plan;
    const frame = count - 1 - Math.floor((at - FAR_FRAMES) / 0x1_0000);
    return POOL.base + frame * POOL.frameSize + ((at - FAR_FRAMES) % 0x1_0000);
  }

  addressOf(offset: number): bigint {
    return BigInt(this.options.nommu ? offset + FAR_RINGS : offset);
  }

  /** The device receives `packet` on rx queue `index`; false when it has no buffer. */
  deliver(packet: readonly number[], index = 0): boolean {
    const ring = this.queues[index].ring;
    const taken = this.busMaster ? ring?.take() : undefined;
    if (ring === undefined || taken === undefined) return false;
    const at = this.offsetOf(BigInt(taken.parts[0].addr));
    const bytes = new Uint8Array(this.memory);
    bytes.fill(0, at, at + HDR);
    bytes[at + 10] = 1;
    bytes.set(packet, at + HDR);
    ring.use(taken.id, HDR + packet.length);
    if (ring.interrupts()) this.interrupt(this.queues[index].vector, 1);
    return true;
  }

  /** The device sends what is in tx queue `index`; returns the packets. */
  collect(index = 1): number[][] {
    const ring = this.queues[index].ring;
    const sent: number[][] = [];
    for (let taken = this.busMaster ? ring?.take() : undefined; taken !== undefined; taken = ring?.take()) {
      const at = this.offsetOf(BigInt(taken.parts[0].addr));
      sent.push([...new Uint8Array(this.memory).slice(at + HDR, at + taken.parts[0].len)]);
      ring?.use(taken.id, 0);
    }
    return sent;
  }

  /** Tells of it, by the vector or the line. */
  private interrupt(vector: number, isr: number): void {
    const { interrupts, native } = this;
    if (interrupts?.kind === 'msix') {
      if (vector !== NO_VECTOR) native.notify(interrupts.fds[vector]);
      return;
    }
    this.isr |= isr;
    new Uint8Array(this.memory)[this.isrByte] = this.isr;
    this.line();
  }

  private get isrByte(): number {
    return BAR_AT + (this.caps.find(({ type }) => type === 3)?.offset ?? 0);
  }

  /** The line rises as long as the ISR status is not 0; it is masked at each interrupt. */
  private line(): void {
    if (this.interrupts?.kind !== 'intx' || this.masked || this.isr === 0) return;
    this.masked = true;
    this.native.notify(this.interrupts.fds[0]);
  }

  /** What a worker does by a plain load cannot be seen: it has read the ISR status when it unmasks the line. */
  unmasked(): void {
    this.isr = 0;
    new Uint8Array(this.memory)[this.isrByte] = 0;
    this.masked = false;
    this.line();
  }

  /** Whether an interrupt has come on vector `vector` since the last call. */
  fired(vector: number): boolean {
    return this.signalled(this.interrupts!.fds[vector]!);
  }

  signalled(fd: number): boolean {
    return this.native.readNow(fd, new Uint8Array(8)) === 8;
  }

  /** The configuration becomes another one, §4.1.5.4. */
  change(fields: NetConfigFields, tell = true): void {
    this.netConfig = netConfig({ ...this.options.config, ...fields });
    this.generation = (this.generation + 1) & 0xff;
    if (tell) this.interrupt(this.configVector, 3);
  }

  /** It asks to be reset, §2.1.2. */
  needReset(): void {
    this.current |= NEEDS_RESET;
  }

  /** It is pulled: nothing answers. */
  vanish(): void {
    this.gone = true;
  }

  /** The devio's side: the function has gone, or has failed. */
  say(what: 'lost' | 'failed', reason: string): void {
    this.events?.[what](reason);
  }

  bar(number: number): BarWindow {
    const bytes = (this.options.bars ?? { 4: BAR_BYTES, 1: 0x1000 })[number];
    if (bytes === undefined || bytes === 'io') {
      const why = bytes === 'io' ? 'it is for I/O ports' : 'there is none';
      throw new DevioError('NO_BAR', { what: `${this.address}: BAR ${number}`, why, fix: 'use another' });
    }
    this.log.push(`bar ${number}`);
    const get = (width: number) => (field: number) => this.access(number, field, width);
    const put = (width: number) => (field: number, value: number) => void this.access(number, field, width, value);
    const registers: RegisterAccess = {
      ...{ get8: get(8), get16: get(16), get32: get(32), put8: put(8), put16: put(16), put32: put(32) },
      get64: () => {
        throw new Error('no register of 64 bits is read');
      },
      put64: (field, value) => {
        put(32)(field, Number(value & 0xffff_ffffn));
        put(32)(field + 4, Number(value >> 32n));
      },
    };
    return { offset: BAR_AT, bytes, registers };
  }

  setBusMaster(on: boolean): void {
    this.busMaster = on;
    this.log.push(`bus master ${on ? 'on' : 'off'}`);
    if (this.gone) throw new DevioError('DEVICE_LOST', { what: this.address, why: 'it has gone', fix: 'wait' });
  }

  async reset(): Promise<void> {
    if (this.faults.noReset)
      throw new DevioError('NO_RESET', { what: this.address, why: 'it has no way to', fix: 'unbind it' });
    this.log.push('function reset');
    this.resetUntil = 0;
    this.clear();
  }

  enableInterrupts(kind: InterruptKind, count: number): Interrupts {
    this.disableInterrupts();
    this.enabled.push(`${kind} ${count}`);
    if (count > Math.min(this.vectors[kind], this.faults.most))
      throw new DevioError('NO_INTERRUPTS', { what: this.address, why: 'there are fewer', fix: 'use fewer' });
    const fds = Array.from({ length: count }, () => this.native.eventfd());
    this.interrupts = { kind, fds, unmask: kind === 'intx' ? this.native.eventfd() : -1 };
    return this.interrupts;
  }

  disableInterrupts(): void {
    const { fds = [], unmask = -1 } = this.interrupts ?? {};
    for (const fd of [...fds, unmask]) if (fd >= 0) this.native.close(fd);
    this.interrupts = undefined;
  }

  allocate(bytes: number): number {
    const at = Math.ceil(this.next / 64) * 64;
    this.next = at + bytes;
    if (this.next > BAR_AT) throw new Error('the fake is full');
    this.allocated.set(at, bytes);
    return at;
  }

  free(offset: number): void {
    if (!this.allocated.delete(offset)) throw new Error(`${offset} is not allocated`);
    const used = this.queues.flatMap(({ enable, desc, driver, device }) =>
      enable === 1 ? [desc, driver, device].map((address) => this.offsetOf(address)) : [],
    );
    if (this.busMaster && used.includes(offset)) this.violations.push('V12: memory is freed while the device has it');
  }

  allocateShared(bytes: number, align: number): number {
    this.next = Math.ceil(this.next / align) * align;
    return this.allocate(bytes);
  }

  freeShared(offset: number): void {
    this.free(offset);
  }

  watch(events: PciEvents): void {
    this.events = events;
  }

  close(): void {
    this.disableInterrupts();
    this.closed = true;
  }
}
