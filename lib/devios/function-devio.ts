/** A PCI function, whoever gives it and whatever is between it and memory: the operations of a `PciDevio`. Control half. */
import type { Arena, Segment } from '../arena/arena.ts';
import type { FramePool } from '../arena/frame-pool.ts';
import { doAll } from '../do-all.ts';
import { DevioError } from '../errors.ts';
import type { Api } from '../framework/types.ts';
import { Registers } from '../layout.ts';
import type { FunctionAccess, InterruptSource } from '../pci/access.ts';
import { COMMAND, changeCommand, HEADER, isGone } from '../pci/config-space.ts';
import type { BarWindow, InterruptKind, Interrupts, PciDevio, PciEvents, PciView, PciWishes } from '../pci/devio.ts';
import type { Keeper } from '../pci/keeper.ts';
import type { FaultLog } from '../vfio/faults.ts';
import { around, tableOf } from '../vfio/msix.ts';
import { duplicateAbove } from './last-file.ts';

/** What is read from an eventfd: how often it was signalled. */
const EVENTFD = new Uint8Array(8);
/** Base address registers of a function. */
const BARS = 6;

/** Memory that a device sees. */
export interface DeviceMemory {
  allocate(bytes: number, align: number): number;
  free(offset: number): void;
  addressOf(offset: number): bigint;
  /** See `PciDevio`. */
  readonly frameAddresses: number;
  /** The kernel keeps it as long as the device can reach it, however this process ends: an IOMMU's mappings do that. */
  readonly pinned: boolean;
  close(): void;
}

/** What a devio is made of. All of it is the devio's from then on. */
export interface FunctionParts {
  readonly api: Api;
  readonly backend: string;
  readonly arena: Arena;
  readonly frames: FramePool;
  readonly view: PciView;
  readonly wishes: PciWishes;
  readonly device: FunctionAccess;
  readonly deviceMemory: DeviceMemory;
  /** Where the IOMMU's faults are to be found, if they are. Not the devio's own. */
  readonly faults?: FaultLog | undefined;
  /** Who stops the function when this process dies. Not the devio's own. */
  readonly keeper?: Keeper | undefined;
  /** Lets go of group and container, when all else has been closed. */
  readonly leave: () => void;
}

/** The error for a function that does not answer. */
function lost(address: string): DevioError {
  return new DevioError('DEVICE_LOST', {
    what: `device ${address}`,
    why: 'it does not answer any more',
    fix: 'check the card and its slot',
  });
}

/** An open function. */
export class FunctionDevio implements PciDevio {
  readonly api: Api;
  readonly backend: string;
  readonly address: string;
  readonly config: PciDevio['config'];
  readonly memory: SharedArrayBuffer;
  readonly frames: FramePool;
  readonly wishes: PciWishes;
  readonly vectors: PciDevio['vectors'];
  readonly frameAddresses: number;
  private readonly parts: FunctionParts;
  private readonly interrupts: InterruptSource;
  private readonly kernelWatch: { close(): void };
  private readonly unwatchFaults: (() => void) | undefined;
  private readonly bars = new Map<number, { readonly window: BarWindow; readonly segment: Segment }>();
  private readonly offsets = new Set<number>();
  private events: PciEvents | undefined;
  private gone: string | undefined;
  /** See `duplicateAbove`; -1 when there is none. */
  private lastFile = -1;
  /** It may use memory. */
  private busMaster = false;
  private closing: void | Promise<void> = undefined;
  private closed = false;

  /** Enables memory space, and has bus master off. Throws `DEVICE_LOST`, `VFIO_DEVICE`; the parts are the caller's then. */
  constructor(parts: FunctionParts) {
    const { api, backend, arena, frames, wishes, device, deviceMemory } = parts;
    this.parts = parts;
    this.api = api;
    this.backend = backend;
    this.address = device.address;
    this.config = device.config;
    this.memory = arena.memory;
    this.frames = frames;
    this.wishes = wishes;
    this.frameAddresses = deviceMemory.frameAddresses;
    if (isGone(this.config)) throw lost(this.address);
    this.changeCommand(COMMAND.memory, COMMAND.busMaster);
    this.interrupts = device.interrupts();
    this.vectors = this.interrupts.vectors;
    const news = {
      lost: (reason: string) => this.lose(reason),
      failed: (reason: string) => this.events?.failed(reason),
    };
    this.kernelWatch = device.watch(news, () => this.look());
    this.unwatchFaults = parts.faults?.watch(this.address, (text) => this.events?.failed(text));
  }

  bar(number: number): BarWindow {
    const known = this.bars.get(number);
    if (known !== undefined) return known.window;
    const what = `BAR ${number} of ${this.address}`;
    const { arena, device } = this.parts;
    const isBar = Number.isInteger(number) && number >= 0 && number < BARS;
    const region = isBar ? device.region(number) : undefined;
    if (region === undefined || region.bytes === 0 || region.areas.length === 0) {
      const why = region === undefined || region.bytes === 0 ? 'there is none' : 'it is no memory that can be mapped';
      throw new DevioError('NO_BAR', { what, why, fix: 'the driver is not for this device' });
    }
    const table = tableOf(this.config);
    const areas = table?.bar === number ? around(region.areas, table) : region.areas;
    const segment = arena.mapRegisters(region.fd, region.bytes, areas);
    const registers = new Registers(this.memory, segment.offset, region.bytes);
    const window = { offset: segment.offset, bytes: region.bytes, registers };
    this.bars.set(number, { window, segment });
    return window;
  }

