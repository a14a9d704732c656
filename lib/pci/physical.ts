/**
 * Physical addresses of arena memory, by `/proc/self/pagemap` (Linux, Documentation/admin-guide/mm/pagemap.rst): for devices
 * without an IOMMU. Only of huge pages, which the kernel does not move, and in which a ring lies in one piece. Control half.
 */
import { closeSync, openSync, readSync } from 'node:fs';
import { DevioError } from '../errors.ts';
import { errnoName } from '../system-error.ts';

/** What pagemap counts in, and what memory is made of here. */
const PAGE = 4096;
export const HUGE_PAGE = 2 * 1024 * 1024;

/** An entry: 64 bits per page. */
const ENTRY = { bytes: 8, frame: (1n << 55n) - 1n, present: 1n << 63n } as const;

/** Reads entries of the process's pages: `bytes` from `position` on; returns how many bytes. Throws the system's error. */
export type Pagemap = (bytes: Uint8Array, position: number) => number;

/** This process's own. */
export const ownPagemap: Pagemap = (bytes, position) => {
  const fd = openSync('/proc/self/pagemap', 'r');
  try {
    return readSync(fd, bytes, 0, bytes.length, position);
  } finally {
    closeSync(fd);
  }
};

/** Memory whose addresses are asked for: see `Segment` of the arena. */
interface Memory {
  readonly offset: number;
  readonly length: number;
  readonly huge: boolean;
}

function refuse(code: string, offset: number, why: string, fix: string, cause?: unknown): DevioError {
  const what = `physical address of arena offset ${offset}`;
  return new DevioError(code, { what, why, fix }, cause === undefined ? {} : { cause });
}

/** Physical addresses of an arena. */
export class PhysicalMemory {
  private readonly base: number;
  private readonly pagemap: Pagemap;

  /** `base`: the arena's address in this process. */
  constructor(base: number, pagemap: Pagemap = ownPagemap) {
    this.base = base;
    this.pagemap = pagemap;
  }

  /**
   * The addresses of the huge pages that `memory` begins and lies in, in order. Throws DevioError `NOT_HUGE`, `PAGEMAP`,
   * `NO_PHYSICAL`.
   */
  pages({ offset, length, huge }: Memory): bigint[] {
    if (!huge || (this.base + offset) % HUGE_PAGE !== 0) {
      throw refuse('NOT_HUGE', offset, 'it is in ordinary pages, which the kernel moves', 'use --hugepages need');
    }
    return Array.from({ length: Math.ceil(length / HUGE_PAGE) }, (_, i) => this.page(offset + i * HUGE_PAGE));
  }

  private page(offset: number): bigint {
    const first = this.frame(offset);
    // A page that is not what it should be would have the device write to somebody else's memory.
    const last = this.frame(offset + HUGE_PAGE - PAGE);
    const address = first * BigInt(PAGE);
    if (address % BigInt(HUGE_PAGE) !== 0n || (last - first + 1n) * BigInt(PAGE) !== BigInt(HUGE_PAGE)) {
      throw refuse('NO_PHYSICAL', offset, 'it does not begin a huge page', 'this is a fault of linecard: report it');
    }
    return address;
  }

  /** Number of the physical page at `offset`. */
  private frame(offset: number): bigint {
    const bytes = new Uint8Array(ENTRY.bytes);
    let count = 0;
    try {
      count = this.pagemap(bytes, ((this.base + offset) / PAGE) * ENTRY.bytes);
    } catch (cause) {
      const why = `/proc/self/pagemap cannot be read (${errnoName(cause) ?? String(cause)})`;
      throw refuse('PAGEMAP', offset, why, 'be root; a container may hide it', cause);
    }
    const entry = new DataView(bytes.buffer).getBigUint64(0, true);
    if (count < ENTRY.bytes || (entry & ENTRY.present) === 0n) {
      throw refuse('NO_PHYSICAL', offset, 'no page is there', 'this is a fault of linecard: report it');
    }
    const frame = entry & ENTRY.frame;
    if (frame !== 0n) return frame;
    // To whoever may not know them, the kernel says 0 for all addresses: a device would write there.
    throw refuse('PAGEMAP', offset, 'the kernel does not tell it to this process', 'it takes CAP_SYS_ADMIN: be root');
  }
}
