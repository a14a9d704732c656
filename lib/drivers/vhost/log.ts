/**
 * The dirty log (vhost-user.rst, "Migration"): one bit per page of 4 KiB of guest memory, set after the page was written.
 * The front end clears bits while we set others: each is set atomically. Data half.
 */
import { BLOCK } from './block.ts';
import type { Regions } from './regions.ts';

export interface DirtyLog {
  /** Marks the pages of `length` bytes at a guest address. Pages beyond the log are not the front end's. */
  mark(low: number, high: number, length: number): void;
  /** Marks what of the used ring was written: `length` bytes at `at` bytes from its start. */
  markUsed(at: number, length: number): void;
}

/** Makes the log that `block` names while its `log` flag is set. */
export function makeDirtyLog(block: Int32Array, regions: Regions): DirtyLog {
  const mark = (low: number, high: number, length: number): void => {
    const bytes = regions.u8[block[BLOCK.logWindow]];
    const start = block[BLOCK.log];
    const size = block[BLOCK.logBytes];
    // Guest addresses in memory are below 2^53: page numbers are exact.
    const address = (high >>> 0) * 0x1_0000_0000 + (low >>> 0);
    const first = Math.floor(address / 4096);
    const last = Math.floor((address + length - 1) / 4096);
    for (let page = first; page <= last; page++) {
      const at = Math.floor(page / 8);
      if (at >= size) return;
      Atomics.or(bytes, start + at, 1 << (page & 7));
    }
  };
  return {
    mark,
    markUsed(at, length) {
      const high = block[BLOCK.usedHigh];
      if (high < 0) return;
      const low = block[BLOCK.usedLow];
      const sum = (low + at) | 0;
      mark(sum, sum >>> 0 < low >>> 0 ? (high + 1) | 0 : high, length);
    },
  };
}
