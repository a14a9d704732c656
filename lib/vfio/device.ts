/** An open VFIO device that is a PCI function: configuration space, regions, reset. Control half. */
import type { ConfigSpace } from '../pci/config-space.ts';
import {
  DEVICE_FLAGS,
  DEVICE_INFO,
  IRQ_FLAGS,
  IRQ_INFO,
  PCI_REGION,
  REGION_CAP_SPARSE_MMAP,
  REGION_FLAGS,
  REGION_INFO,
  REQUEST,
  SPARSE_AREA,
  SPARSE_MMAP,
} from './abi.ts';
import { failed, refused } from './failures.ts';
import { ask, entries, findCapability, viewOf } from './info.ts';
import type { VfioKernel } from './kernel.ts';

/** A region: a BAR, or configuration space. */
export interface Region {
  readonly bytes: number;
  /** Where it is in the device's file. */
  readonly offset: number;
  /** What may be mapped of it: whole pages, from its first byte; the table of MSI-X vectors may be left out. */
  readonly areas: readonly { readonly at: number; readonly length: number; readonly fdOffset: number }[];
}

/** Configuration space by reads and writes of the device's file. */
class VfioConfig implements ConfigSpace {
  readonly size: number;
  private readonly device: VfioDevice;
  private readonly offset: number;

  constructor(device: VfioDevice, { bytes, offset }: Region) {
    this.device = device;
    this.size = bytes;
    this.offset = offset;
  }

  read(offset: number, width: 8 | 16 | 32): number {
    const bytes = new Uint8Array(4);
    const part = bytes.subarray(0, width / 8);
    try {
      this.device.kernel.read(this.device.fd, part, this.offset + offset);
    } catch {
      part.fill(0xff); // as on the bus, when nobody answers
    }
    return viewOf(bytes).getUint32(0, true);
  }

  write(offset: number, width: 8 | 16 | 32, value: number): void {
    const bytes = new Uint8Array(4);
    viewOf(bytes).setUint32(0, value, true);
    try {
      this.device.kernel.write(this.device.fd, bytes.subarray(0, width / 8), this.offset + offset);
    } catch {
      // As on the bus: whoever has to know reads it back.
    }
  }
}

/** An open device. The fd is its own. */
export class VfioDevice {
  readonly kernel: VfioKernel;
  readonly fd: number;
  readonly address: string;
  readonly config: ConfigSpace;
  /** Whether the kernel has a way to reset it. */
  readonly resettable: boolean;

  /** Takes `fd` over, unless it throws: `VFIO_DEVICE`. */
  constructor(kernel: VfioKernel, fd: number, address: string) {
    this.kernel = kernel;
    this.fd = fd;
    this.address = address;
    const info = this.ask('information', REQUEST.deviceGetInfo, DEVICE_INFO.bytes);
    const flags = info.getUint32(DEVICE_INFO.flags, true);
    if ((flags & DEVICE_FLAGS.pci) === 0) {
      throw refused(
        'VFIO_DEVICE',
        `device ${address}`,
        'it is no PCI function',
        'name one: linecard status lists them',
      );
    }
    this.resettable = (flags & DEVICE_FLAGS.reset) !== 0;
    this.config = new VfioConfig(this, this.region(PCI_REGION.config));
  }

  /** What there is of region `index`. Throws `VFIO_DEVICE`. */
  region(index: number): Region {
    const fill = (view: DataView) => view.setUint32(REGION_INFO.index, index, true);
    const info = this.ask(`region ${index}`, REQUEST.deviceGetRegionInfo, REGION_INFO.bytes, fill);
    const flags = info.getUint32(REGION_INFO.flags, true);
    const bytes = Number(info.getBigUint64(REGION_INFO.size, true));
    const offset = Number(info.getBigUint64(REGION_INFO.offset, true));
    const whole = (flags & REGION_FLAGS.mmap) === 0 ? [] : [{ at: 0, length: bytes, fdOffset: offset }];
    if (whole.length === 0 || (flags & REGION_FLAGS.caps) === 0) return { bytes, offset, areas: whole };
    const at = findCapability(info, info.getUint32(REGION_INFO.capOffset, true), REGION_CAP_SPARSE_MMAP);
    if (at === undefined) return { bytes, offset, areas: whole };
    const count = info.getUint32(at + SPARSE_MMAP.areas, true);
    const areas = entries(info, at + SPARSE_MMAP.first, count, SPARSE_AREA.bytes).map((entry) => {
      const begin = Number(info.getBigUint64(entry + SPARSE_AREA.offset, true));
      const length = Number(info.getBigUint64(entry + SPARSE_AREA.size, true));
      return { at: begin, length, fdOffset: offset + begin };
    });
    return { bytes, offset, areas: areas.filter(({ length }) => length > 0) };
  }

  /** How many interrupts of kind `index` there are that an eventfd can be told of; 0 when the kernel knows none. */
  interrupts(index: number): number {
    let info: DataView;
    try {
      const fill = (view: DataView) => view.setUint32(IRQ_INFO.index, index, true);
      info = this.ask('interrupts', REQUEST.deviceGetIrqInfo, IRQ_INFO.bytes, fill);
    } catch {
      return 0; // error interrupts are PCI Express's only; request interrupts came with Linux 4.0
    }
    if ((info.getUint32(IRQ_INFO.flags, true) & IRQ_FLAGS.eventfd) === 0) return 0;
    return info.getUint32(IRQ_INFO.count, true);
  }

  /** Resets the function. Throws `NO_RESET`, `VFIO_DEVICE`. */
  reset(): void {
    const what = `resetting ${this.address}`;
    if (!this.resettable) {
      throw refused('NO_RESET', what, 'neither the function nor its slot has a way', 'power the machine off and on');
    }
    try {
      this.kernel.ioctl(this.fd, REQUEST.deviceReset, 0);
    } catch (cause) {
      throw failed('VFIO_DEVICE', what, cause, { EAGAIN: 'it is being removed, or its bus is in use: try again' });
    }
  }

  close(): void {
    this.kernel.close(this.fd);
  }

  private ask(what: string, request: number, bytes: number, fill?: (view: DataView) => void): DataView {
    try {
      return ask(this.kernel, this.fd, request, bytes, fill);
    } catch (cause) {
      throw failed('VFIO_DEVICE', `device ${this.address}, its ${what}`, cause);
    }
  }
}
