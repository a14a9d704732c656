/**
 * A virtio network device with its transport, written from virtio 1.2 §2.1, §2.2, §3.1.1 and §5.1 with literal numbers. It
 * notes what the driver must not do, and misbehaves on request.
 */
import type { FramePool } from '../../lib/arena/frame-pool.ts';
import type { QueueLayout, TransportEvents, VirtioDevio, VirtioTransport } from '../../lib/virtio/transport.ts';
import { ControlDevice, type NetConfigFields, netConfig, type Told } from './virtio-control.ts';

const bit = (n: number): bigint => 1n << BigInt(n);

/** Feature bits, §5.1.3 and §6. */
export const F = {
  ...{
    CSUM: bit(0),
    GUEST_CSUM: bit(1),
    MTU: bit(3),
    MAC: bit(5),
    GUEST_TSO4: bit(7),
    GUEST_TSO6: bit(8),
    GUEST_ECN: bit(9),
  },
  ...{
    GUEST_UFO: bit(10),
    HOST_TSO4: bit(11),
    HOST_TSO6: bit(12),
    HOST_ECN: bit(13),
    HOST_UFO: bit(14),
    MRG_RXBUF: bit(15),
  },
  ...{
    STATUS: bit(16),
    CTRL_VQ: bit(17),
    CTRL_RX: bit(18),
    CTRL_VLAN: bit(19),
    CTRL_RX_EXTRA: bit(20),
    ANNOUNCE: bit(21),
  },
  ...{
    MQ: bit(22),
    CTRL_MAC: bit(23),
    INDIRECT: bit(28),
    EVENT_IDX: bit(29),
    VERSION_1: bit(32),
    ACCESS_PLATFORM: bit(33),
  },
  ...{ PACKED: bit(34), IN_ORDER: bit(35), ORDER_PLATFORM: bit(36), SR_IOV: bit(37), NOTIFICATION_DATA: bit(38) },
  ...{
    NOTIF_CONFIG_DATA: bit(39),
    RING_RESET: bit(40),
    HOST_USO: bit(56),
    HASH_REPORT: bit(57),
    GUEST_HDRLEN: bit(59),
  },
  ...{ RSS: bit(60), RSC_EXT: bit(61), STANDBY: bit(62), SPEED_DUPLEX: bit(63) },
} as const;

/** §5.1.3.1: a feature, and of which one is needed. */
const NEEDS: readonly (readonly [bigint, bigint])[] = [
  ...[F.GUEST_TSO4, F.GUEST_TSO6, F.GUEST_UFO].map((f) => [f, F.GUEST_CSUM] as const),
  [F.GUEST_ECN, F.GUEST_TSO4 | F.GUEST_TSO6],
  ...[F.HOST_TSO4, F.HOST_TSO6, F.HOST_UFO, F.HOST_USO].map((f) => [f, F.CSUM] as const),
  [F.HOST_ECN, F.HOST_TSO4 | F.HOST_TSO6],
  ...[F.CTRL_RX, F.CTRL_VLAN, F.CTRL_RX_EXTRA, F.ANNOUNCE, F.MQ, F.CTRL_MAC, F.RSS].map((f) => [f, F.CTRL_VQ] as const),
  [F.RSC_EXT, F.HOST_TSO4 | F.HOST_TSO6],
];

const STATUS_BITS = { acknowledge: 1, driver: 2, driverOk: 4, featuresOk: 8, needsReset: 64, failed: 128 };

/** How a device is. */
export interface FakeOptions {
  readonly features: bigint;
  readonly wishes?: Readonly<Record<string, string | number | boolean>>;
  /** struct virtio_net_config. */
  readonly config?: NetConfigFields;
  readonly queueMax?: number;
  /** Commands go to a control queue in memory. */
  readonly controlQueue?: boolean;
  readonly frames?: { readonly count?: number; readonly frameSize?: number; readonly headroom?: number };
}

