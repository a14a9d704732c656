/**
 * VFIO as the kernel has it: containers, groups, device files, and the kernel's log (Linux, include/uapi/linux/vfio.h,
 * drivers/vfio/{container,group,vfio_iommu_type1}.c). The numbers are written from there, not from `lib/vfio/abi.ts`.
 */
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { IommufdPlace } from '../../lib/vfio/iommufd.ts';
import type { Pointer } from '../../native/index.ts';
import { DmaMappings } from './dma-mappings.ts';
import { FakeIommufd } from './iommufd.ts';
import { type Argument, errno, type KernelFile, KernelFiles } from './kernel-files.ts';
import { FakeSysfs } from './sysfs.ts';
import { answer, type FakeCapability, type FakeDeviceOptions, FakeVfioDevice } from './vfio-device.ts';

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);

/** An IOMMU group. */
export class FakeGroup {
  readonly number: number;
  readonly devices: FakeVfioDevice[] = [];
  /** No kernel driver works with a member. */
  viable = true;
  /** Its file is open: as long as that, or one of its devices', is. */
  users = 0;
  /** How many of its functions are open by files of their own. */
  alone = 0;
  container: FakeContainer | undefined;

  constructor(number: number) {
    this.number = number;
  }

  leave(): void {
    if (--this.users > 0) return;
    this.container?.detach(this);
    this.container = undefined;
  }
}

class FakeContainer {
  readonly groups = new Set<FakeGroup>();
  readonly mappings = new DmaMappings();
  /** What was set by SET_IOMMU. */
  kind: number | undefined;

  attach(group: FakeGroup): void {
    for (const device of group.devices) {
      if (!this.mappings.attach(device, device.reserved)) throw errno('EINVAL');
      device.mappings = this.mappings;
    }
    this.groups.add(group);
  }

  /** With the last group the IOMMU goes, and all that was mapped. */
  detach(group: FakeGroup): void {
    this.groups.delete(group);
    for (const device of group.devices) {
      this.mappings.detach(device);
      device.mappings = undefined;
    }
    if (this.groups.size > 0) return;
    this.kind = undefined;
    this.mappings.clear();
  }
}

/** What may be wrong with the kernel. */
export interface FakeVfioOptions {
  readonly version?: number;
  /** Kinds of IOMMU that there are: 3 is type 1 v2, 8 is none. */
  readonly kinds?: readonly number[];
  /** Interrupts of devices can be kept apart. */
  readonly safe?: boolean;
  /** It tells which addresses may be used: since Linux 5.4. Or what it tells instead. */
  readonly ranges?: boolean | readonly FakeCapability[];
  readonly memlock?: number;
}

export class FakeVfio {
  readonly sysfs = new FakeSysfs();
  readonly kernel = new KernelFiles();
  readonly place: IommufdPlace;
  readonly devices = new Map<string, FakeVfioDevice>();
  readonly groups = new Map<number, FakeGroup>();
  /** The containers that were opened, the last one first. */
  readonly containers: FakeContainer[] = [];
  readonly iommufd: FakeIommufd;
  /** Records of the kernel's log. */
  readonly records: string[] = [];
  readonly options: FakeVfioOptions;
  /** What is done first when the test is over: closing what uses it. */
  readonly users: (() => void)[] = [];

  constructor(options: FakeVfioOptions = {}) {
    this.options = { version: 0, kinds: [3], safe: true, ranges: true, ...options };
    const dev = join(this.sysfs.root, 'dev');
    const { memlock = Number.POSITIVE_INFINITY } = options;
    this.place = {
      kernel: this.kernel,
      sysfs: this.sysfs.root,
      dev: join(dev, 'vfio'),
      iommu: join(dev, 'iommu'),
      memlock,
    };
    this.iommufd = new FakeIommufd(this);
    this.kernel.offer(join(this.place.dev, 'vfio'), () => this.container());
    this.kernel.pretend('/dev/kmsg', () => this.log());
    onTestFinished(() => {
      this.kernel.fault = () => undefined;
      for (const end of this.users) end();
      for (const fd of this.kernel.fds()) this.kernel.close(fd);
    });
  }

