/** Part of a BAR as registers of its own, and BARs behind the window in configuration space. Control half. */
import { DeviceError } from '../../errors.ts';
import type { Readable, Width, Writable } from '../../layout.ts';
import type { ConfigSpace } from '../../pci/config-space.ts';
import type { RegisterAccess } from '../../pci/devio.ts';
import { CAP } from './regs.ts';

/** `bytes` of `access` from `base` on. Accesses beyond them throw `OUTSIDE_STRUCTURE`. */
export class Region implements RegisterAccess {
  readonly bytes: number;
  private readonly access: RegisterAccess;
  private readonly base: number;

  constructor(access: RegisterAccess, base: number, bytes: number) {
    this.access = access;
    this.base = base;
    this.bytes = bytes;
  }

  private at<F extends number>(field: F, bytes: number): F {
    if (field + bytes <= this.bytes) return (this.base + field) as F;
    throw new DeviceError('OUTSIDE_STRUCTURE', {
      what: `${bytes} bytes at ${field}`,
      why: `the structure that the device gives has ${this.bytes}`,
      fix: 'the device is broken or hostile: do not use it',
    });
  }

  get8(field: Readable<8>): number {
    return this.access.get8(this.at(field, 1));
  }

  get16(field: Readable<16>): number {
    return this.access.get16(this.at(field, 2));
  }

  get32(field: Readable<32>): number {
    return this.access.get32(this.at(field, 4));
  }

  get64(field: Readable<64>): bigint {
    return this.access.get64(this.at(field, 8));
  }

  put8(field: Writable<8>, value: number): void {
    this.access.put8(this.at(field, 1), value);
  }

  put16(field: Writable<16>, value: number): void {
    this.access.put16(this.at(field, 2), value);
  }

  put32(field: Writable<32>, value: number): void {
    this.access.put32(this.at(field, 4), value);
  }

  put64(field: Writable<64>, value: bigint): void {
    this.access.put64(this.at(field, 8), value);
  }
}

/**
 * BAR `bar` by the PCI_CFG capability at `at` (virtio 1.2 §4.1.4.9): for structures in a BAR that cannot be mapped. Each
 * access is told by BAR, offset and length, then made.
 */
export class ConfigWindow implements RegisterAccess {
  private readonly config: ConfigSpace;
  private readonly capability: number;
  private readonly bar: number;

  constructor(config: ConfigSpace, capability: number, bar: number) {
    this.config = config;
    this.capability = capability;
    this.bar = bar;
  }

  private aim(offset: number, width: Width): void {
    const { config, capability } = this;
    config.write(capability + CAP.bar, 8, this.bar);
    config.write(capability + CAP.length, 32, width / 8);
    config.write(capability + CAP.offset, 32, offset);
  }

  private read(offset: number, width: 8 | 16 | 32): number {
    this.aim(offset, width);
    return this.config.read(this.capability + CAP.pciCfgData, width);
  }

  private write(offset: number, width: 8 | 16 | 32, value: number): void {
    this.aim(offset, width);
    this.config.write(this.capability + CAP.pciCfgData, width, value);
  }

  get8(field: Readable<8>): number {
    return this.read(field, 8);
  }

  get16(field: Readable<16>): number {
    return this.read(field, 16);
  }

  get32(field: Readable<32>): number {
    return this.read(field, 32) >>> 0;
  }

  get64(field: Readable<64>): bigint {
    const low = this.read(field, 32) >>> 0;
    return (BigInt(this.read(field + 4, 32) >>> 0) << 32n) | BigInt(low);
  }

  put8(field: Writable<8>, value: number): void {
    this.write(field, 8, value);
  }

  put16(field: Writable<16>, value: number): void {
    this.write(field, 16, value);
  }

  put32(field: Writable<32>, value: number): void {
    this.write(field, 32, value);
  }

  put64(field: Writable<64>, value: bigint): void {
    this.write(field, 32, Number(value & 0xffff_ffffn));
    this.write(field + 4, 32, Number(value >> 32n));
  }
}
