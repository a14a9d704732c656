/**
 * PCI functions as the kernel describes them (Linux, Documentation/ABI/testing/sysfs-bus-pci). The root of sysfs is a
 * parameter, so that a tree of the tests' own serves as well. Control half.
 */
import { existsSync, readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { basename, join } from 'node:path';

/** A base address register. */
export interface Bar {
  readonly number: number;
  readonly bytes: number;
  readonly kind: 'memory' | 'io';
  readonly prefetchable: boolean;
}

/** A network interface that a kernel driver has made of a function. */
export interface Netif {
  readonly name: string;
  readonly mac: string;
  /** It is administratively up (IFF_UP). */
  readonly up: boolean;
}

/** A PCI function. */
export interface PciFunction {
  /** `DDDD:BB:DD.F` */
  readonly address: string;
  readonly domain: string;
  readonly vendor: number;
  readonly device: number;
  readonly subsystemVendor: number;
  readonly subsystemDevice: number;
  /** Class, subclass and programming interface: 24 bits. */
  readonly class: number;
  readonly revision: number;
  /** NUMA node; -1 when there is none. */
  readonly numaNode: number;
  /** Number of its IOMMU group; -1 when no IOMMU is in front of it. */
  readonly iommuGroup: number;
  /** Kernel driver; empty when none is bound. */
  readonly driver: string;
  /** What alone may be bound to it; empty when any may. */
  readonly driverOverride: string;
  readonly bars: readonly Bar[];
  readonly netifs: readonly Netif[];
}

/** Base class of network controllers, and subclass Ethernet (PCI Code and ID Assignment 1.11 §1.2). */
export const NETWORK_CLASS = 0x02;

const ADDRESS = /^(?<domain>[0-9a-f]{4,8}):[0-9a-f]{2}:[0-9a-f]{2}\.[0-7]$/;

/** Six base address registers; what follows in `resource` are the ROM and windows of bridges. */
const BARS = 6;
/** Flags of a resource (Linux, include/linux/ioport.h). */
const RESOURCE = { io: 0x100n, memory: 0x200n, prefetch: 0x2000n } as const;
/** Flag of an interface (Linux, include/uapi/linux/if.h). */
const IFF_UP = 1;

function text(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return ''; // not every kernel has every file, and a function may go while it is read
  }
}

function link(path: string): string {
  try {
    return basename(readlinkSync(path));
  } catch {
    return '';
  }
}

function names(path: string): string[] {
  try {
    return readdirSync(path).sort();
  } catch {
    return [];
  }
}

function number(value: string, absent: number): number {
  const parsed = Number(value === '' ? Number.NaN : value);
  return Number.isInteger(parsed) ? parsed : absent;
}

function barsOf(resource: string): Bar[] {
  const lines = resource.split('\n').slice(0, BARS);
  return lines.flatMap((line, index) => {
    const [start, end, flags] = line.split(' ').flatMap((word) => (/^0x[0-9a-f]+$/.test(word) ? [BigInt(word)] : []));
    if (start === undefined || end === undefined || flags === undefined) return [];
    if ((flags & (RESOURCE.io | RESOURCE.memory)) === 0n || end < start || end === 0n) return [];
    const bytes = end - start + 1n;
    const kind = (flags & RESOURCE.memory) !== 0n ? 'memory' : 'io';
    return [{ number: index, bytes: Number(bytes), kind, prefetchable: (flags & RESOURCE.prefetch) !== 0n } as const];
  });
}

/** Interfaces are below the function itself, or below the virtio device that it carries. */
function netifsOf(path: string): Netif[] {
  const places = [
    path,
    ...names(path)
      .filter((name) => /^virtio\d+$/.test(name))
      .map((name) => join(path, name)),
  ];
  return places.flatMap((place) =>
    names(join(place, 'net')).map((name) => ({
      name,
      mac: text(join(place, 'net', name, 'address')),
      up: (number(text(join(place, 'net', name, 'flags')), 0) & IFF_UP) !== 0,
    })),
  );
}

/** Reads the function at `address`; undefined when there is none, or it goes while it is read. */
export function readFunction(sysfs: string, address: string): PciFunction | undefined {
  const domain = ADDRESS.exec(address)?.groups?.domain;
  if (domain === undefined) return undefined;
  const path = join(sysfs, 'bus/pci/devices', address);
  const value = (name: string, absent: number) => number(text(join(path, name)), absent);
  const vendor = value('vendor', -1);
  const device = value('device', -1);
  if (vendor < 0 || device < 0) return undefined;
  const override = text(join(path, 'driver_override'));
  return {
    ...{ address, domain, vendor, device },
    subsystemVendor: value('subsystem_vendor', 0),
    subsystemDevice: value('subsystem_device', 0),
    class: value('class', 0),
    revision: value('revision', 0),
    numaNode: value('numa_node', -1),
    iommuGroup: number(link(join(path, 'iommu_group')), -1),
    driver: link(join(path, 'driver')),
    driverOverride: override === '(null)' ? '' : override,
    bars: barsOf(text(join(path, 'resource'))),
    netifs: netifsOf(path),
  };
}

/** Kernel driver of the function at `address`, empty when it has none; undefined when it has gone. Quick: asked often, and in need. */
export function driverOf(sysfs: string, address: string): string | undefined {
  const path = join(sysfs, 'bus/pci/devices', address);
  const driver = link(join(path, 'driver'));
  return driver !== '' || existsSync(path) ? driver : undefined;
}

/** All functions, in the order of their addresses. */
export function readFunctions(sysfs: string): PciFunction[] {
  return names(join(sysfs, 'bus/pci/devices')).flatMap((address) => readFunction(sysfs, address) ?? []);
}

/** True for network controllers: what linecard may drive. */
export const isNetwork = ({ class: code }: PciFunction): boolean => code >>> 16 === NETWORK_CLASS;

/**
 * The address that `text` names, in full and lower case: the domain may be left out (`01:00.0`). Undefined when it is no
 * PCI address.
 */
export function fullAddress(text: string): string | undefined {
  const lower = text.toLowerCase();
  const full = /^[0-9a-f]{2}:/.test(lower) && lower.split(':').length === 2 ? `0000:${lower}` : lower;
  return ADDRESS.test(full) ? full : undefined;
}
