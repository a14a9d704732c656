/**
 * PCI configuration space: the standard header, and the lists of capabilities, which a device may have made to loop or to
 * lead outside (PCI Local Bus 3.0 §6.1, §6.7; PCI Express Base 3.0 §7.9.1). Control half.
 */
import { DeviceError } from '../errors.ts';

/** Configuration space of one function. Offsets and widths are checked by the caller: see `readConfig`. */
export interface ConfigSpace {
  /** Bytes that can be accessed: 64, 256 or 4096. */
  readonly size: number;
  read(offset: number, width: 8 | 16 | 32): number;
  write(offset: number, width: 8 | 16 | 32, value: number): void;
}

/** The type 0 header, §6.1. Offsets in bytes. */
export const HEADER = {
  vendorId: 0x00,
  deviceId: 0x02,
  command: 0x04,
  status: 0x06,
  revisionId: 0x08,
  headerType: 0x0e,
  bar0: 0x10,
  subsystemVendorId: 0x2c,
  subsystemId: 0x2e,
  capabilities: 0x34,
  interruptPin: 0x3d,
} as const;

/** Bits of the command register, §6.2.2. */
export const COMMAND = { io: 1 << 0, memory: 1 << 1, busMaster: 1 << 2, interruptDisable: 1 << 10 } as const;

/** Bit of the status register: there is a list of capabilities. §6.2.3. */
export const STATUS_CAPABILITIES = 1 << 4;

/** Capability ids: PCI Code and ID Assignment 1.11 §2, §3. */
export const CAPABILITY = { powerManagement: 0x01, msi: 0x05, vendor: 0x09, express: 0x10, msix: 0x11 } as const;
export const EXTENDED_CAPABILITY = { aer: 0x0001, serialNumber: 0x0003, sriov: 0x0010 } as const;

/** Where a capability begins. */
export interface Capability {
  readonly id: number;
  readonly offset: number;
}

/** First byte behind the header, and behind the space of conventional PCI. */
const HEADER_END = 0x40;
const CONVENTIONAL_END = 0x100;

function malformed(what: string, why: string): DeviceError {
  const fix = 'the device is broken or hostile: do not use it';
  return new DeviceError('BAD_CAPABILITIES', { what, why, fix });
}

/**
 * The capabilities in the order of their list. Throws DeviceError `BAD_CAPABILITIES` when the list loops or leads out of
 * the space.
 */
export function capabilities(config: ConfigSpace): Capability[] {
  if ((config.read(HEADER.status, 16) & STATUS_CAPABILITIES) === 0) return [];
  const end = Math.min(config.size, CONVENTIONAL_END);
  const found: Capability[] = [];
  // The two lowest bits are reserved, and to be masked (§6.7).
  let offset = config.read(HEADER.capabilities, 8) & ~3;
  while (offset !== 0) {
    const what = `capability at ${hex(offset)}`;
    if (offset < HEADER_END || offset + 4 > end) throw malformed(what, 'it lies outside the configuration space');
    if (found.some((known) => known.offset === offset)) throw malformed(what, 'the list comes back to it');
    found.push({ id: config.read(offset, 8), offset });
    offset = config.read(offset + 1, 8) & ~3;
  }
  return found;
}

/** The extended capabilities of a PCI Express function. Throws as `capabilities`. */
export function extendedCapabilities(config: ConfigSpace): Capability[] {
  const found: Capability[] = [];
  if (config.size <= CONVENTIONAL_END) return found;
  for (let offset = CONVENTIONAL_END; offset !== 0; ) {
    const what = `extended capability at ${hex(offset)}`;
    if (offset < CONVENTIONAL_END || offset + 4 > config.size) {
      throw malformed(what, 'it lies outside the extended configuration space');
    }
    if (found.some((known) => known.offset === offset)) throw malformed(what, 'the list comes back to it');
    const header = config.read(offset, 32);
    // No capability, or a function that does not answer.
    if (header === 0 || header === 0xffff_ffff) break;
    found.push({ id: header & 0xffff, offset });
    offset = (header >>> 20) & ~3;
  }
  return found;
}

/** Sets and clears bits of the command register, unless the function does not answer; returns what it was. */
export function changeCommand(config: ConfigSpace, set: number, clear: number): number {
  const before = config.read(HEADER.command, 16);
  const after = (before & ~clear) | set;
  // Bits 11 to 15 are reserved: all ones is nobody's answer, and nothing to go by.
  if (after !== before && before !== 0xffff) config.write(HEADER.command, 16, after);
  return before;
}

/** True when the function does not answer any more: every read gives ones, and no vendor has that id. */
export const isGone = (config: ConfigSpace): boolean => config.read(HEADER.vendorId, 16) === 0xffff;

const hex = (n: number): string => `0x${n.toString(16)}`;