  /** Adds a function that vfio-pci has, in group `number`. */
  add(address: string, number: number, options: FakeDeviceOptions = {}, driver = 'vfio-pci'): FakeVfioDevice {
    this.sysfs.add(address, { vendor: '0x8086', device: '0x10d3', driver, group: number });
    this.sysfs.link(`kernel/iommu_groups/${number}/devices/${address}`, `../../../../bus/pci/devices/${address}`);
    const group = this.groups.get(number) ?? this.addGroup(number);
    const device = new FakeVfioDevice(this.kernel, address, options);
    if (driver !== 'vfio-pci') group.viable = false;
    else group.devices.push(device);
    this.devices.set(address, device);
    return device;
  }

  private addGroup(number: number): FakeGroup {
    const group = new FakeGroup(number);
    this.groups.set(number, group);
    this.kernel.offer(join(this.place.dev, String(number)), () => this.group(group));
    return group;
  }

  /** Makes the group one without an IOMMU. */
  withoutIommu(number: number): void {
    const group = this.groups.get(number)!;
    this.sysfs.write(`kernel/iommu_groups/${number}/name`, 'vfio-noiommu');
    rmSync(join(this.place.dev, String(number)));
    this.kernel.offer(join(this.place.dev, `noiommu-${number}`), () => this.group(group));
  }

  /** All that is mapped now, by address. */
  get mapped(): readonly { readonly iova: bigint; readonly memory: Uint8Array }[] {
    return [...this.containers.map(({ mappings }) => mappings), ...this.iommufd.spaces].flatMap(({ list }) => list);
  }

  private container(): KernelFile {
    const container = new FakeContainer();
    container.mappings.memlock = this.options.memlock ?? container.mappings.memlock;
    this.containers.unshift(container);
    const known: Record<number, [string, (argument: Argument, pointers: readonly Pointer[]) => number]> = {
      15204: ['GET_API_VERSION', () => this.options.version!],
      15205: ['CHECK_EXTENSION', (kind) => (this.options.kinds!.includes(Number(kind)) ? 1 : 0)],
      15206: ['SET_IOMMU', (kind) => this.setIommu(container, Number(kind))],
      15216: ['IOMMU_GET_INFO', (argument) => this.iommuInfo(container, argument)],
      15217: ['MAP_DMA', (argument, pointers) => mapDma(container, argument, pointers)],
      15218: ['UNMAP_DMA', (argument) => unmapDma(container, argument)],
    };
    return {
      name: 'container',
      request(request) {
        const [name, run] = known[request] ?? [];
        if (name === undefined || run === undefined) return undefined;
        const privileged = request >= 0x3b70;
        return {
          name,
          run: (argument, pointers) => {
            if (privileged && container.kind === undefined) throw errno('EINVAL');
            if (privileged && container.kind !== 3) throw errno('ENOTTY');
            return run(argument, pointers);
          },
        };
      },
      container,
    } as KernelFile;
  }

  private setIommu(container: FakeContainer, kind: number): number {
    if (container.groups.size === 0 || container.kind !== undefined) throw errno('EINVAL');
    if (!this.options.kinds!.includes(kind)) throw errno('ENODEV');
    if (kind === 3 && !this.options.safe) throw errno('EPERM');
    container.kind = kind;
    return 0;
  }

  private iommuInfo(container: FakeContainer, argument: Argument): number {
    const { ranges } = this.options;
    const list = container.mappings.ranges();
    const body = new Uint8Array(8 + list.length * 16);
    viewOf(body).setUint32(0, list.length, true);
    for (const [i, [first, last]] of list.entries()) {
      viewOf(body).setBigUint64(8 + i * 16, first, true);
      viewOf(body).setBigUint64(16 + i * 16, last, true);
    }
    // Behind another, as in Linux: the migration capability.
    const own = [
      { id: 2, body: new Uint8Array(24) },
      { id: 1, body },
    ];
    const capabilities = ranges === true ? own : ranges === false ? [] : ranges!;
    return answer(argument, 24, 16, 16, capabilities, (view) => {
      view.setUint32(4, 1 | (capabilities.length > 0 ? 2 : 0), true);
      view.setBigUint64(8, 4096n, true);
    });
  }

