/** Descriptors anywhere in a guest's memory: indirect tables (virtio 1.2 §2.7.5.3, §2.8.19). Data half. */
import { DESC_BYTES } from '../../virtio/ring.ts';
import { copyBytes } from './copy.ts';
import type { Regions } from './regions.ts';

/** What `next` of a chain answers. */
export const CHAIN = { bad: -1, end: 0, buffer: 1 } as const;

/** The buffers of one chain, one after the other. */
export interface Chain {
  /** The buffer that `next` came to: guest address, bytes (unsigned), and whether it is the device's to write. */
  low: number;
  high: number;
  length: number;
  writable: boolean;
  /** Goes to the next buffer. Each descriptor is read once, into words of ours. */
  next(): number;
}

/** Copies descriptors of an indirect table, wherever it lies, into four words. */
export interface Table {
  /** The descriptor that was read: low and high half of the address, length, and two 16-bit fields. */
  readonly words: Int32Array;
  /** Starts at a table's guest address; false when its length is none that a ring of `size` descriptors can have. */
  open(low: number, high: number, length: number, size: number): boolean;
  /** Number of descriptors. */
  count: number;
  /** Reads descriptor `index`; false when it is not in the guest's memory. */
  read(index: number): boolean;
}

/** Makes it. A table may be at any address and lie in several regions. */
export function makeTable(regions: Regions): Table {
  const words = new Int32Array(4);
  const bytes = new Uint8Array(words.buffer);
  let low = 0;
  let high = 0;
  const table: Table = {
    words,
    count: 0,
    open(addressLow, addressHigh, length, size) {
      low = addressLow;
      high = addressHigh;
      table.count = length >>> 4;
      return length !== 0 && (length & (DESC_BYTES - 1)) === 0 && table.count <= size;
    },
    read(index) {
      const by = index * DESC_BYTES;
      let at = (low + by) | 0;
      let top = at >>> 0 < low >>> 0 ? (high + 1) | 0 : high;
      for (let done = 0; done < DESC_BYTES; ) {
        if (!regions.find(at, top)) return false;
        const rest = DESC_BYTES - done;
        const n = regions.room < rest ? regions.room : rest;
        copyBytes(bytes, words, done, regions.u8[regions.window], regions.i32[regions.window], regions.offset, n);
        done = (done + n) | 0;
        at = (at + n) | 0;
        if (n < rest && at === 0) top = (top + 1) | 0;
      }
      return true;
    },
  };
  return table;
}