/** The device, its transport and a devio over plain memory. */
export class FakeVirtio implements VirtioTransport, VirtioDevio {
  readonly api = { name: 'devio-vhost-user', version: 1 };
  readonly backend = 'fake';
  readonly memory = new SharedArrayBuffer(4 * 1024 * 1024);
  readonly frames: FramePool;
  readonly frameAddresses = 0;
  readonly wishes: Readonly<Record<string, string | number | boolean>>;
  /** What was done, in order. */
  readonly log: string[] = [];
  readonly violations: string[] = [];
  readonly told: Told[] = [];
  readonly running = new Map<number, QueueLayout>();
  readonly allocated = new Map<number, number>();
  config: Uint8Array;
  offered: bigint;
  accepted = 0n;
  /** Misbehaviour. */
  faults = {
    resetHangs: false,
    featuresRefused: false,
    statusHangs: false,
    needsReset: false,
    answer: 0,
    silent: false,
    gone: false,
    configThrows: false,
  };
  events: TransportEvents | undefined;
  /** Descriptors that a queue may have. */
  queueMost: number;
  private current = 0;
  private readonly options: FakeOptions;
  private next = 0x1_0000;
  private readonly controls = new Map<number, ControlDevice>();
  readonly command?: (group: number, command: number, data: Uint8Array) => Promise<number>;
  readonly notify?: (index: number) => void;

  constructor(options: FakeOptions) {
    this.options = options;
    this.offered = options.features;
    this.queueMost = options.queueMax ?? 1024;
    this.wishes = options.wishes ?? {};
    const { count = 1024, frameSize = 2048, headroom = 256 } = options.frames ?? {};
    this.frames = {
      plan: { base: 0x20_0000, count, frameSize, headroom, depot: 0, owners: 0 },
    } as unknown as FramePool;
    this.config = netConfig(options.config);
    if (options.controlQueue) this.notify = (index) => this.serve(index);
    else this.command = (group, command, data) => this.answer({ class: group, command, data: [...data] });
  }

  get transport(): this {
    return this;
  }

  private present(): void {
    if (this.faults.gone) throw Object.assign(new Error('it has gone'), { code: 'DEVICE_LOST' });
  }

  watch(events: TransportEvents): void {
    this.events = events;
  }

  async deviceFeatures(): Promise<bigint> {
    this.present();
    this.log.push('features?');
    if ((this.current & STATUS_BITS.driver) === 0) this.violations.push('V47: features before DRIVER');
    return this.offered;
  }

  async setDriverFeatures(features: bigint): Promise<void> {
    this.present();
    this.log.push('features');
    if ((features & ~this.offered) !== 0n) this.violations.push('V5: a feature that was not offered');
    for (const [feature, need] of NEEDS)
      if ((features & feature) !== 0n && (features & need) === 0n)
        this.violations.push(`V6: feature ${feature} without what it needs`);
    if ((this.current & STATUS_BITS.featuresOk) !== 0) this.violations.push('V49: features after FEATURES_OK');
    this.accepted = features;
  }

  async status(): Promise<number> {
    this.present();
    this.log.push('status?');
    if (this.faults.statusHangs) return new Promise(() => {});
    const refused = this.faults.featuresRefused ? ~STATUS_BITS.featuresOk : -1;
    return (this.current & refused) | (this.faults.needsReset ? STATUS_BITS.needsReset : 0);
  }

  async setStatus(status: number): Promise<void> {
    this.log.push(`status ${status}`);
    this.present();
    if ((this.current & ~status) !== 0) this.violations.push(`V2: status ${status} after ${this.current}`);
    if ((this.current & STATUS_BITS.failed) !== 0 && status !== this.current)
      this.violations.push('V3: on after FAILED');
    const added = status & ~this.current;
    if ((added & (added - 1)) !== 0) this.violations.push(`V1: several steps at once: ${status}`);
    this.current = status;
  }

  async reset(): Promise<void> {
    this.present();
    this.log.push('reset');
    if (this.faults.resetHangs) return new Promise(() => {});
    this.current = 0;
    this.running.clear();
    this.controls.clear();
  }

  async readConfig(offset: number, length: number): Promise<Uint8Array> {
    this.present();
    this.log.push(`config ${offset}+${length}`);
    if (this.faults.configThrows) throw new Error('the generation never settles');
    if (offset + length > 24) this.violations.push('V11: beyond the configuration');
    return this.config.slice(offset, offset + length);
  }

