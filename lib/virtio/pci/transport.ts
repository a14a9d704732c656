/**
 * A virtio device behind a PCI function, as its driver sees it (virtio 1.2 §4.1). It is a master of the bus from DRIVER_OK
 * to its reset; meanwhile it is looked at now and then: whether it is there, asks to be reset, or has changed its
 * configuration. Control half.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { DeviceError } from '../../errors.ts';
import type { Readable, Writable } from '../../layout.ts';
import { isGone } from '../../pci/config-space.ts';
import { NOMMU_API, type PciDevio } from '../../pci/devio.ts';
import { everyMs, type Pulse } from '../../pulse.ts';
import { featureSet, hasFeature, STATUS } from '../features.ts';
import type { Interrupt, Notifier, QueueLayout, TransportEvents, VirtioTransport } from '../transport.ts';
import type { Region } from './region.ts';
import { COMMON, COMMON_BYTES, NOTIFY, NOTIFY_DATA } from './regs.ts';
import { findStructures, overlap, type Structures } from './structures.ts';
import { Vectors } from './vectors.ts';

/** A field of the device configuration: its offset and bytes. Each is read by accesses of its own width (§4.1.3.1). */
export type ConfigField = readonly [offset: number, bytes: 1 | 2 | 4];

/** Time limits, in milliseconds; for tests. */
export interface PciLimits {
  /** Longest that a reset may take, of the device or of a queue. */
  readonly resetMs: number;
  /** How often the device is looked at while it runs. */
  readonly lookMs: number;
}

const LIMITS: PciLimits = { resetMs: 1000, lookMs: 100 };
/** Reads of a configuration whose generation keeps changing. */
const MOST_READS = 16;
/** What a byte reads as when nobody answers. No status has all bits: some are reserved. */
const ALL_ONES = 0xff;

/** See `VirtioTransport`. */
export class PciTransport implements VirtioTransport {
  private readonly devio: PciDevio;
  private readonly fields: readonly ConfigField[];
  private readonly limits: PciLimits;
  private readonly structures: Structures;
  private readonly common: Region;
  private readonly vectors: Vectors;
  /** As queues were told, to hold the device to it. */
  private readonly notifiers = new Map<number, Notifier>();
  private events: TransportEvents | undefined;
  private features = 0n;
  private pulse: Pulse | undefined;
  /** Why it has gone, or undefined. */
  private gone: string | undefined;
  private asked = false;
  /** What the configuration was when it was last read: `[offset, bytes]`. */
  private last: readonly [number, Uint8Array] | undefined;

  /** `fields`: of the device configuration, in order. Throws what `findStructures` throws. */
  constructor(devio: PciDevio, fields: readonly ConfigField[], limits: PciLimits = LIMITS) {
    this.devio = devio;
    this.fields = fields;
    this.limits = limits;
    this.structures = findStructures(devio, Math.max(0, ...fields.map(([offset, bytes]) => offset + bytes)));
    this.common = this.structures.common;
    this.vectors = new Vectors(devio, this.common, this.structures.isr);
    devio.watch({
      lost: (reason) => this.lose(reason),
      failed: (reason) => this.ask(reason),
    });
  }

  watch(events: TransportEvents): void {
    this.events = events;
    if (this.gone !== undefined) events.lost(this.gone, true);
  }

  /** Throws `DEVICE_LOST` when the device has gone, else returns its status. */
  private present(): number {
    if (this.gone === undefined) {
      const status = this.common.get8(COMMON.deviceStatus);
      if (status !== ALL_ONES && !isGone(this.devio.config)) return status;
      this.lose('its registers read as ones');
    }
    const why = `it has gone: ${this.gone}`;
    throw new DeviceError('DEVICE_LOST', { what: this.devio.address, why, fix: 'open the port again when it is back' });
  }

  private lose(reason: string): void {
    if (this.gone !== undefined) return;
    this.gone = reason;
    this.cutOff();
    this.events?.lost(reason, true);
  }

