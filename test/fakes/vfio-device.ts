/**
 * A PCI function that vfio-pci has, seen through its device file (Linux, include/uapi/linux/vfio.h, drivers/vfio/pci). The
 * numbers are written from there, not from `lib/vfio/abi.ts`.
 */
import { ftruncateSync, mkdtempSync, openSync, readSync, rmSync, writeSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { onTestFinished } from 'vitest';
import type { DmaMappings, Range } from './dma-mappings.ts';
import { type Argument, errno, type KernelFile, type KernelFiles } from './kernel-files.ts';

/** An entry of a list of capabilities; `next` instead of the true place of what follows. */
export interface FakeCapability {
  readonly id: number;
  readonly body: Uint8Array;
  readonly next?: number;
}

export interface FakeBar {
  readonly bytes: number;
  readonly mmap?: boolean;
  readonly capabilities?: readonly FakeCapability[];
}

export interface FakeDeviceOptions {
  /** Vectors of each kind; of MSI-X, `available` in the machine. */
  readonly msix?: number;
  readonly msi?: number;
  readonly intx?: number;
  readonly available?: number;
  readonly pcie?: boolean;
  readonly resettable?: boolean;
  readonly pci?: boolean;
  readonly bars?: Readonly<Record<number, FakeBar>>;
  readonly reserved?: readonly Range[];
}

/** Of the interrupt controller, on PCs. */
export const MSI_WINDOW: Range = [0xfee0_0000n, 0xfeef_ffffn];

const CONFIG = 7;
const REGION_SHIFT = 2 ** 40;
const [NONE, EVENTFD, MASK, UNMASK, TRIGGER] = [1, 4, 8, 16, 32];
const [INTX, MSI, MSIX, ERROR, REQUEST] = [0, 1, 2, 3, 4];

const viewOf = (bytes: Uint8Array): DataView => new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
const structOf = (argument: Argument): Uint8Array => {
  if (typeof argument === 'number') throw errno('EFAULT');
  return argument;
};

/**
 * Answers a question that has capabilities behind its `bytes`, as the kernel does: all of it if there is room, else how much
 * it takes. `capAt` is where the first one's place is put, `fill` writes the rest.
 */
export function answer(
  argument: Argument,
  bytes: number,
  minimum: number,
  capAt: number,
  list: readonly FakeCapability[],
  fill: (view: DataView) => void,
): number {
  const struct = structOf(argument);
  const view = viewOf(struct);
  if (view.getUint32(0, true) < minimum || struct.length < minimum) throw errno('EINVAL');
  fill(view);
  if (list.length === 0) return 0;
  const total = bytes + list.reduce((sum, { body }) => sum + 8 + body.length, 0);
  if (struct.length < total) {
    view.setUint32(0, total, true);
    if (struct.length >= capAt + 4) view.setUint32(capAt, 0, true);
    return 0;
  }
  view.setUint32(capAt, bytes, true);
  let at = bytes;
  for (const [i, { id, body, next }] of list.entries()) {
    const behind = at + 8 + body.length;
    view.setUint16(at, id, true);
    view.setUint16(at + 2, 1, true);
    view.setUint32(at + 4, next ?? (i === list.length - 1 ? 0 : behind), true);
    struct.set(body, at + 8);
    at = behind;
  }
  return 0;
}

/** struct vfio_region_info_cap_sparse_mmap, from `nr_areas` on. `count` instead of the true number. */
export function sparse(
  areas: readonly (readonly [offset: number, size: number])[],
  count = areas.length,
): FakeCapability {
  const body = new Uint8Array(8 + areas.length * 16);
  viewOf(body).setUint32(0, count, true);
  for (const [i, [offset, size]] of areas.entries()) {
    viewOf(body).setBigUint64(8 + i * 16, BigInt(offset), true);
    viewOf(body).setBigUint64(16 + i * 16, BigInt(size), true);
  }
  return { id: 1, body };
}

export class FakeVfioDevice {
  readonly address: string;
  readonly options: FakeDeviceOptions;
  readonly config = new Uint8Array(4096);
  readonly reserved: readonly Range[];
  /** What it reaches, while it is in an address space. */
  mappings: DmaMappings | undefined;
  /** How it is missing. */
  gone: 'no' | 'ones' | 'ENODEV' | 'EIO' = 'no';
  resets = 0;
  /** Device files that are open. */
  files = 0;
  /** The command register when its file was closed last. */
  commandAtClose = -1;
  /** Interrupts that are on: kind, eventfds, whether its line is masked. */
  irq: { readonly kind: number; readonly fds: number[]; masked: boolean; unmask: number } | undefined;
  private readonly single = new Map<number, number>();
  private readonly kernel: KernelFiles;
  private readonly path: string;

  constructor(kernel: KernelFiles, address: string, options: FakeDeviceOptions = {}) {
    this.kernel = kernel;
    this.address = address;
    this.options = { msix: 5, msi: 1, intx: 1, pcie: true, resettable: true, pci: true, ...options };
    this.reserved = options.reserved ?? [MSI_WINDOW];
    viewOf(this.config).setUint32(0, 0x10d3_8086, true);
    this.config[0x3d] = this.options.intx!;
    const folder = mkdtempSync(join(tmpdir(), 'linecard-vfio-'));
    onTestFinished(() => rmSync(folder, { recursive: true, force: true }));
    this.path = join(folder, 'regions');
  }

  /** MSI-X's capability in configuration space: `vectors` in a table in `bar` at `offset`. */
  putMsix(vectors: number, bar: number, offset: number): void {
    this.config[0x06] = 0x10;
    this.config[0x34] = 0xa0;
    this.config.set([0x11, 0], 0xa0);
    viewOf(this.config).setUint16(0xa2, vectors - 1, true);
    viewOf(this.config).setUint32(0xa4, offset | bar, true);
  }

  get command(): number {
    return viewOf(this.config).getUint16(4, true);
  }
  set command(value: number) {
    viewOf(this.config).setUint16(4, value, true);
  }

  /** Registers by way of their region. */
  register(bar: number, offset: number): number {
    const bytes = new Uint8Array(4);
    const fd = openSync(this.path, 'r');
    readSync(fd, bytes, 0, 4, bar * REGION_SHIFT + offset);
    this.kernel.native.close(fd);
    return viewOf(bytes).getUint32(0, true);
  }

  /** A new fd of its regions. */
  regions(): number {
    const fd = openSync(this.path, 'a');
    ftruncateSync(fd, 8 * REGION_SHIFT);
    this.kernel.native.close(fd);
    return openSync(this.path, 'r+');
  }

  /** What the open device file does, without an fd of its own; `closed` is told when the last is closed. */
  file(name: string, closed: () => void): KernelFile {
    this.files++;
    const { command } = this;
    return {
      name,
      request: (request) => this.request(request),
      read: (bytes, position) => this.read(bytes, position - CONFIG * REGION_SHIFT),
      write: (bytes, position) => this.write(bytes, position - CONFIG * REGION_SHIFT),
      close: () => {
        if (--this.files > 0) return;
        this.commandAtClose = this.command;
        // No bus master first; then all is put back as it was.
        this.command = command & ~4;
        this.irq = undefined;
        this.single.clear();
        closed();
      },
    };
  }

  request(request: number): ReturnType<NonNullable<KernelFile['request']>> {
    const known: Record<number, [string, (argument: Argument) => number]> = {
      15211: ['GET_INFO', (argument) => this.info(argument)],
      15212: ['GET_REGION_INFO', (argument) => this.regionInfo(argument)],
      15213: ['GET_IRQ_INFO', (argument) => this.irqInfo(argument)],
      15214: ['SET_IRQS', (argument) => this.setIrqs(argument)],
      15215: ['RESET', () => this.reset()],
    };
    const [name, run] = known[request] ?? [];
    if (name === undefined || run === undefined) return undefined;
    return {
      name,
      run: (argument) => {
        if (this.gone === 'ENODEV') throw errno('ENODEV');
        return run(argument);
      },
    };
  }

  private read(bytes: Uint8Array, position: number): number {
    if (this.gone === 'ENODEV' || this.gone === 'EIO') throw errno(this.gone, 'read');
    if (position < 0 || position + bytes.length > this.config.length) throw errno('EINVAL', 'read');
    if (this.gone === 'ones') bytes.fill(0xff);
    else bytes.set(this.config.subarray(position, position + bytes.length));
    return bytes.length;
  }

  private write(bytes: Uint8Array, position: number): number {
    if (this.gone === 'ENODEV' || this.gone === 'EIO') throw errno(this.gone, 'write');
    if (position < 0 || position + bytes.length > this.config.length) throw errno('EINVAL', 'write');
    if (this.gone === 'no') this.config.set(bytes, position);
    return bytes.length;
  }

  private info(argument: Argument): number {
    return answer(argument, 24, 16, 16, [], (view) => {
      view.setUint32(4, (this.options.resettable ? 1 : 0) | (this.options.pci ? 2 : 4), true);
      view.setUint32(8, 9, true);
      view.setUint32(12, 5, true);
    });
  }

  private regionInfo(argument: Argument): number {
    const index = viewOf(structOf(argument)).getUint32(8, true);
    if (index > 8) throw errno('EINVAL');
    const bar = index === CONFIG ? { bytes: 4096 } : this.options.bars?.[index];
    const list = bar?.capabilities ?? [];
    return answer(argument, 32, 32, 12, list, (view) => {
      const flags = bar === undefined ? 0 : 3 | (bar.mmap ? 4 : 0) | (list.length > 0 ? 8 : 0);
      view.setUint32(4, flags, true);
      view.setBigUint64(16, BigInt(bar?.bytes ?? 0), true);
      view.setBigUint64(24, BigInt(index * REGION_SHIFT), true);
    });
  }

  private vectors(index: number): number {
    const { msix, msi, intx, pcie } = this.options;
    return [intx!, msi!, msix!, pcie ? 1 : 0, 1][index] ?? 0;
  }

  private irqInfo(argument: Argument): number {
    const index = viewOf(structOf(argument)).getUint32(8, true);
    if (index > REQUEST || (index === ERROR && !this.options.pcie)) throw errno('EINVAL');
    return answer(argument, 16, 16, 0, [], (view) => {
      view.setUint32(4, index === INTX ? 7 : 9, true);
      view.setUint32(12, this.vectors(index), true);
    });
  }

  private setIrqs(argument: Argument): number {
    const view = viewOf(structOf(argument));
    const [argsz, flags, index, start, count] = [0, 4, 8, 12, 16].map((at) => view.getUint32(at, true)) as [
      number,
      number,
      number,
      number,
      number,
    ];
    const action = flags & (MASK | UNMASK | TRIGGER);
    const data = flags & 7;
    if (argsz < 20 || argsz > view.byteLength || index > REQUEST || flags > 63) throw errno('EINVAL');
    const most = this.vectors(index);
    if (start >= most || start + count > most || (data !== NONE && data !== EVENTFD)) throw errno('EINVAL');
    if (data === EVENTFD && argsz - 20 < count * 4) throw errno('EINVAL');
    const fds = data === NONE ? [] : Array.from({ length: count }, (_, i) => view.getInt32(20 + i * 4, true));
    if (fds.some((fd) => this.kernel.at(fd)?.name !== 'eventfd')) throw errno('EBADF');
    if (action === UNMASK && index === INTX) return this.setUnmask(fds, start, count);
    if (action !== TRIGGER) throw errno('ENOTTY');
    if (index === ERROR || index === REQUEST) return this.setSingle(index, fds, count);
    return this.setTrigger(index, fds, start, count);
  }

  private setUnmask([fd]: number[], start: number, count: number): number {
    if (this.irq?.kind !== INTX || start !== 0 || count !== 1) throw errno('EINVAL');
    if (fd === undefined) this.irq.masked = false;
    else this.irq.unmask = fd;
    return 0;
  }

  private setSingle(index: number, [fd]: number[], count: number): number {
    if (fd !== undefined && count === 1) this.single.set(index, fd);
    else if (fd === undefined && count === 0 && this.single.delete(index)) return 0;
    else throw errno('EINVAL');
    return 0;
  }

  /** MSI and MSI-X that cannot all be had are no error: the kernel returns how many it could have. */
  private setTrigger(index: number, fds: number[], start: number, count: number): number {
    if (fds.length === 0 && count === 0 && this.irq?.kind === index) {
      this.irq = undefined;
      return 0;
    }
    if (fds.length === 0 || (this.irq !== undefined && this.irq.kind !== index)) throw errno('EINVAL');
    if (index === INTX && (start !== 0 || count !== 1)) throw errno('EINVAL');
    if (this.irq !== undefined && start + count > this.irq.fds.length) throw errno('EINVAL');
    const { available = Number.POSITIVE_INFINITY } = this.options;
    if (index !== INTX && this.irq === undefined && start + count > available) return available;
    this.irq ??= { kind: index, fds: new Array(start + count).fill(-1), masked: false, unmask: -1 };
    for (const [i, fd] of fds.entries()) this.irq.fds[start + i] = fd;
    return 0;
  }

  private reset(): number {
    if (!this.options.resettable) throw errno('EINVAL');
    this.resets++;
    return 0;
  }

  /** The function interrupts. A line stays masked until it is unmasked by its eventfd. False when nobody is told. */
  interrupt(vector = 0): boolean {
    const { irq, kernel } = this;
    if (irq === undefined) return false;
    if (irq.kind === INTX && irq.unmask >= 0 && this.drain(irq.unmask)) irq.masked = false;
    const fd = irq.fds[vector] ?? -1;
    if (fd < 0 || irq.masked) return false;
    irq.masked = irq.kind === INTX;
    kernel.native.notify(fd);
    return true;
  }

  /** The kernel says something about it. */
  tell(what: 'error' | 'request'): boolean {
    const fd = this.single.get(what === 'error' ? ERROR : REQUEST);
    if (fd === undefined) return false;
    this.kernel.native.notify(fd);
    return true;
  }

  private drain(fd: number): boolean {
    try {
      return readSync(fd, new Uint8Array(8)) === 8;
    } catch {
      return false;
    }
  }

  /** What it reaches at address `iova`; undefined when the IOMMU keeps it from there, or bus master is off. */
  dma(iova: number): Uint8Array | undefined {
    return (this.command & 4) === 0 ? undefined : this.mappings?.at(BigInt(iova));
  }

  /** As `dma`, of one byte. */
  put(iova: number, byte: number): boolean {
    const memory = this.dma(iova);
    if (memory !== undefined) memory[0] = byte;
    return memory !== undefined;
  }

  /** The kinds by their numbers. */
  static readonly KINDS = { intx: INTX, msi: MSI, msix: MSIX } as const;

  /** A register by way of its region, as the device would set it. */
  setRegister(bar: number, offset: number, value: number): void {
    const fd = openSync(this.path, 'r+');
    writeSync(fd, new Uint8Array(Uint32Array.of(value).buffer), 0, 4, bar * REGION_SHIFT + offset);
    this.kernel.native.close(fd);
  }
}
