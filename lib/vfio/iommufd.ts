/**
 * Functions by files of their own, and their addresses by iommufd (Linux 6.6, Documentation/userspace-api/iommufd.rst,
 * Documentation/driver-api/vfio.rst, "VFIO device cdev"): what newer kernels have beside groups and containers, or instead.
 * Control half.
 */
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { errnoName } from '../system-error.ts';
import { type AddressSpace, type IovaRange, type OpenedFunction, requireFree, requireUnmapped } from './addresses.ts';
import type { VfioPlace } from './container.ts';
import { cannotMap, cannotOpen, failed } from './failures.ts';
import { structure, viewOf } from './info.ts';
import {
  ATTACH_IOMMUFD_PT,
  BIND_IOMMUFD,
  DEVICE_REQUEST,
  IOAS_ALLOC,
  IOAS_IOVA_RANGES,
  IOAS_MAP,
  IOAS_MAP_FLAGS,
  IOAS_UNMAP,
  IOMMUFD_REQUEST,
  IOVA,
} from './iommufd-abi.ts';

/** Room for that many ranges at first: a PC has two. */
const RANGES = 16;
/** Most ranges that are believed. */
const MOST_RANGES = 4096;

/** Where iommufd's things are. */
export interface IommufdPlace extends VfioPlace {
  /** `/dev/iommu` */
  readonly iommu: string;
}

/** The name of the function's own file below `/dev/vfio/devices`; undefined when the kernel has none for it. */
export function deviceFile(sysfs: string, address: string): string | undefined {
  const folder = join(sysfs, 'bus/pci/devices', address, 'vfio-dev');
  try {
    // Since Linux 6.1 there is a folder; a number of a file is in it where there are such files, from 6.6 on.
    return readdirSync(folder).find((name) => /^vfio\d+$/.test(name) && existsSync(join(folder, name, 'dev')));
  } catch {
    return undefined;
  }
}

/** True when this kernel offers it for the function at `address`, or why not. */
export function offersIommufd({ iommu, sysfs }: IommufdPlace, address: string): true | string {
  if (!existsSync(iommu)) return `there is no ${iommu}; load it: modprobe iommufd (Linux 6.6 or later, CONFIG_IOMMUFD)`;
  if (deviceFile(sysfs, address) !== undefined) return true;
  return 'the kernel has no file for the function alone (vfio-dev in sysfs); use Linux 6.6 or later with CONFIG_VFIO_DEVICE_CDEV';
}

/** An IO address space (IOAS) of iommufd's. */
export class Iommufd implements AddressSpace {
  private readonly place: IommufdPlace;
  private readonly fd: number;
  private readonly ioas: number;

  /** Throws `VFIO_OPEN`, `VFIO_IOMMU`. */
  constructor(place: IommufdPlace) {
    this.place = place;
    const { kernel, iommu } = place;
    try {
      this.fd = kernel.open(iommu);
    } catch (cause) {
      throw cannotOpen(iommu, cause, 'modprobe iommufd');
    }
    try {
      const argument = structure(IOAS_ALLOC.bytes);
      kernel.ioctl(this.fd, IOMMUFD_REQUEST.ioasAlloc, argument);
      this.ioas = viewOf(argument).getUint32(IOAS_ALLOC.outIoasId, true);
    } catch (cause) {
      kernel.close(this.fd);
      throw failed('VFIO_IOMMU', 'making an address space', cause, { ENOTTY: 'use Linux 6.6 or later' });
    }
  }

  /** Throws `VFIO_OPEN`, `VFIO_DEVICE`. */
  open(address: string): OpenedFunction {
    const { kernel, dev, sysfs } = this.place;
    const path = `${dev}/devices/${deviceFile(sysfs, address) ?? 'none'}`;
    let fd: number;
    try {
      fd = kernel.open(path);
    } catch (cause) {
      throw cannotOpen(path, cause);
    }
    try {
      this.bind(fd, address);
      this.attach(fd, address);
    } catch (error) {
      kernel.close(fd);
      throw error;
    }
    // With its file it leaves the address space, too.
    return { fd, leave: () => {} };
  }

