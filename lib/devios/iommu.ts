/** devio `devio-iommu`, back end `vfio`: a PCI function that an IOMMU keeps to the memory that is mapped for it. Control half. */
import type { Arena } from '../arena/arena.ts';
import type { FramePool } from '../arena/frame-pool.ts';
import { type Api, type Device, type DevioProvider, FRAMEWORK_API } from '../framework/types.ts';
import { IOMMU_API, type PciView } from '../pci/devio.ts';
import type { Keeper } from '../pci/keeper.ts';
import { Container, type VfioPlace } from '../vfio/container.ts';
import { VfioDevice } from '../vfio/device.ts';
import { FaultLog } from '../vfio/faults.ts';
import { type Group, othersOf, withoutIommu } from '../vfio/group.ts';
import { vfioKernel } from '../vfio/kernel.ts';
import { doAll } from './do-all.ts';
import { type DeviceMemory, FunctionDevio } from './function-devio.ts';
import { SharedHeap } from './shared-heap.ts';

/** Where VFIO is on a Linux system. */
export function vfioPlace(arena: Arena): VfioPlace {
  const { native } = arena;
  return { kernel: vfioKernel(native), sysfs: '/sys', dev: '/dev/vfio', memlock: native.memlockLimit() };
}

/** A place in the engine's container. */
interface Taken {
  readonly container: Container;
  readonly group: Group;
  readonly faults: FaultLog | undefined;
  /** Takes the frames from the devices, if no others are there. Before the device is closed: a group without devices may have no IOMMU. */
  readonly forget: () => void;
  readonly leave: () => void;
}

interface Current {
  readonly container: Container;
  readonly faults: FaultLog | undefined;
  users: number;
}

/**
 * The engine's container, as long as there are devices in it. All devices share the frames, so one container maps (and
 * locks) them once, and each device sees what each other's rings are in, too: they are all this engine's.
 */
class SharedContainer {
  private readonly arena: Arena;
  private readonly frames: FramePool;
  private readonly place: VfioPlace;
  private current: Current | undefined;

  constructor(arena: Arena, frames: FramePool, place: VfioPlace) {
    this.arena = arena;
    this.frames = frames;
    this.place = place;
  }

  /** Takes a group in; the frames are mapped then. `leave` undoes it. Throws as `Container`. */
  take(number: number): Taken {
    const { kernel } = this.place;
    this.current ??= { container: new Container(this.place, 'type1v2'), faults: FaultLog.open(kernel), users: 0 };
    const { current } = this;
    const { container, faults } = current;
    current.users++;
    let group: Group | undefined;
    const forget = () => {
      if (current.users === 1) container.unmap(this.frames.segment.offset, this.frames.segment.length);
    };
    const leave = () => doAll([() => group !== undefined && container.leave(group), () => this.drop(current)]);
    try {
      group = container.take(number);
      if (current.users === 1) container.map(this.frames.segment.offset, this.framesBytes());
      return { container, group, faults, forget, leave };
    } catch (error) {
      leave(); // the mappings go with the container
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
    doAll([() => current.faults?.close(), () => current.container.close()]);
  }
}

/** Rings, at addresses that are arena offsets. */
class MappedMemory implements DeviceMemory {
  /** An arena offset is the address. */
  readonly frameAddresses = 0;
  readonly pinned = true;
  private readonly heap: SharedHeap;
  private readonly forget: () => void;

  constructor(arena: Arena, { container, forget }: Taken) {
    this.forget = forget;
    this.heap = new SharedHeap(arena, {
      show: ({ offset, length }) => container.map(offset, arena.u8.subarray(offset, offset + length)),
      hide: ({ offset, length }) => container.unmap(offset, length),
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

/** Makes the provider. `keeper` stops functions when this process dies; `place` is for tests. */
export function iommuDevio(
  arena: Arena,
  frames: FramePool,
  view: PciView,
  enumeratorApi: Api,
  keeper?: Keeper,
  place: VfioPlace = vfioPlace(arena),
): DevioProvider {
  const shared = new SharedContainer(arena, frames, place);
  return {
    name: 'vfio',
    version: '1.0.0',
    frameworkApi: FRAMEWORK_API,
    api: IOMMU_API,
    backend: 'vfio',
    enumeratorApi,
    usable: (device) => usable(device, view, place.sysfs),
    open({ address, facts }) {
      const wishes = view.take(address) ?? {};
      const undo: (() => void)[] = [() => view.unwant(address)];
      try {
        const taken = shared.take(Number(facts.iommuGroup));
        const { group, faults, leave } = taken;
        undo.unshift(leave);
        const fd = group.device(address);
        undo.unshift(() => place.kernel.close(fd));
        const device = new VfioDevice(place.kernel, fd, address);
        const deviceMemory = new MappedMemory(arena, taken);
        const { api, backend } = { api: IOMMU_API, backend: 'vfio' };
        const parts = { api, backend, arena, frames, view, wishes, device, deviceMemory, faults, keeper, leave };
        return new FunctionDevio(parts);
      } catch (error) {
        try {
          doAll(undo);
        } catch {
          // The error that counts is the first.
        }
        throw error;
      }
    },
  };
}
