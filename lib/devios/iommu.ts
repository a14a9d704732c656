/**
 * devio `devio-iommu`: a PCI function that an IOMMU keeps to the memory that is mapped for it. Two back ends: `vfio`, by
 * groups and containers, and `iommufd`, which is taken when that cannot be had (docs/adr/0014-iommufd.md). Control half.
 */
import type { Arena } from '../arena/arena.ts';
import type { FramePool } from '../arena/frame-pool.ts';
import { type Api, type Device, type DevioProvider, FRAMEWORK_API } from '../framework/types.ts';
import { IOMMU_API, type PciView } from '../pci/devio.ts';
import type { AddressSpace, OpenedFunction } from '../vfio/addresses.ts';
import { Container, type VfioPlace } from '../vfio/container.ts';
import { VfioDevice } from '../vfio/device.ts';
import { FaultLog } from '../vfio/faults.ts';
import { othersOf, withoutIommu } from '../vfio/group.ts';
import { Iommufd, type IommufdPlace, offersIommufd } from '../vfio/iommufd.ts';
import { vfioKernel } from '../vfio/kernel.ts';
import { doAll, doAllQuietly } from './do-all.ts';
import { type DeviceMemory, FunctionDevio } from './function-devio.ts';
import { SharedHeap } from './shared-heap.ts';

/** Where VFIO is on a Linux system. */
export function vfioPlace(arena: Arena): VfioPlace {
  const { native } = arena;
  return { kernel: vfioKernel(native), sysfs: '/sys', dev: '/dev/vfio', memlock: native.memlockLimit() };
}

/** A function in the engine's address space. */
interface Taken {
  readonly space: AddressSpace;
  readonly fd: number;
  readonly faults: FaultLog | undefined;
  /** Takes the frames from the functions, if no others are there. Before its file is closed: without functions there may be no IOMMU. */
  readonly forget: () => void;
  /** After its file was closed. */
  readonly leave: () => void;
}

interface Current {
  readonly space: AddressSpace;
  readonly faults: FaultLog | undefined;
  users: number;
}

/**
 * The engine's address space, as long as there are functions in it. All share the frames, so these are mapped (and their
 * memory locked) once, and each function sees what each other's rings are in, too: they are all this engine's.
 */
class SharedSpace {
  private readonly arena: Arena;
  private readonly frames: FramePool;
  private readonly place: VfioPlace;
  private readonly make: () => AddressSpace;
  private current: Current | undefined;

  constructor(arena: Arena, frames: FramePool, place: VfioPlace, make: () => AddressSpace) {
    this.arena = arena;
    this.frames = frames;
    this.place = place;
    this.make = make;
  }

  /** Opens a function; the frames are mapped then. `leave` undoes it. Throws as the space's `open` and `map`. */
  take(address: string, group: number): Taken {
    const { kernel } = this.place;
    this.current ??= { space: this.make(), faults: FaultLog.open(kernel), users: 0 };
    const { current } = this;
    const { space, faults } = current;
    current.users++;
    let opened: OpenedFunction | undefined;
    const forget = () => {
      if (current.users === 1) space.unmap(this.frames.segment.offset, this.frames.segment.length);
    };
    const leave = () => doAll([() => opened?.leave(), () => this.drop(current)]);
    try {
      opened = space.open(address, group);
      if (current.users === 1) space.map(this.frames.segment.offset, this.framesBytes());
      return { space, fd: opened.fd, faults, forget, leave };
    } catch (error) {
      // The mappings go with the space.
      doAllQuietly([() => opened !== undefined && kernel.close(opened.fd), leave]);
      throw error;
    }
  }

  private framesBytes(): Uint8Array {
    const { offset, length } = this.frames.segment;
    return this.arena.u8.subarray(offset, offset + length);
  }

  private drop(current: Current): void {
    if (--current.users > 0) return;
    this.current = undefined;
    doAll([() => current.faults?.close(), () => current.space.close()]);
  }
}