  /** It is to be reset: said once until that has been done. */
  private ask(reason: string): void {
    if (this.asked || this.gone !== undefined) return;
    this.asked = true;
    this.events?.needsReset(reason);
  }

  /** Nothing reaches memory any more, and nobody looks. */
  private cutOff(): void {
    this.lookAway();
    try {
      this.devio.setBusMaster(false);
    } catch {
      // It has gone: then it writes nothing either.
    }
  }

  private lookAway(): void {
    this.pulse?.stop();
    this.pulse = undefined;
  }

  private broken(code: string, what: string, why: string, fix = 'the device is broken or hostile: do not use it') {
    return new DeviceError(code, { what: `${this.devio.address}: ${what}`, why, fix });
  }

  async deviceFeatures(): Promise<bigint> {
    this.present();
    const { common } = this;
    const half = (select: number): bigint => {
      common.put32(COMMON.deviceFeatureSelect, select);
      return BigInt(common.get32(COMMON.deviceFeature));
    };
    const offered = half(0) | (half(1) << 32n);
    return offered & ~this.unusable(offered);
  }

  /** Features that the device has no room for, or that do not fit the way to it. Throws `NO_ACCESS_PLATFORM`. */
  private unusable(offered: bigint): bigint {
    const { common, notify } = this.structures;
    const physical = this.devio.api.name === NOMMU_API.name;
    // It would take our addresses for physical ones, and write past the IOMMU to memory that is not ours (§6.1).
    if (!physical && hasFeature(offered, 'VERSION_1') && !hasFeature(offered, 'ACCESS_PLATFORM')) {
      const why = 'it does not offer ACCESS_PLATFORM: it would go past the IOMMU';
      const fix = 'have it do so (in QEMU iommu_platform=on), or use it without an IOMMU (uio_pci_generic)';
      throw this.broken('NO_ACCESS_PLATFORM', 'virtio device', why, fix);
    }
    const withData = notify.offset % 4 === 0 && notify.multiplier % 4 === 0 && notify.bytes >= 4;
    return (
      (physical ? featureSet('ACCESS_PLATFORM') : 0n) |
      (common.bytes < COMMON_BYTES.notifyData ? featureSet('NOTIF_CONFIG_DATA') : 0n) |
      (common.bytes < COMMON_BYTES.reset ? featureSet('RING_RESET') : 0n) |
      (withData ? 0n : featureSet('NOTIFICATION_DATA'))
    );
  }

  async setDriverFeatures(features: bigint): Promise<void> {
    this.present();
    const { common } = this;
    for (const select of [0, 1]) {
      common.put32(COMMON.driverFeatureSelect, select);
      common.put32(COMMON.driverFeature, Number((features >> BigInt(32 * select)) & 0xffff_ffffn));
    }
    this.features = features;
  }

  async status(): Promise<number> {
    return this.present();
  }

  async setStatus(status: number): Promise<void> {
    const before = this.present();
    const { DRIVER_OK, FAILED, FEATURES_OK } = STATUS;
    const starts = (status & (DRIVER_OK | FAILED)) === DRIVER_OK && (before & DRIVER_OK) === 0;
    if (starts) {
      this.vectors.mapConfiguration();
      // Before the device may use its queues, and not earlier.
      this.devio.setBusMaster(true);
    }
    this.common.put8(COMMON.deviceStatus, status);
    if ((status & ~before & FEATURES_OK) !== 0) this.requirePlatform();
    if (starts) this.pulse ??= everyMs(this.limits.lookMs, () => this.look());
  }

  /** A device that works only behind an IOMMU says so by refusing our features (§6.1). Throws `NEEDS_IOMMU`. */
  private requirePlatform(): void {
    if (this.devio.api.name !== NOMMU_API.name) return;
    if ((this.common.get8(COMMON.deviceStatus) & STATUS.FEATURES_OK) !== 0) return;
    this.common.put32(COMMON.deviceFeatureSelect, 1);
    const offered = BigInt(this.common.get32(COMMON.deviceFeature)) << 32n;
    if (!hasFeature(offered, 'ACCESS_PLATFORM')) return;
    const why = 'it demands ACCESS_PLATFORM, which needs an IOMMU before it';
    throw this.broken('NEEDS_IOMMU', 'virtio device', why, 'bind it to vfio-pci on a machine with an IOMMU');
  }