  /** Until then its file is good for nothing else. */
  private bind(fd: number, address: string): void {
    const argument = structure(BIND_IOMMUFD.bytes, (view) => view.setInt32(BIND_IOMMUFD.iommufd, this.fd, true));
    try {
      this.place.kernel.ioctl(fd, DEVICE_REQUEST.bindIommufd, argument);
    } catch (cause) {
      const taken = 'another process has it, or its group, open: end that one first';
      throw failed('VFIO_DEVICE', `device ${address} and iommufd`, cause, {
        EBUSY: taken,
        EINVAL: taken,
        EPERM:
          'a kernel driver or another process works with a function that the IOMMU cannot keep apart from it: bind that to ' +
          'vfio-pci, too; or the platform cannot keep interrupts apart: allow_unsafe_interrupts=1 of iommufd, if you trust it',
      });
    }
  }

  private attach(fd: number, address: string): void {
    const argument = structure(ATTACH_IOMMUFD_PT.bytes, (view) =>
      view.setUint32(ATTACH_IOMMUFD_PT.ptId, this.ioas, true),
    );
    try {
      this.place.kernel.ioctl(fd, DEVICE_REQUEST.attachIommufdPt, argument);
    } catch (cause) {
      throw failed('VFIO_DEVICE', `device ${address} and the addresses of the engine's other devices`, cause, {
        EADDRINUSE: 'addresses that are in use are reserved for it: use them in two engines',
        EINVAL: 'their IOMMUs differ: use them in two engines',
        EBUSY: 'it is being reset, or has an address space: try again',
      });
    }
  }

  /** Addresses that may be mapped now. Throws `VFIO_IOMMU`. */
  ranges(): IovaRange[] {
    const first = this.askRanges(RANGES);
    const { list } = first.length <= RANGES ? first : this.askRanges(Math.min(first.length, MOST_RANGES));
    return list;
  }

  /** At most `room` ranges, and how many there are. */
  private askRanges(room: number): { readonly list: IovaRange[]; readonly length: number } {
    const ranges = new Uint8Array(room * IOVA.bytes);
    const argument = structure(IOAS_IOVA_RANGES.bytes, (view) => {
      view.setUint32(IOAS_IOVA_RANGES.ioasId, this.ioas, true);
      view.setUint32(IOAS_IOVA_RANGES.count, room, true);
    });
    try {
      this.place.kernel.ioctl(this.fd, IOMMUFD_REQUEST.ioasIovaRanges, argument, [[IOAS_IOVA_RANGES.ranges, ranges]]);
    } catch (cause) {
      if (errnoName(cause) !== 'EMSGSIZE') throw failed('VFIO_IOMMU', 'asking the IOMMU for its addresses', cause);
    }
    const length = viewOf(argument).getUint32(IOAS_IOVA_RANGES.count, true);
    const view = viewOf(ranges);
    const list = Array.from({ length: Math.min(length, room) }, (_, i) => ({
      start: view.getBigUint64(i * IOVA.bytes + IOVA.start, true),
      end: view.getBigUint64(i * IOVA.bytes + IOVA.last, true),
    }));
    return { list, length };
  }

  map(iova: number, memory: Uint8Array): void {
    requireFree(this.ranges(), iova, memory.length);
    const argument = structure(IOAS_MAP.bytes, (view) => {
      const { fixedIova, readable, writeable } = IOAS_MAP_FLAGS;
      view.setUint32(IOAS_MAP.flags, fixedIova | readable | writeable, true);
      view.setUint32(IOAS_MAP.ioasId, this.ioas, true);
      view.setBigUint64(IOAS_MAP.length, BigInt(memory.length), true);
      view.setBigUint64(IOAS_MAP.iova, BigInt(iova), true);
    });
    try {
      this.place.kernel.ioctl(this.fd, IOMMUFD_REQUEST.ioasMap, argument, [[IOAS_MAP.userVa, memory]]);
    } catch (cause) {
      throw cannotMap(memory.length, this.place.memlock, cause);
    }
  }

  unmap(iova: number, bytes: number): void {
    const argument = structure(IOAS_UNMAP.bytes, (view) => {
      view.setUint32(IOAS_UNMAP.ioasId, this.ioas, true);
      view.setBigUint64(IOAS_UNMAP.iova, BigInt(iova), true);
      view.setBigUint64(IOAS_UNMAP.length, BigInt(bytes), true);
    });
    try {
      this.place.kernel.ioctl(this.fd, IOMMUFD_REQUEST.ioasUnmap, argument);
    } catch (cause) {
      throw failed('DMA_UNMAP', `taking ${bytes} bytes of memory from devices`, cause);
    }
    requireUnmapped(bytes, viewOf(argument).getBigUint64(IOAS_UNMAP.length, true));
  }

  /** The address space and its mappings go with the file, and with those of its functions (`fops_release`, iommufd/main.c). */
  close(): void {
    this.place.kernel.close(this.fd);
  }
}
