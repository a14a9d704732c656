/**
 * devio `devio-nommu`: a PCI function that reaches all of the machine's memory, by physical addresses. Two back ends:
 * `vfio-noiommu`, and `uio` with the function's files in sysfs. Control half.
 */
import type { Arena } from '../arena/arena.ts';
import type { FramePool } from '../arena/frame-pool.ts';
import { doAll, doAllQuietly } from '../do-all.ts';
import { type Api, type Device, type DevioProvider, FRAMEWORK_API } from '../framework/types.ts';
import type { FunctionAccess } from '../pci/access.ts';
import { NOMMU_API, type PciView } from '../pci/devio.ts';
import type { Keeper } from '../pci/keeper.ts';
import { ownPagemap, type Pagemap, PhysicalMemory } from '../pci/physical.ts';
import { UIO_DRIVER, UioFunction } from '../uio/function.ts';
import { Container, type VfioPlace } from '../vfio/container.ts';
import { VfioDevice } from '../vfio/device.ts';
import { withoutIommu } from '../vfio/group.ts';
import { FunctionDevio } from './function-devio.ts';
import { vfioPlace } from './iommu.ts';
import { FrameAddresses, PhysicalDeviceMemory } from './physical-memory.ts';

/** Where things are on a Linux system. */
export interface NommuPlace {
  readonly vfio: VfioPlace;
  /** Folder of device files. */
  readonly dev: string;
  readonly pagemap: Pagemap;
}

function nommuPlace(arena: Arena): NommuPlace {
  return { vfio: vfioPlace(arena), dev: '/dev', pagemap: ownPagemap };
}

/** A function that is open, and how to let go of what is behind it when it has been closed. */
interface Opened {
  readonly device: FunctionAccess;
  readonly leave: () => void;
}

/** A back end: which functions it has, and how they are opened. */
interface Backend {
  readonly name: string;
  /** True, or why the function's kernel driver and group are not for it. */
  fits(device: Device): true | string;
  open(device: Device): Opened;
}

const groupOf = ({ facts }: Device): number => Number(facts.iommuGroup);

const boundTo = ({ facts }: Device): string =>
  facts.kernelDriver === '' ? 'no kernel driver gives it to user space' : `kernel driver ${facts.kernelDriver} has it`;

function uioBackend(arena: Arena, { vfio, dev }: NommuPlace): Backend {
  const { sysfs } = vfio;
  return {
    name: 'uio',
    fits(device) {
      if (device.facts.kernelDriver === UIO_DRIVER) return true;
      return `${boundTo(device)}; bind it: linecard bind ${device.address} ${UIO_DRIVER}`;
    },
    open: ({ address }) => ({
      device: new UioFunction({ native: arena.native, sysfs, dev }, address),
      leave: () => {},
    }),
  };
}

function noiommuBackend({ vfio }: NommuPlace): Backend {
  return {
    name: 'vfio-noiommu',
    fits(device) {
      const { facts, address } = device;
      if (!String(facts.kernelDriver).includes('vfio')) {
        return `${boundTo(device)}; bind it: linecard bind ${address} vfio-pci --noiommu-mode`;
      }
      return groupOf(device) >= 0 || `vfio has made no group of it: linecard bind ${address} vfio-pci --noiommu-mode`;
    },
    open(device) {
      // Nothing is mapped, so nothing is shared: each has a container of its own.
      const container = new Container(vfio, 'noiommu');
      const undo: (() => void)[] = [() => container.close()];
      try {
        const { fd, leave } = container.open(device.address, groupOf(device));
        undo.unshift(leave);
        try {
          return { device: new VfioDevice(vfio.kernel, fd, device.address), leave: () => doAll(undo) };
        } catch (error) {
          vfio.kernel.close(fd);
          throw error;
        }
      } catch (error) {
        doAllQuietly(undo);
        throw error;
      }
    },
  };
}

/** What lets any function down, whoever gives it: in the order in which a user would mend it. */
function refusal(device: Device, frames: FramePool, view: PciView, sysfs: string): string | undefined {
  const { address } = device;
  const group = groupOf(device);
  if (group >= 0 && !withoutIommu(sysfs, group)) {
    return `an IOMMU is in front of it (group ${group}), which would be of no use then; bind it to vfio-pci for devio-iommu`;
  }
  if (view.wanted(address)?.['unsafe-dma'] !== true) {
    const risk = 'without an IOMMU the device can write to all memory of the machine, whatever makes it do so';
    return `${risk}; if you take that risk: pci:${address},unsafe-dma=1`;
  }
  if (frames.segment.huge) return undefined;
  return 'frames are in ordinary pages, whose physical addresses change; use huge pages: --hugepages need';
}

/** Makes the providers, in order of preference. `keeper` stops functions when this process dies; `place` is for tests. */
export function nommuDevios(
  arena: Arena,
  frames: FramePool,
  view: PciView,
  enumeratorApi: Api,
  keeper?: Keeper,
  place: NommuPlace = nommuPlace(arena),
): DevioProvider[] {
  // User-space addresses end below 2^47: the remainder is the address.
  const physical = new PhysicalMemory(arena.native.addressRemainder(arena.u8, 2 ** 47), place.pagemap);
  const addresses = new FrameAddresses(arena, frames, physical);

  const provider = (backend: Backend): DevioProvider => ({
    name: backend.name,
    version: '1.0.0',
    frameworkApi: FRAMEWORK_API,
    api: NOMMU_API,
    backend: backend.name,
    enumeratorApi,
    usable(device) {
      if (view.wanted(device.address) === undefined) return `nobody asked for it: open pci:${device.address}`;
      const fits = backend.fits(device);
      return fits === true ? (refusal(device, frames, view, place.vfio.sysfs) ?? true) : fits;
    },
    open(device) {
      const wishes = view.take(device.address) ?? {};
      const undo: (() => void)[] = [() => view.unwant(device.address)];
      try {
        const { device: opened, leave } = backend.open(device);
        undo.unshift(() => opened.close(), leave);
        const deviceMemory = new PhysicalDeviceMemory(arena, physical, addresses);
        undo.unshift(() => deviceMemory.close());
        const { api, name } = { api: NOMMU_API, name: backend.name };
        return new FunctionDevio({
          api,
          backend: name,
          arena,
          frames,
          view,
          wishes,
          device: opened,
          deviceMemory,
          keeper,
          leave,
        });
      } catch (error) {
        doAllQuietly(undo);
        throw error;
      }
    },
  });
  return [noiommuBackend(place), uioBackend(arena, place)].map(provider);
}