  async reset(): Promise<void> {
    const { common, limits } = this;
    this.lookAway();
    try {
      this.present();
      common.put8(COMMON.deviceStatus, 0);
      await this.until('its reset', limits.resetMs, () => this.present() === 0).catch((error) =>
        this.resetFunction(error),
      );
    } finally {
      // Also of a device that does not say so: whatever it does, it reaches no memory.
      this.cutOff();
    }
    this.features = 0n;
    this.asked = false;
    this.last = undefined;
  }

  /** After a reset that failed with `error`: the whole function, as long as nobody waits for interrupts that this turns off. */
  private async resetFunction(error: Error): Promise<void> {
    if (this.gone !== undefined || this.vectors.chosen) throw error;
    await this.devio.reset().catch(() => {}); // not every function can
    if (this.present() !== 0) throw error;
  }

  /** Waits until `done`; throws `DEVICE_TIMEOUT` after `ms`. */
  private async until(what: string, ms: number, done: () => boolean): Promise<void> {
    const end = performance.now() + ms;
    for (let wait = 0; !done(); wait = Math.min(wait + 1, 10)) {
      if (performance.now() > end) {
        const why = `it has not ended in ${ms} ms`;
        throw this.broken('DEVICE_TIMEOUT', what, why, 'reset the function (unbind it and bind it again)');
      }
      await sleep(wait);
    }
  }

  async readConfig(offset: number, length: number): Promise<Uint8Array> {
    this.present();
    const bytes = this.readWhole(offset, length);
    this.last = [offset, bytes];
    return bytes;
  }

  private readWhole(offset: number, length: number): Uint8Array {
    const { device } = this.structures;
    if (device === undefined || offset + length > device.bytes) {
      const has = device === undefined ? 'none' : `${device.bytes} bytes of it`;
      throw this.broken('BAD_CONFIG', 'device configuration', `it has ${has}, and features that need more`);
    }
    for (let i = 0; i < MOST_READS; i++) {
      const generation = this.common.get8(COMMON.configGeneration);
      const bytes = this.readFields(device, offset, length);
      if (this.common.get8(COMMON.configGeneration) === generation) return bytes;
    }
    throw this.broken('BAD_CONFIG', 'device configuration', `it changed while it was read, ${MOST_READS} times`);
  }

  private readFields(device: Region, offset: number, length: number): Uint8Array {
    const bytes = new Uint8Array(length);
    const view = new DataView(bytes.buffer);
    for (const [at, width] of this.fields) {
      if (at < offset || at + width > offset + length) continue;
      if (width === 1) view.setUint8(at - offset, device.get8(at as Readable<8>));
      else if (width === 2) view.setUint16(at - offset, device.get16(at as Readable<16>), true);
      else view.setUint32(at - offset, device.get32(at as Readable<32>), true);
    }
    return bytes;
  }

  async queueMax(index: number): Promise<number> {
    this.present();
    if (index >= this.common.get16(COMMON.numQueues)) return 0;
    this.common.put16(COMMON.queueSelect, index);
    return this.common.get16(COMMON.queueSize);
  }

  async startQueue(index: number, layout: QueueLayout): Promise<void> {
    const { common, devio } = this;
    const most = await this.queueMax(index);
    const what = `queue ${index}`;
    if (layout.size > most)
      throw this.broken('BAD_QUEUE', what, `it may have ${most} descriptors, not ${layout.size}`, 'use smaller rings');
    // The size that it has of itself need not be a power of two with packed rings, ours is what fits (§4.1.4.3.2).
    common.put16(COMMON.queueSize, layout.size);
    this.vectors.map(index);
    const told = this.notifiers.get(index);
    const now = this.readNotifier(index);
    if (told !== undefined && (told.register !== now.register || told.value !== now.value))
      throw this.broken('BAD_NOTIFY', what, 'after a reset it is to be notified elsewhere', 'open the port again');
    common.put64(COMMON.queueDesc, devio.addressOf(layout.desc));
    common.put64(COMMON.queueDriver, devio.addressOf(layout.driver));
    common.put64(COMMON.queueDevice, devio.addressOf(layout.device));
    common.put16(COMMON.queueEnable, 1);
  }

