/**
 * iommufd, and device files by which functions are bound to it, as Linux 6.6 has them (include/uapi/linux/iommufd.h,
 * drivers/iommu/iommufd, drivers/vfio/device_cdev.c). The numbers are written from there, not from `lib/vfio/iommufd-abi.ts`.
 */
import { join } from 'node:path';
import type { Pointer } from '../../native/index.ts';
import { DmaMappings } from './dma-mappings.ts';
import { type Argument, errno, type KernelFile } from './kernel-files.ts';
import type { FakeVfio } from './vfio.ts';
import type { FakeVfioDevice } from './vfio-device.ts';

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** An open `/dev/iommu`: it stays as long as functions are bound to it. */
class Context {
  readonly spaces = new Map<number, DmaMappings>();
  users = 1;

  leave(): void {
    if (--this.users === 0) this.spaces.clear();
  }
}

export class FakeIommufd {
  /** Interrupts of devices can be kept apart. */
  safe = true;
  memlock = Number.POSITIVE_INFINITY;
  private readonly world: FakeVfio;
  private readonly contexts = new Set<Context>();
  private ids = 0;

  constructor(world: FakeVfio) {
    this.world = world;
  }

  /** The kernel has it, and files of their own for all functions that there are. */
  offer(): void {
    const { kernel, place, devices, groups } = this.world;
    kernel.offer(place.iommu, () => this.open());
    for (const [i, device] of [...devices.values()].entries()) {
      const group = [...groups.values()].find((one) => one.devices.includes(device));
      if (group === undefined) continue;
      this.offerFolder(device.address, `vfio${i}`);
      this.world.sysfs.write(`devices/pci0000:00/${device.address}/vfio-dev/vfio${i}/dev`, `509:${i}`);
      kernel.offer(join(place.dev, 'devices', `vfio${i}`), () => this.device(device, group));
    }
  }

  /** As of Linux 6.1: a folder for each function, but no file. */
  offerFolder(address: string, name: string): void {
    this.world.sysfs.write(`devices/pci0000:00/${address}/vfio-dev/${name}/uevent`, '');
  }

  /** Address spaces that there are. */
  get spaces(): DmaMappings[] {
    return [...this.contexts].flatMap(({ spaces }) => [...spaces.values()]);
  }

  private open(): KernelFile {
    const context = new Context();
    this.contexts.add(context);
    const known: Record<number, [string, number, (argument: Uint8Array, pointers: readonly Pointer[]) => number]> = {
      15233: ['IOAS_ALLOC', 12, (argument) => this.alloc(context, argument)],
      15236: ['IOAS_IOVA_RANGES', 32, (argument, pointers) => ranges(context, argument, pointers)],
      15237: ['IOAS_MAP', 40, (argument, pointers) => map(context, argument, pointers)],
      15238: ['IOAS_UNMAP', 24, (argument) => unmap(context, argument)],
    };
    return {
      name: 'iommufd',
      request: (request) => {
        const [name, bytes, run] = known[request] ?? [];
        if (name === undefined || bytes === undefined || run === undefined) return undefined;
        return { name, run: (argument, pointers) => run(structOf(argument, bytes), pointers) };
      },
      close: () => context.leave(),
      context,
    } as KernelFile;
  }

  private alloc(context: Context, argument: Uint8Array): number {
    if (viewOf(argument).getUint32(4, true) !== 0) throw errno('EOPNOTSUPP');
    const space = new DmaMappings();
    space.memlock = this.memlock;
    context.spaces.set(++this.ids, space);
    viewOf(argument).setUint32(8, this.ids, true);
    return 0;
  }

