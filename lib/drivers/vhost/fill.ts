/** The short way out: header and packet into one buffer at a multiple of four, large enough for both. Data half. */
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { copyWords } from './copy.ts';
import type { World } from './world.ts';

/** Third word of the header: csum_offset 0, num_buffers 1. The others are zero (virtio 1.2 §5.1.6.4.1). */
const ONE_BUFFER = 1 << 16;

export interface Fill {
  /** No region is known yet. With `logged` none ever is: each page that is written is marked on the careful way. */
  attach(logged: boolean): void;
  /** Remembers the region that was looked up last: buffers are mostly in one. */
  remember(): void;
  /**
   * Writes the header and the packet of `length` bytes at arena offset `from` to the buffer of `room` bytes at a guest
   * address, and not a byte more. False when that needs the careful way; nothing has been done then.
   */
  put(low: number, high: number, room: number, from: number, length: number): boolean;
}

/** Makes it. */
export function makeFill({ regions, words, longs, bytes }: World): Fill {
  let window = 0;
  let regionLow = 0;
  let regionHigh = 0;
  let regionBytes = 0;
  let delta = 0;
  let never = false;

  /** Makes what writes a packet at `at` of window `w`: V8 knows all views as constants, by base and length. */
  function makeCopy(w: number): (at: number, from: number, length: number) => void {
    const to32 = regions.i32[w];
    const to64 = regions.i64[w];
    const to8 = regions.u8[w];
    return (at, from, length) => {
      const h = at >>> 2;
      // Only if it is another one: a guest on another cpu reads the header and does not write it, so that its cache line
      // can stay with both.
      if ((to32[h] | to32[(h + 1) | 0] | (to32[(h + 2) | 0] ^ ONE_BUFFER)) !== 0) {
        to32[h] = 0;
        to32[(h + 1) | 0] = 0;
        to32[(h + 2) | 0] = ONE_BUFFER;
      }
      let t = (at + NET_HDR_BYTES) | 0;
      let s = from;
      const end = (t + length) | 0;
      if (((t ^ s) & 7) === 0) {
        if ((t & 4) !== 0) {
          to32[t >>> 2] = words[s >>> 2];
          t = (t + 4) | 0;
          s = (s + 4) | 0;
        }
        let d = t >>> 3;
        let f = s >>> 3;
        const last = end >>> 3;
        for (const stop = (last - 3) | 0; d < stop; d = (d + 4) | 0) {
          to64[d] = longs[f];
          to64[(d + 1) | 0] = longs[(f + 1) | 0];
          to64[(d + 2) | 0] = longs[(f + 2) | 0];
          to64[(d + 3) | 0] = longs[(f + 3) | 0];
          f = (f + 4) | 0;
        }
        for (; d < last; d = (d + 1) | 0) {
          to64[d] = longs[f];
          f = (f + 1) | 0;
        }
        t = d << 3;
        s = f << 3;
        if (((end - t) | 0) >= 4) {
          to32[t >>> 2] = words[s >>> 2];
          t = (t + 4) | 0;
          s = (s + 4) | 0;
        }
      } else {
        const count = (end - t) >>> 2;
        copyWords(to32, t >>> 2, words, s >>> 2, count);
        t = (t + (count << 2)) | 0;
        s = (s + (count << 2)) | 0;
      }
      for (; t < end; t = (t + 1) | 0) {
        to8[t] = bytes[s];
        s = (s + 1) | 0;
      }
    };
  }

  const copies = regions.i32.map((_, w) => makeCopy(w));
  // Nearly all memory is in the first window: a constant, too.
  const copyFirst = copies[0];

  return {
    attach(logged) {
      never = logged;
      regionBytes = 0;
    },
    remember() {
      window = regions.window;
      regionLow = regions.low;
      regionHigh = regions.high;
      regionBytes = never ? 0 : regions.bytes;
      delta = regions.delta;
    },
    put(low, high, room, from, length) {
      const into = (low - regionLow) | 0;
      const at = (low + delta) | 0;
      if (
        high !== regionHigh ||
        room < ((length + NET_HDR_BYTES) | 0) ||
        into < 0 ||
        into > ((regionBytes - room) | 0) ||
        (at & 3) !== 0
      ) {
        return false;
      }
      if (window === 0) copyFirst(at, from, length);
      else copies[window](at, from, length);
      return true;
    },
  };
}