  async resetQueue(index: number): Promise<void> {
    this.present();
    const { common, limits } = this;
    const what = `queue ${index}`;
    if (!hasFeature(this.features, 'RING_RESET'))
      throw this.broken('NO_RING_RESET', what, 'it cannot be reset by itself', 'reset the device');
    common.put16(COMMON.queueSelect, index);
    common.put16(COMMON.queueReset, 1);
    await this.until(`the reset of ${what}`, limits.resetMs, () => {
      this.present();
      common.put16(COMMON.queueSelect, index);
      return common.get16(COMMON.queueReset) === 0;
    });
  }

  notifier(index: number): Notifier {
    this.present();
    const notifier = this.readNotifier(index);
    this.notifiers.set(index, notifier);
    return notifier;
  }

  /** Where queue `index` is notified, and by what. Throws `BAD_NOTIFY`. */
  private readNotifier(index: number): Notifier {
    const { common } = this;
    const { notify } = this.structures;
    const width = hasFeature(this.features, 'NOTIFICATION_DATA') ? 4 : 2;
    const at = this.notifyOffset(index, width);
    const value = hasFeature(this.features, 'NOTIF_CONFIG_DATA') ? common.get16(COMMON.queueNotifyData) : index;
    return { fd: -1, register: notify.arena + notify.offset + at, value, width };
  }

  private notifyOffset(index: number, width: 2 | 4): number {
    const { notify, taken } = this.structures;
    this.common.put16(COMMON.queueSelect, index);
    // 16 by 32 bits: exact.
    const at = this.common.get16(COMMON.queueNotifyOff) * notify.multiplier;
    const extent = { name: 'it', bar: notify.bar, offset: notify.offset + at, bytes: width };
    const why =
      at + width > notify.bytes
        ? `it is to be notified at ${at} of ${notify.bytes} bytes`
        : extent.offset % width !== 0
          ? `it is to be notified at ${extent.offset}, which is no multiple of ${width}`
          : overlap(extent, taken);
    if (why !== undefined) throw this.broken('BAD_NOTIFY', `queue ${index}`, why);
    return at;
  }

  notify(index: number, position: number): void {
    const { registers, arena, offset } = this.structures.notify;
    const { register, value, width } = this.notifiers.get(index) ?? this.notifier(index);
    const at = register - arena - offset;
    if (width === 2) registers.put16((NOTIFY.index + at) as Writable<16>, value);
    else registers.put32((NOTIFY_DATA.data + at) as Writable<32>, (value | (position << 16)) >>> 0);
  }

  interrupts(queues: readonly number[]): ReadonlyMap<number, Interrupt> {
    this.present();
    return this.vectors.choose(queues);
  }

  /** What nobody tells of. */
  private look(): void {
    try {
      const status = this.present();
      if ((status & STATUS.DEVICE_NEEDS_RESET) !== 0) this.ask('it says so');
      else if ((status & STATUS.DRIVER_OK) === 0) this.ask('somebody else has reset it');
      else if (this.vectors.configChanged() ?? this.differs()) this.events?.configChanged();
    } catch (error) {
      if ((error as { code?: string }).code !== 'DEVICE_LOST') this.ask((error as Error).message);
    }
  }

  /** Whether the configuration is another one than was last read. */
  private differs(): boolean {
    if (this.last === undefined) return false;
    const [offset, before] = this.last;
    return Buffer.compare(this.readWhole(offset, before.length), before) !== 0;
  }
}
