/** An engine's devio-iommu over a kernel of the tests' own, by either of its back ends. */
import { Arena } from '../../lib/arena/arena.ts';
import { FramePool } from '../../lib/arena/frame-pool.ts';
import { iommuDevios } from '../../lib/devios/iommu.ts';
import { factsOf } from '../../lib/enumerators/pci.ts';
import type { Device, DevioProvider } from '../../lib/framework/types.ts';
import { readFunction } from '../../lib/pci/device.ts';
import type { PciDevio } from '../../lib/pci/devio.ts';
import { loadNative } from '../../native/index.ts';
import { FakePciView } from './pci-view.ts';
import { FakeVfio, type FakeVfioOptions } from './vfio.ts';
import type { FakeDeviceOptions, FakeVfioDevice } from './vfio-device.ts';

export const PCI_API = { name: 'pci', version: 1 };
export const [A, B, C] = ['0000:01:00.0', '0000:02:00.0', '0000:02:00.1'] as const;

export type IommuBackend = 'vfio' | 'iommufd';

/** A function with registers in BAR 0, whose last page but one has the table of MSI-X vectors. */
export const CARD: FakeDeviceOptions = { bars: { 0: { bytes: 0x4000, mmap: true } } };

export class IommuWorld {
  readonly vfio: FakeVfio;
  readonly arena: Arena;
  readonly frames: FramePool;
  readonly view = new FakePciView();
  readonly a: FakeVfioDevice;
  readonly b: FakeVfioDevice;
  readonly providers: readonly DevioProvider[];
  readonly backend: IommuBackend;
  private readonly opened: PciDevio[] = [];

  /** Functions A and B, each in a group of its own. */
  constructor(backend: IommuBackend, options: { vfio?: FakeVfioOptions; a?: FakeDeviceOptions; frames?: number } = {}) {
    this.backend = backend;
    this.vfio = new FakeVfio(options.vfio);
    this.a = this.vfio.add(A, 4, { ...CARD, ...options.a });
    this.b = this.vfio.add(B, 7, CARD);
    for (const one of [this.a, this.b]) one.putMsix(5, 0, 0x2000);
    if (backend === 'iommufd') this.vfio.iommufd.offer();
    this.arena = new Arena(loadNative());
    this.vfio.users.push(() => {
      this.close();
      this.arena.close();
    });
    this.frames = new FramePool(this.arena, { frames: options.frames ?? 512 });
    this.providers = this.engine();
  }

  /** The providers of an engine, as another has them. */
  engine(): DevioProvider[] {
    return iommuDevios(this.arena, this.frames, this.view, PCI_API, undefined, this.vfio.place);
  }

  device(address: string): Device {
    return { address, facts: factsOf(readFunction(this.vfio.sysfs.root, address)!) } as unknown as Device;
  }

  get provider(): DevioProvider {
    return this.providers.find(({ backend }) => backend === this.backend)!;
  }

  open(address: string = A): PciDevio {
    const devio = this.provider.open(this.device(address)) as PciDevio;
    this.opened.push(devio);
    return devio;
  }

  /** Closes all that is open. */
  close(): void {
    for (const devio of this.opened.splice(0)) devio.close();
  }

  /** The frames' mapping, as the kernel has it. */
  get framesMapped(): boolean {
    return this.vfio.mapped.some(({ iova }) => iova === BigInt(this.frames.segment.offset));
  }

  /** The journal, without what the log is asked. */
  get journal(): string[] {
    return this.vfio.kernel.journal.filter((call) => !call.startsWith('log read'));
  }
}
