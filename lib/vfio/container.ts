/**
 * A VFIO container: IOMMU groups that see the same addresses. An engine has one for all of its devices, because they share
 * its frames: these are mapped, and their memory locked, once. Control half.
 */

import {
  API_VERSION,
  DMA_MAP,
  DMA_MAP_FLAGS,
  DMA_UNMAP,
  IOMMU,
  IOMMU_CAP_IOVA_RANGE,
  IOMMU_FLAGS,
  IOMMU_INFO,
  IOVA_RANGE,
  IOVA_RANGES,
  REQUEST,
} from './abi.ts';
import { type AddressSpace, type IovaRange, type OpenedFunction, requireFree, requireUnmapped } from './addresses.ts';
import { cannotMap, cannotOpen, failed, refused } from './failures.ts';
import { Group } from './group.ts';
import { ask, entries, findCapability, structure, viewOf } from './info.ts';
import type { VfioKernel } from './kernel.ts';

/** Where a container's things are. */
export interface VfioPlace {
  readonly kernel: VfioKernel;
  /** Root of sysfs. */
  readonly sysfs: string;
  /** Folder of VFIO's files: `/dev/vfio`. */
  readonly dev: string;
  /** Bytes that the process may lock, for messages. */
  readonly memlock: number;
}

/** Kinds of container: behind an IOMMU, or without one, where nothing can be mapped. */
export type IommuKind = keyof typeof IOMMU;

const WHY_NOT: Readonly<Record<IommuKind, readonly [why: string, fix: string]>> = {
  type1v2: [
    'there is no IOMMU that it can use',
    'switch it on in the firmware and the kernel (intel_iommu=on), or do without one: linecard bind --noiommu-mode',
  ],
  noiommu: [
    'the kernel does not allow devices without an IOMMU',
    'load vfio so: linecard bind --noiommu-mode (needs a kernel with CONFIG_VFIO_NOIOMMU)',
  ],
};

/** An open container. */
export class Container implements AddressSpace {
  readonly fd: number;
  private readonly place: VfioPlace;
  private readonly kind: IommuKind;
  private readonly groups = new Map<number, { readonly group: Group; users: number }>();

  /** Throws `VFIO_OPEN`, `VFIO_VERSION`, `NO_IOMMU`. */
  constructor(place: VfioPlace, kind: IommuKind) {
    this.place = place;
    this.kind = kind;
    const { kernel } = place;
    const path = `${place.dev}/vfio`;
    try {
      this.fd = kernel.open(path);
    } catch (cause) {
      throw cannotOpen(path, cause);
    }
    try {
      const version = kernel.ioctl(this.fd, REQUEST.getApiVersion, 0);
      if (version !== API_VERSION) {
        throw refused('VFIO_VERSION', 'VFIO', `the kernel has version ${version}`, `use one with ${API_VERSION}`);
      }
      if (kernel.ioctl(this.fd, REQUEST.checkExtension, IOMMU[kind]) === 0) {
        throw refused('NO_IOMMU', 'VFIO', ...WHY_NOT[kind]);
      }
    } catch (error) {
      kernel.close(this.fd);
      throw failed('VFIO_OPEN', path, error);
    }
  }

  /** Takes the group in unless it is, and opens the function. Throws as `Group`, `NO_IOMMU`. */
  open(address: string, number: number): OpenedFunction {
    const group = this.take(number);
    try {
      return { fd: group.device(address), leave: () => this.leave(group) };
    } catch (error) {
      this.leave(group);
      throw error;
    }
  }

  private take(number: number): Group {
    const known = this.groups.get(number);
    if (known !== undefined) {
      known.users++;
      return known.group;
    }
    const { kernel, dev, sysfs } = this.place;
    const group = new Group(kernel, `${dev}/${this.kind === 'noiommu' ? 'noiommu-' : ''}${number}`, number, sysfs);
    try {
      group.attach(this.fd);
      // An IOMMU can be chosen once there is a group, and is for those to come too.
      if (this.groups.size === 0) this.setIommu();
    } catch (error) {
      group.close();
      throw error;
    }
    this.groups.set(number, { group, users: 1 });
    return group;
  }

  private setIommu(): void {
    try {
      this.place.kernel.ioctl(this.fd, REQUEST.setIommu, IOMMU[this.kind]);
    } catch (cause) {
      throw failed('NO_IOMMU', 'choosing the IOMMU', cause, {
        EPERM:
          'the platform cannot keep interrupts of devices apart: allow_unsafe_interrupts=1 of vfio_iommu_type1, if you trust them',
      });
    }
  }

  private leave({ number }: Group): void {
    const known = this.groups.get(number);
    if (known === undefined || --known.users > 0) return;
    this.groups.delete(number);
    known.group.close();
  }

  /** Addresses that may be mapped now, or undefined when the kernel does not say (before Linux 5.4). Throws `VFIO_IOMMU`. */
  ranges(): IovaRange[] | undefined {
    const { kernel } = this.place;
    let info: DataView;
    try {
      info = ask(kernel, this.fd, REQUEST.iommuGetInfo, IOMMU_INFO.bytes);
    } catch (cause) {
      throw failed('VFIO_IOMMU', 'asking the IOMMU for its addresses', cause);
    }
    if ((info.getUint32(IOMMU_INFO.flags, true) & IOMMU_FLAGS.caps) === 0) return undefined;
    const at = findCapability(
      info,
      info.getUint32(IOMMU_INFO.capOffset, true),
      IOMMU_CAP_IOVA_RANGE,
      IOVA_RANGES.first,
    );
    if (at === undefined) return undefined;
    const count = info.getUint32(at + IOVA_RANGES.count, true);
    return entries(info, at + IOVA_RANGES.first, count, IOVA_RANGE.bytes).map((entry) => ({
      start: info.getBigUint64(entry + IOVA_RANGE.start, true),
      end: info.getBigUint64(entry + IOVA_RANGE.end, true),
    }));
  }

  map(iova: number, memory: Uint8Array): void {
    requireFree(this.ranges(), iova, memory.length);
    const argument = structure(DMA_MAP.bytes, (view) => {
      view.setUint32(DMA_MAP.flags, DMA_MAP_FLAGS.read | DMA_MAP_FLAGS.write, true);
      view.setBigUint64(DMA_MAP.iova, BigInt(iova), true);
      view.setBigUint64(DMA_MAP.size, BigInt(memory.length), true);
    });
    try {
      this.place.kernel.ioctl(this.fd, REQUEST.iommuMapDma, argument, [[DMA_MAP.vaddr, memory]]);
    } catch (cause) {
      throw cannotMap(memory.length, this.place.memlock, cause);
    }
  }

  unmap(iova: number, bytes: number): void {
    const argument = structure(DMA_UNMAP.bytes, (view) => {
      view.setBigUint64(DMA_UNMAP.iova, BigInt(iova), true);
      view.setBigUint64(DMA_UNMAP.size, BigInt(bytes), true);
    });
    try {
      this.place.kernel.ioctl(this.fd, REQUEST.iommuUnmapDma, argument);
    } catch (cause) {
      throw failed('DMA_UNMAP', `taking ${bytes} bytes of memory from devices`, cause);
    }
    requireUnmapped(bytes, viewOf(argument).getBigUint64(DMA_UNMAP.size, true));
  }

  /** Ends it: with the last fd all mappings go. */
  close(): void {
    this.place.kernel.close(this.fd);
  }
}