  private group(group: FakeGroup): KernelFile {
    if (group.users > 0 || group.alone > 0) throw errno('EBUSY', 'open');
    group.users = 1;
    const known: Record<number, [string, (argument: Argument) => number]> = {
      15207: ['GET_STATUS', (argument) => this.status(group, argument)],
      15208: ['SET_CONTAINER', (argument) => this.setContainer(group, argument)],
      15210: ['GET_DEVICE_FD', (argument) => this.deviceFd(group, argument)],
    };
    return {
      name: `group ${group.number}`,
      request: (request) => {
        const [name, run] = known[request] ?? [];
        return name === undefined || run === undefined ? undefined : { name, run };
      },
      close: () => group.leave(),
    };
  }

  private status(group: FakeGroup, argument: Argument): number {
    return answer(argument, 8, 8, 0, [], (view) => {
      view.setUint32(4, (group.viable ? 1 : 0) | (group.container === undefined ? 0 : 2), true);
    });
  }

  private setContainer(group: FakeGroup, argument: Argument): number {
    const fd = viewOf(argument as Uint8Array).getInt32(0, true);
    const { container } = (this.kernel.at(fd) ?? {}) as { container?: FakeContainer };
    if (this.kernel.at(fd) === undefined) throw errno('EBADF');
    if (group.container !== undefined || container === undefined) throw errno('EINVAL');
    if (!group.viable) throw errno('EPERM');
    container.attach(group);
    group.container = container;
    return 0;
  }

  private deviceFd(group: FakeGroup, argument: Argument): number {
    const text = Buffer.from(argument as Uint8Array).toString();
    if (!text.endsWith('\0')) throw errno('EFAULT');
    const device = group.devices.find(({ address }) => address === text.slice(0, -1));
    if (device === undefined) throw errno('ENODEV');
    if (group.container?.kind === undefined) throw errno('EINVAL');
    group.users++;
    const file = device.file(`device ${device.address}`, () => group.leave());
    return this.kernel.adopt({ ...file, fd: device.regions() });
  }

  /** The log, which each reader reads from its first record on. */
  private log(): KernelFile {
    let next = 0;
    return {
      name: 'log',
      read: (bytes) => {
        const record = this.records[next];
        if (record === undefined) throw errno('EAGAIN', 'read');
        next++;
        if (record === 'overwritten') throw errno('EPIPE', 'read');
        const text = Buffer.from(record);
        if (text.length > bytes.length) throw errno('EINVAL', 'read');
        bytes.set(text);
        return text.length;
      },
    };
  }

  /** Writes a line of the kernel's to the log. */
  say(text: string): void {
    this.records.push(`3,${this.records.length},123456,-;${text}\n`);
  }
}

function mapDma({ mappings }: FakeContainer, argument: Argument, pointers: readonly Pointer[]): number {
  const view = viewOf(argument as Uint8Array);
  const flags = view.getUint32(4, true);
  if (view.getUint32(0, true) < 32 || flags === 0 || flags > 3) throw errno('EINVAL');
  const memory = pointers.find(([offset]) => offset === 8)?.[1];
  if (memory === undefined) throw errno('EFAULT');
  mappings.map(view.getBigUint64(16, true), view.getBigUint64(24, true), memory);
  return 0;
}

function unmapDma({ mappings }: FakeContainer, argument: Argument): number {
  const view = viewOf(argument as Uint8Array);
  const [iova, size] = [view.getBigUint64(8, true), view.getBigUint64(16, true)];
  if (view.getUint32(0, true) < 24 || view.getUint32(4, true) !== 0) throw errno('EINVAL');
  if (size === 0n || (iova | size) % 4096n !== 0n) throw errno('EINVAL');
  const taken = mappings.unmap(iova, size);
  if (taken === null) throw errno('EINVAL');
  view.setBigUint64(16, taken, true);
  return 0;
}
