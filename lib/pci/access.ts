/** A PCI function as a kernel driver lets user space have it: what VFIO and UIO have in common. Control half. */
import type { ConfigSpace } from './config-space.ts';
import type { InterruptKind, Interrupts } from './devio.ts';

/** A region: a BAR, or configuration space. */
export interface Region {
  /** The file that it is in; whoever gave the region closes it. */
  readonly fd: number;
  readonly bytes: number;
  /** Where it is in the file. */
  readonly offset: number;
  /** What may be mapped of it: whole pages, from its first byte; the table of MSI-X vectors may be left out. */
  readonly areas: readonly { readonly at: number; readonly length: number; readonly fdOffset: number }[];
}

/** Interrupts of a function. The fds are its own. */
export interface InterruptSource {
  /** See `PciDevio`. */
  readonly vectors: Readonly<Record<InterruptKind, number>>;
  /** Turns on `count` vectors; others that were on are off. Throws `NO_INTERRUPTS`. */
  enable(kind: InterruptKind, count: number): Interrupts;
  /** Turns them off. Idempotent. */
  disable(): void;
}

/** What the kernel says of a function without being asked. */
export interface FunctionNews {
  /** It is wanted back, or somebody else has it by now: nothing may be asked of it any more. */
  lost(reason: string): void;
  failed(reason: string): void;
}

/** An open function. */
export interface FunctionAccess {
  readonly address: string;
  /** The file with whose last duplicate the kernel forbids the function to use memory. */
  readonly fd: number;
  readonly config: ConfigSpace;
  /** The file that configuration space is in, and where it begins there. */
  readonly configFile: { readonly fd: number; readonly position: number };
  /** Whether the kernel has a way to reset it. */
  readonly resettable: boolean;
  /** What there is of BAR `number`; no bytes when there is none, no areas when it cannot be mapped. */
  region(number: number): Region;
  /** Resets it. Throws `NO_RESET`, and the way's own errors. */
  reset(): void;
  interrupts(): InterruptSource;
  /** Why it is not this process's any more, if it is not: then nothing may be done to it. */
  absence(): string | undefined;
  /** Tells what the kernel says, until it is closed; `look` is called as often as it is looked, for whatever else there is. */
  watch(news: FunctionNews, look: () => void): { close(): void };
  close(): void;
}

/** How often the kernel's messages about a function are looked for, in milliseconds. */
export const LOOK_MS = 100;