  setBusMaster(on: boolean): void {
    if (on) this.secure();
    this.busMaster = on;
    this.changeCommand(on ? COMMAND.busMaster : 0, on ? 0 : COMMAND.busMaster);
  }

  /** Throws `DEVICE_LOST` when it does not take. */
  private changeCommand(set: number, clear: number): void {
    changeCommand(this.config, set, clear);
    // The reading also waits until what was written before has arrived.
    const command = this.config.read(HEADER.command, 16);
    if (isGone(this.config) || (command & (set | clear)) !== set) throw lost(this.address);
  }

  /** From now on: when this process ends, the device is stopped before its memory goes. */
  private secure(): void {
    const { arena, backend, device, deviceMemory, keeper } = this.parts;
    const { address, fd, configFile } = device;
    keeper?.keep({ address, backend, fd, configFile }, arena.mapped());
    if (!deviceMemory.pinned) this.stopFirst();
  }

  private stopFirst(): void {
    const { arena, device } = this.parts;
    const before = this.lastFile;
    const others = arena.mapped().map(({ fd }) => fd);
    this.lastFile = duplicateAbove(arena.native, device.fd, others);
    if (before >= 0) arena.native.close(before);
  }

  async reset(): Promise<void> {
    this.resetNow();
    this.changeCommand(COMMAND.memory, COMMAND.busMaster);
  }

  private resetNow(): void {
    this.interrupts.disable();
    this.setBusMaster(false);
    this.parts.device.reset();
  }

  enableInterrupts(kind: InterruptKind, count: number): Interrupts {
    return this.interrupts.enable(kind, count);
  }

  disableInterrupts(): void {
    this.interrupts.disable();
  }

  signalled(fd: number): boolean {
    return this.parts.arena.native.readNow(fd, EVENTFD) === EVENTFD.length;
  }

  allocate(bytes: number): number {
    const offset = this.parts.arena.allocate(bytes);
    this.offsets.add(offset);
    return offset;
  }

  free(offset: number): void {
    if (this.offsets.delete(offset)) this.parts.arena.free(offset);
  }

  allocateShared(bytes: number, align: number): number {
    const { deviceMemory } = this.parts;
    const offset = deviceMemory.allocate(bytes, align);
    try {
      // It may be new memory, which the device reaches as soon as it is told of it.
      if (this.busMaster) this.secure();
      return offset;
    } catch (error) {
      deviceMemory.free(offset);
      throw error;
    }
  }

  freeShared(offset: number): void {
    this.parts.deviceMemory.free(offset);
  }

  addressOf(offset: number): bigint {
    return this.parts.deviceMemory.addressOf(offset);
  }

  watch(events: PciEvents): void {
    this.events = events;
    if (this.gone !== undefined) events.lost(this.gone);
  }

  /** Whether it is still there. */
  private look(): void {
    const { arena, faults } = this.parts;
    faults?.look();
    if ([...this.bars.values()].some(({ segment }) => arena.vanished(segment))) this.lose('its registers have gone');
    else if (isGone(this.config)) this.lose('it does not answer any more');
  }

  private lose(reason: string): void {
    if (this.gone !== undefined) return;
    this.gone = reason;
    this.stopMaster();
    this.events?.lost(reason);
    this.parts.view.recall(this.address);
  }

  /** One that the kernel wants back is there until we let go: it is not to write to frames that workers take back now. */
  private stopMaster(): void {
    if (this.parts.device.absence() !== undefined) return;
    try {
      this.setBusMaster(false);
    } catch {
      // It does not answer: then it writes nothing either.
    }
  }

  /** Queues that a dead driver left behind are not to be found by the next one. */
  private tryReset(): void {
    try {
      if (this.parts.device.resettable) this.parts.device.reset();
    } catch {
      // Its bus may be in use just now. The kernel tries again when the file is closed.
    }
  }

  force(): void {
    // What has gone can do nothing any more, and one that is being removed the kernel stops itself.
    if (this.isHere()) this.resetNow();
  }

  private isHere(): boolean {
    return this.gone === undefined && this.parts.device.absence() === undefined;
  }

  close(): void | Promise<void> {
    if (this.closed) return this.closing;
    this.closed = true;
    const { arena, device, deviceMemory, keeper, leave, view } = this.parts;
    const present = this.isHere() && !isGone(this.config);
    doAll([
      () => this.interrupts.disable(),
      () => present && this.setBusMaster(false),
      () => present && this.tryReset(),
      () => this.kernelWatch.close(),
      () => this.unwatchFaults?.(),
      ...[...this.bars.values()].map(
        ({ segment }) =>
          () =>
            arena.unmap(segment),
      ),
      () => deviceMemory.close(),
      () => this.lastFile >= 0 && arena.native.close(this.lastFile),
      () => device.close(),
      leave,
      ...[...this.offsets].map((offset) => () => arena.free(offset)),
      () => {
        // Until the keeper has closed it, too, nobody can open it again.
        this.closing = keeper?.release(this.address, arena.mapped());
      },
      () => view.unwant(this.address),
    ]);
    return this.closing;
  }
}