  /** Until it is bound, its file can do nothing else; another's may be open, but not bound. */
  private device(device: FakeVfioDevice, group: { users: number; alone: number; viable: boolean }): KernelFile {
    let bound: { readonly context: Context; readonly file: KernelFile } | undefined;
    let space: DmaMappings | undefined;
    const detach = () => {
      space?.detach(device);
      device.mappings = undefined;
    };
    const bind = (argument: Uint8Array): number => {
      const fd = viewOf(argument).getInt32(8, true);
      if (viewOf(argument).getUint32(4, true) !== 0 || fd < 0 || bound !== undefined) throw errno('EINVAL');
      if (group.users > 0) throw errno('EBUSY');
      const { context } = (this.world.kernel.at(fd) ?? {}) as { context?: Context };
      if (context === undefined) throw errno('EBADF');
      if (device.files > 0) throw errno('EINVAL');
      if (!group.viable || !this.safe) throw errno('EPERM');
      context.users++;
      group.alone++;
      const file = device.file('', () => {
        detach();
        group.alone--;
        context.leave();
      });
      bound = { context, file };
      viewOf(argument).setUint32(12, ++this.ids, true);
      return 0;
    };
    const attach = (argument: Uint8Array): number => {
      if (viewOf(argument).getUint32(4, true) !== 0 || bound === undefined) throw errno('EINVAL');
      const wanted = bound.context.spaces.get(viewOf(argument).getUint32(8, true));
      if (wanted === undefined) throw errno('ENOENT');
      if (!wanted.attach(device, device.reserved)) throw errno('EADDRINUSE');
      space = wanted;
      device.mappings = wanted;
      viewOf(argument).setUint32(8, ++this.ids, true);
      return 0;
    };
    return {
      name: `device ${device.address}`,
      fd: device.regions(),
      request: (request) => {
        if (request === 0x3b76) return { name: 'BIND_IOMMUFD', run: (argument) => bind(structOf(argument, 16)) };
        if (request === 0x3b77) return { name: 'ATTACH_IOMMUFD_PT', run: (argument) => attach(structOf(argument, 12)) };
        const known = device.request(request);
        if (known === undefined || bound !== undefined) return known;
        return { ...known, run: () => fail() };
      },
      read: (bytes, position) => (bound === undefined ? fail() : bound.file.read!(bytes, position)),
      write: (bytes, position) => (bound === undefined ? fail() : bound.file.write!(bytes, position)),
      close: () => bound?.file.close?.(),
    };
  }
}

function fail(): never {
  throw errno('EINVAL');
}

function structOf(argument: Argument, bytes: number): Uint8Array {
  if (typeof argument === 'number') throw errno('EFAULT');
  if (argument.length < bytes || viewOf(argument).getUint32(0, true) < bytes) throw errno('EINVAL');
  return argument;
}

function spaceOf({ spaces }: Context, id: number): DmaMappings {
  const space = spaces.get(id);
  if (space === undefined) throw errno('ENOENT');
  return space;
}

/** As many ranges as there is room for; EMSGSIZE, with how many there are, when that is too few. */
function ranges(context: Context, argument: Uint8Array, pointers: readonly Pointer[]): number {
  const view = viewOf(argument);
  const list = spaceOf(context, view.getUint32(4, true)).ranges();
  const room = view.getUint32(8, true);
  const array = pointers.find(([offset]) => offset === 16)?.[1];
  if (array === undefined || array.length < room * 16) throw errno('EFAULT');
  for (const [i, [first, last]] of list.slice(0, room).entries()) {
    viewOf(array).setBigUint64(i * 16, first, true);
    viewOf(array).setBigUint64(i * 16 + 8, last, true);
  }
  view.setUint32(8, list.length, true);
  view.setBigUint64(24, 4096n, true);
  if (list.length > room) throw errno('EMSGSIZE');
  return 0;
}

function map(context: Context, argument: Uint8Array, pointers: readonly Pointer[]): number {
  const view = viewOf(argument);
  const flags = view.getUint32(4, true);
  if (flags > 7 || view.getUint32(12, true) !== 0) throw errno('EOPNOTSUPP');
  if ((flags & 6) === 0) throw errno('EINVAL');
  if ((flags & 1) === 0) throw new Error('the fake chooses no addresses');
  const memory = pointers.find(([offset]) => offset === 16)?.[1];
  if (memory === undefined) throw errno('EFAULT');
  spaceOf(context, view.getUint32(8, true)).map(view.getBigUint64(32, true), view.getBigUint64(24, true), memory);
  return 0;
}

function unmap(context: Context, argument: Uint8Array): number {
  const view = viewOf(argument);
  const taken = spaceOf(context, view.getUint32(4, true)).unmap(
    view.getBigUint64(8, true),
    view.getBigUint64(16, true),
  );
  if (taken === null || taken === 0n) throw errno('ENOENT');
  view.setBigUint64(16, taken, true);
  return 0;
}