  async queueMax(): Promise<number> {
    this.present();
    return this.queueMost;
  }

  async startQueue(index: number, layout: QueueLayout): Promise<void> {
    this.present();
    this.log.push(`queue ${index}`);
    if ((this.current & STATUS_BITS.featuresOk) === 0) this.violations.push('V47: a queue before FEATURES_OK');
    this.checkPlace(layout);
    const all = [...this.area(layout)];
    if (all.some((byte) => byte !== 0) && !this.options.controlQueue)
      this.violations.push('V29: a ring that is not zero');
    this.running.set(index, layout);
  }

  /** Addresses are this arena's offsets (§2.7.1, §2.8.11, §4.1.4.3.2). */
  private checkPlace({ size, packed, desc, driver, device }: QueueLayout): void {
    const fits = desc % 16 === 0 && driver % (packed ? 4 : 2) === 0 && device % 4 === 0;
    if (!fits) this.violations.push(`${packed ? 'V34' : 'V14'}: rings at ${desc}, ${driver} and ${device}`);
    const sized = size > 0 && size <= 32_768 && (packed || (size & (size - 1)) === 0);
    if (!sized || size > this.queueMost) this.violations.push(`V64: a queue of ${size}`);
  }

  private area({ size, packed, desc, driver, device }: QueueLayout): number[] {
    const bytes = new Uint8Array(this.memory);
    const parts = packed
      ? [
          [desc, 16 * size],
          [driver, 4],
          [device, 4],
        ]
      : [
          [desc, 16 * size],
          [driver, 6 + 2 * size],
          [device, 6 + 8 * size],
        ];
    return parts.flatMap(([at, length]) => [...bytes.slice(at, at + length)]);
  }

  async resetQueue(index: number): Promise<void> {
    this.log.push(`reset queue ${index}`);
    this.running.delete(index);
  }

  notifier(index: number) {
    return { fd: 100 + index, register: 0, value: 0, width: 2 as const };
  }

  interrupts(queues: readonly number[]) {
    return new Map(queues.map((index) => [index, { fd: 200 + index, isr: 0, unmask: -1 }]));
  }

  private async answer(told: Told): Promise<number> {
    this.present();
    if ((this.current & STATUS_BITS.driverOk) === 0) this.violations.push('V51: a command before DRIVER_OK');
    this.told.push(told);
    this.log.push(`command ${told.class}/${told.command}`);
    if (this.faults.silent) return new Promise(() => {});
    return this.faults.answer;
  }

  /** The control queue was notified: takes one command from it, §5.1.6.5. */
  private serve(index: number): void {
    const layout = this.running.get(index);
    if (layout === undefined) {
      this.violations.push('V51: a notification before the queue runs');
      return;
    }
    const control =
      this.controls.get(index) ??
      new ControlDevice(this.memory, { ...layout, eventIdx: (this.accepted & F.EVENT_IDX) !== 0n }, this.violations);
    this.controls.set(index, control);
    const { told, answer } = control.take();
    void this.answer(told).then(answer);
  }

  allocate(bytes: number, align = 64): number {
    const at = Math.ceil(this.next / align) * align;
    this.next = at + bytes;
    if (this.next > this.memory.byteLength) throw new Error('the fake is full');
    this.allocated.set(at, bytes);
    return at;
  }

  free(offset: number): void {
    const bytes = this.allocated.get(offset);
    if (bytes === undefined) throw new Error(`${offset} is not allocated`);
    this.allocated.delete(offset);
    // A device that runs, and memory that is given back: what the driver must never do.
    for (const [index, layout] of this.running)
      if ([layout.desc, layout.driver, layout.device].includes(offset) && !this.faults.gone)
        this.violations.push(`V12: memory of queue ${index} is freed while the device has it`);
  }

  allocateShared(bytes: number, align: number): number {
    return this.allocate(bytes, align);
  }

  freeShared(offset: number): void {
    this.free(offset);
  }

  addressOf(offset: number): bigint {
    return BigInt(offset);
  }

  close(): void {}
}
