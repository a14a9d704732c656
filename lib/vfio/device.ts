/** An open VFIO device that is a PCI function: configuration space, regions, reset. Control half. */
import type { FunctionAccess, FunctionNews, InterruptSource, Region } from '../pci/access.ts';
import type { ConfigSpace } from '../pci/config-space.ts';
import { FileConfig } from '../pci/file-config.ts';
import { errnoName } from '../system-error.ts';
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
import { ask, entries, findCapability } from './info.ts';
import { VfioInterrupts, VfioWatch } from './interrupts.ts';
import type { VfioKernel } from './kernel.ts';

/** An open device. The fd is its own. */
export class VfioDevice implements FunctionAccess {
  readonly kernel: VfioKernel;
  readonly fd: number;
  readonly address: string;
  readonly config: ConfigSpace;
  readonly configFile: FunctionAccess['configFile'];
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
    const { offset, bytes } = this.region(PCI_REGION.config);
    this.configFile = { fd, position: offset };
    this.config = new FileConfig(kernel, fd, offset, bytes);
  }

  /** What there is of region `index`. Throws `VFIO_DEVICE`. */
  region(index: number): Region {
    const { fd } = this;
    const fill = (view: DataView) => view.setUint32(REGION_INFO.index, index, true);
    const info = this.ask(`region ${index}`, REQUEST.deviceGetRegionInfo, REGION_INFO.bytes, fill);
    const flags = info.getUint32(REGION_INFO.flags, true);
    const bytes = Number(info.getBigUint64(REGION_INFO.size, true));
    const offset = Number(info.getBigUint64(REGION_INFO.offset, true));
    const whole = (flags & REGION_FLAGS.mmap) === 0 ? [] : [{ at: 0, length: bytes, fdOffset: offset }];
    if (whole.length === 0 || (flags & REGION_FLAGS.caps) === 0) return { fd, bytes, offset, areas: whole };
    const at = findCapability(
      info,
      info.getUint32(REGION_INFO.capOffset, true),
      REGION_CAP_SPARSE_MMAP,
      SPARSE_MMAP.first,
    );
    if (at === undefined) return { fd, bytes, offset, areas: whole };
    const count = info.getUint32(at + SPARSE_MMAP.areas, true);
    const areas = entries(info, at + SPARSE_MMAP.first, count, SPARSE_AREA.bytes).map((entry) => {
      const begin = Number(info.getBigUint64(entry + SPARSE_AREA.offset, true));
      const length = Number(info.getBigUint64(entry + SPARSE_AREA.size, true));
      return { at: begin, length, fdOffset: offset + begin };
    });
    return { fd, bytes, offset, areas: areas.filter(({ length }) => length > 0) };
  }

  /** How many interrupts of kind `index` there are that an eventfd can be told of; 0 when the kernel knows none. Throws `VFIO_DEVICE`. */
  count(index: number): number {
    let info: DataView;
    try {
      const fill = (view: DataView) => view.setUint32(IRQ_INFO.index, index, true);
      info = ask(this.kernel, this.fd, REQUEST.deviceGetIrqInfo, IRQ_INFO.bytes, fill);
    } catch (cause) {
      // Error interrupts are PCI Express's only; request interrupts came with Linux 4.0.
      if (errnoName(cause) === 'EINVAL') return 0;
      throw failed('VFIO_DEVICE', `device ${this.address}, its interrupts`, cause);
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

  interrupts(): InterruptSource {
    return new VfioInterrupts(this);
  }

  /** It is its own until the file is closed. */
  absence(): undefined {}

  watch(news: FunctionNews, look: () => void): { close(): void } {
    return new VfioWatch(this, news, look);
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
