/** What devices behind an IOMMU see of memory, whichever of its interfaces the kernel has for it. Control half. */
import { refused } from './failures.ts';

/** Addresses that may be mapped: first and last. */
export interface IovaRange {
  readonly start: bigint;
  readonly end: bigint;
}

/** A function that has been opened: its device file, the caller's. */
export interface OpenedFunction {
  readonly fd: number;
  /** Lets go of what is behind the file. It has been closed. */
  readonly leave: () => void;
}

/** Addresses that the functions opened in it share. Without any of them nothing can be mapped. */
export interface AddressSpace {
  /** Opens the function at `address`, of IOMMU group `group`. Throws as the kernel's interface has it. */
  open(address: string, group: number): OpenedFunction;
  /**
   * Lets the functions read and write `memory` (whole pages) at address `iova`. Throws `ADDRESS_REFUSED` when part of that is
   * reserved, and `DMA_MAP`.
   */
  map(iova: number, memory: Uint8Array): void;
  /** Takes what was mapped away from them, whole. Throws `DMA_UNMAP`: then they may still reach some of it. */
  unmap(iova: number, bytes: number): void;
  /** Ends it; its functions have been closed. */
  close(): void;
}

/** Throws `ADDRESS_REFUSED` unless one of `ranges` has all of the `bytes` at `iova`. Undefined: the kernel does not say. */
export function requireFree(ranges: readonly IovaRange[] | undefined, iova: number, bytes: number): void {
  const [first, last] = [BigInt(iova), BigInt(iova + bytes) - 1n];
  if (ranges === undefined || ranges.some(({ start, end }) => start <= first && last <= end)) return;
  const list = ranges.map(({ start, end }) => `0x${start.toString(16)} to 0x${end.toString(16)}`).join(', ');
  throw refused(
    'ADDRESS_REFUSED',
    `${bytes} bytes at 0x${iova.toString(16)} for devices`,
    `the IOMMU has ${list || 'none'}; what is between is reserved`,
    'ask for fewer or smaller frames, which may lie elsewhere',
  );
}

/** Throws `DMA_UNMAP` unless the kernel has taken away all of the `bytes`: it tells how many, and may call fewer a success. */
export function requireUnmapped(bytes: number, taken: bigint): void {
  if (taken === BigInt(bytes)) return;
  throw refused(
    'DMA_UNMAP',
    `taking ${bytes} bytes of memory from devices`,
    `the kernel took ${taken}`,
    'the memory stays theirs until they are closed: close the port',
  );
}
