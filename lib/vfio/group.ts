/** An IOMMU group: functions that the IOMMU cannot tell apart, and which go to one owner together. Control half. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { readFunction } from '../pci/device.ts';
import { GROUP_FLAGS, GROUP_STATUS, REQUEST } from './abi.ts';
import { cannotOpen, failed, refused } from './failures.ts';
import { ask } from './info.ts';
import type { VfioKernel } from './kernel.ts';

/** Drivers that leave a function alone: those of user space, and of bridges. */
const HARMLESS = /^(|.*vfio.*|pci-stub|pcieport)$/;
/** Base class of bridges (PCI Code and ID Assignment 1.11 §1.7). */
const BRIDGE_CLASS = 0x06;

/** True when a group stands for a device without an IOMMU (Linux, drivers/vfio/vfio_main.c). */
export function withoutIommu(sysfs: string, group: number): boolean {
  try {
    return readFileSync(join(sysfs, 'kernel/iommu_groups', String(group), 'name'), 'utf8').trim() === 'vfio-noiommu';
  } catch {
    return false;
  }
}

/** The members of group `number` that a kernel driver works with, as `ADDRESS (DRIVER)`. */
export function othersOf(sysfs: string, number: number): string[] {
  let addresses: string[] = [];
  try {
    addresses = readdirSync(join(sysfs, 'kernel/iommu_groups', String(number), 'devices')).sort();
  } catch {
    return []; // the kernel's own word follows when the group is opened
  }
  return addresses.flatMap((address) => {
    const found = readFunction(sysfs, address);
    if (found === undefined || found.class >>> 16 === BRIDGE_CLASS || HARMLESS.test(found.driver)) return [];
    return [`${address} (${found.driver})`];
  });
}

/** The error for a group of which others have members. */
export function notViable(number: number, others: readonly string[]): Error {
  const all = others.length === 0 ? 'a member' : others.join(', ');
  return refused(
    'GROUP_NOT_VIABLE',
    `IOMMU group ${number}`,
    `kernel drivers work with ${all}, which the IOMMU cannot keep apart from this device`,
    'bind each to vfio-pci or to no driver: linecard bind ADDRESS vfio-pci',
  );
}

/** An open group. */
export class Group {
  readonly number: number;
  readonly fd: number;
  private readonly kernel: VfioKernel;

  /** Opens the file at `path`. Throws `VFIO_OPEN`, `GROUP_NOT_VIABLE`. */
  constructor(kernel: VfioKernel, path: string, number: number, sysfs: string) {
    this.kernel = kernel;
    this.number = number;
    try {
      this.fd = kernel.open(path);
    } catch (cause) {
      throw cannotOpen(path, cause);
    }
    try {
      const status = ask(kernel, this.fd, REQUEST.groupGetStatus, GROUP_STATUS.bytes);
      const viable = (status.getUint32(GROUP_STATUS.flags, true) & GROUP_FLAGS.viable) !== 0;
      if (!viable) throw notViable(number, othersOf(sysfs, number));
    } catch (error) {
      kernel.close(this.fd);
      throw failed('VFIO_GROUP', `IOMMU group ${number}`, error);
    }
  }

  /** Puts the group into a container. Throws `VFIO_GROUP`. */
  attach(container: number): void {
    const argument = new Uint8Array(Int32Array.of(container).buffer);
    try {
      this.kernel.ioctl(this.fd, REQUEST.groupSetContainer, argument);
    } catch (cause) {
      throw failed('VFIO_GROUP', `IOMMU group ${this.number} and the engine's other devices`, cause, {
        EINVAL: 'their IOMMUs differ: use them in two engines',
      });
    }
  }

  /** Opens one of its devices; returns its fd, the caller's. Throws `VFIO_DEVICE`. */
  device(address: string): number {
    try {
      return this.kernel.ioctl(this.fd, REQUEST.groupGetDeviceFd, Buffer.from(`${address}\0`));
    } catch (cause) {
      throw failed('VFIO_DEVICE', `device ${address}`, cause, {
        EINVAL: `bind it: linecard bind ${address} vfio-pci`,
        ENODEV: `bind it: linecard bind ${address} vfio-pci`,
        EBUSY: 'another process has it open: end that one first',
      });
    }
  }

  /** Devices first: a group with an open device stays open. It leaves its container with that. */
  close(): void {
    this.kernel.close(this.fd);
  }
}
