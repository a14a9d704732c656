/**
 * What drivers of PCI functions are written against: `devio-iommu` and `devio-nommu` both are this, and differ in how the
 * device reaches memory, which a driver sees only as addresses. Control half.
 */
import type { FramePool } from '../arena/frame-pool.ts';
import { DevioError } from '../errors.ts';
import type { Api, Devio } from '../framework/types.ts';
import type { Registers } from '../layout.ts';
import type { ConfigSpace } from './config-space.ts';

/** Behind an IOMMU: the device reaches what is mapped for it, by arena offsets. */
export const IOMMU_API: Api = { name: 'devio-iommu', version: 1 };
/** Without one: the device reaches all of the machine's memory, by physical addresses. */
export const NOMMU_API: Api = { name: 'devio-nommu', version: 1 };

/** Accesses to registers, each of its own width: `Registers` over the arena, or a test's device. */
export type RegisterAccess = Pick<
  Registers,
  'get8' | 'get16' | 'get32' | 'get64' | 'put8' | 'put16' | 'put32' | 'put64'
>;

/** A memory BAR, mapped. */
export interface BarWindow {
  /** Arena offset of its first byte, for the doorbells that queues ring. */
  readonly offset: number;
  readonly bytes: number;
  readonly registers: RegisterAccess;
}

/** How the function interrupts, most wanted first. */
export type InterruptKind = 'msix' | 'msi' | 'intx';

/** Interrupts that are on. */
export interface Interrupts {
  readonly kind: InterruptKind;
  /** Of each vector, a file descriptor in which an edge-triggered epoll set sees an event per interrupt. The devio's. */
  readonly fds: readonly number[];
  /**
   * INTx only: the line is masked at each interrupt, and stays so until `kick` of a queue's context is called with this
   * (an eventfd, or what else `Native.notify` takes). -1 otherwise.
   */
  readonly unmask: number;
}

/** What a function does without being asked. */
export interface PciEvents {
  /** It has gone, or is asked back (hot removal): nothing may be asked of it any more. Called once. */
  lost(reason: string): void;
  /** It reported an error, such as a DMA fault, and is still there. */
  failed(reason: string): void;
}

/** What was asked for when a port was named: its options by name. */
export type PciWishes = Readonly<Record<string, string | number | boolean>>;

/** Functions as a devio sees them: who wants which. */
export interface PciView {
  /** Set while somebody has asked for the function at `address` by name. */
  wanted(address: string): PciWishes | undefined;
  /** As `wanted`; and until `unwant` nobody else gets it. */
  take(address: string): PciWishes | undefined;
  /** The asking is over. */
  unwant(address: string): void;
  /** The function is going, or has gone: it is to be taken from whoever has it. */
  recall(address: string): void;
}

/** An open PCI function. Opened: memory space enabled, bus master off, interrupts off, nothing reset. */
export interface PciDevio extends Devio {
  /** `DDDD:BB:DD.F` */
  readonly address: string;
  readonly config: ConfigSpace;
  readonly memory: SharedArrayBuffer;
  readonly frames: FramePool;
  /** What was asked for when the port was named, by name. */
  readonly wishes: PciWishes;
  /**
   * Memory BAR `number`, which is mapped when it is asked for first; the table of MSI-X vectors in it is not to be touched.
   * Throws DevioError `NO_BAR` and `MAP_FAILED`.
   */
  bar(number: number): BarWindow;
  /** Lets the function read and write memory, or forbids it: bit `busMaster` of its command register. */
  setBusMaster(on: boolean): void;
  /** Resets the function, by whatever way it has; bus master and interrupts are off after it. Throws `NO_RESET`, `DEVICE_LOST`. */
  reset(): Promise<void>;
  /** Most vectors of each kind that the function has; 0 of what it, or its kernel driver, has not. */
  readonly vectors: Readonly<Record<InterruptKind, number>>;
  /** Turns on `count` vectors of a kind; others that were on are off. Throws `NO_INTERRUPTS`. */
  enableInterrupts(kind: InterruptKind, count: number): Interrupts;
  disableInterrupts(): void;
  /** Whether vector `fd` of those has interrupted since this was asked last: for a vector that no worker waits for. */
  signalled(fd: number): boolean;
  /** Zeroed arena memory that the device does not see: counters, tables of what is whose. Throws `NO_MEMORY`. */
  allocate(bytes: number): number;
  free(offset: number): void;
  /** Zeroed arena memory that the device sees, in one piece for it: rings. Throws `NO_MEMORY`, `ADDRESS_REFUSED`. */
  allocateShared(bytes: number, align: number): number;
  freeShared(offset: number): void;
  /** The address by which the device knows arena offset `offset` of what `allocateShared` gave. */
  addressOf(offset: number): bigint;
  /**
   * Addresses by which the device knows the frames: arena offset of a table with two words (low, high) per frame of the
   * pool, of the frame's first byte; or 0 when an arena offset is the address.
   */
  readonly frameAddresses: number;
  watch(events: PciEvents): void;
}

/** Returns `devio` as what its api says it is. Throws `WRONG_DEVIO` when a driver was given another kind. */
export function asPciDevio(devio: Devio): PciDevio {
  const { name, version } = devio.api;
  for (const api of [IOMMU_API, NOMMU_API]) {
    if (name === api.name && version === api.version) return devio as PciDevio;
  }
  throw new DevioError('WRONG_DEVIO', {
    what: `devio ${name} ${version}`,
    why: `the driver needs ${IOMMU_API.name} ${IOMMU_API.version} or ${NOMMU_API.name} ${NOMMU_API.version}`,
    fix: 'let the framework match drivers and devios',
  });
}