/** Rings, at addresses that are arena offsets. */
class MappedMemory implements DeviceMemory {
  /** An arena offset is the address. */
  readonly frameAddresses = 0;
  readonly pinned = true;
  private readonly heap: SharedHeap;
  private readonly forget: () => void;

  constructor(arena: Arena, { space, forget }: Taken) {
    this.forget = forget;
    this.heap = new SharedHeap(arena, {
      show: ({ offset, length }) => space.map(offset, arena.u8.subarray(offset, offset + length)),
      hide: ({ offset, length }) => space.unmap(offset, length),
    });
  }

  allocate(bytes: number, align: number): number {
    return this.heap.allocate(bytes, align);
  }

  free(offset: number): void {
    this.heap.free(offset);
  }

  addressOf(offset: number): bigint {
    return BigInt(offset);
  }

  close(): void {
    doAll([() => this.heap.close(), this.forget]);
  }
}

function usable({ address, facts }: Device, view: PciView, sysfs: string): true | string {
  if (view.wanted(address) === undefined) return `nobody asked for it: open pci:${address}`;
  const driver = String(facts.kernelDriver);
  if (!driver.includes('vfio')) {
    const owner = driver === '' ? 'no kernel driver gives it to user space' : `kernel driver ${driver} has it`;
    return `${owner}; bind it: linecard bind ${address} vfio-pci`;
  }
  const group = Number(facts.iommuGroup);
  if (group < 0 || withoutIommu(sysfs, group)) return 'there is no IOMMU in front of it';
  const others = othersOf(sysfs, group);
  if (others.length === 0) return true;
  return `the IOMMU cannot keep it apart from ${others.join(', ')} (group ${group}); bind each to vfio-pci or to no driver`;
}

/** A back end: how this kernel offers its function, and their address space. */
interface Backend {
  readonly name: string;
  /** True, or why it does not offer the function at `address`, which is bound and alone in its group. */
  offers(address: string): true | string;
  makeSpace(): AddressSpace;
}

/** Makes the providers, in order of preference. `place` is for tests. */
export function iommuDevios(
  arena: Arena,
  frames: FramePool,
  view: PciView,
  enumeratorApi: Api,
  place: IommufdPlace = { ...vfioPlace(arena), iommu: '/dev/iommu' },
): DevioProvider[] {
  const { kernel, sysfs } = place;
  const provider = (backend: Backend): DevioProvider => {
    const shared = new SharedSpace(arena, frames, place, () => backend.makeSpace());
    return {
      name: backend.name,
      version: '1.0.0',
      frameworkApi: FRAMEWORK_API,
      api: IOMMU_API,
      backend: backend.name,
      enumeratorApi,
      usable(device) {
        const fits = usable(device, view, sysfs);
        return fits === true ? backend.offers(device.address) : fits;
      },
      open({ address, facts }) {
        const wishes = view.take(address) ?? {};
        const undo: (() => void)[] = [() => view.unwant(address)];
        try {
          const taken = shared.take(address, Number(facts.iommuGroup));
          const { fd, faults, leave } = taken;
          undo.unshift(() => kernel.close(fd), leave);
          const device = new VfioDevice(kernel, fd, address);
          const deviceMemory = new MappedMemory(arena, taken);
          const { api, name } = { api: IOMMU_API, name: backend.name };
          const parts = { api, backend: name, arena, frames, view, wishes, device, deviceMemory, faults, leave };
          return new FunctionDevio(parts);
        } catch (error) {
          doAllQuietly(undo);
          throw error;
        }
      },
    };
  };
  return [
    provider({ name: 'vfio', offers: () => true, makeSpace: () => new Container(place, 'type1v2') }),
    provider({
      name: 'iommufd',
      offers: (address) => offersIommufd(place, address),
      makeSpace: () => new Iommufd(place),
    }),
  ];
}
