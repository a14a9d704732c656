/**
 * devio `devio-iommu`: a PCI function that an IOMMU keeps to the memory that is mapped for it. Two back ends: `vfio`, by
 * groups and containers, and `iommufd`, which is taken when that cannot be had (docs/adr/0014-iommufd.md). Control half.
 */
import type { Arena } from '../arena/arena.ts';
import type { FramePool } from '../arena/frame-pool.ts';
import { doAllQuietly } from '../do-all.ts';
import { type Api, type Device, type DevioProvider, FRAMEWORK_API } from '../framework/types.ts';
import { IOMMU_API, type PciView } from '../pci/devio.ts';
import type { Keeper } from '../pci/keeper.ts';
import type { AddressSpace } from '../vfio/addresses.ts';
import { Container, type VfioPlace } from '../vfio/container.ts';
import { VfioDevice } from '../vfio/device.ts';
import { othersOf, withoutIommu } from '../vfio/group.ts';
import { Iommufd, type IommufdPlace, offersIommufd } from '../vfio/iommufd.ts';
import { vfioKernel } from '../vfio/kernel.ts';
import { FunctionDevio } from './function-devio.ts';
import { MappedMemory, SharedSpace } from './shared-space.ts';

/** Where VFIO is on a Linux system. */
export function vfioPlace(arena: Arena): VfioPlace {
  const { native } = arena;
  return { kernel: vfioKernel(native), sysfs: '/sys', dev: '/dev/vfio', memlock: native.memlockLimit() };
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

/** Makes the providers, in order of preference. `keeper` stops functions when this process dies; `place` is for tests. */
export function iommuDevios(
  arena: Arena,
  frames: FramePool,
  view: PciView,
  enumeratorApi: Api,
  keeper?: Keeper,
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
          const common = { api: IOMMU_API, backend: backend.name, arena, frames, view, wishes, keeper };
          return new FunctionDevio({ ...common, device, deviceMemory, faults, leave });
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
