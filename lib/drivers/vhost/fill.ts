/** The short way out: header and packet into one buffer at a multiple of four, large enough for both. Data half. */
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { copyWords } from './copy.ts';
import type { World } from './world.ts';

/** Third word of the header: csum_offset 0, num_buffers 1. The others are zero (virtio 1.2 §5.1.6.4.1). */
const ONE_BUFFER = 1 << 16;

export interface Fill {
  /** Buffers are in that window from now on. */
  into(window: number): void;
  /** Writes the header to byte `at` of the window, the packet of `length` bytes at arena offset `from` after it, and nothing else. */
  put(at: number, from: number, length: number): void;
}

/** Makes it. */
export function makeFill({ regions, words, longs, bytes }: World): Fill {
  let to32 = regions.i32[0];
  let to64 = regions.i64[0];
  let to8 = regions.u8[0];
  return {
    into(window) {
      to32 = regions.i32[window];
      to64 = regions.i64[window];
      to8 = regions.u8[window];
    },
    put(at, from, length) {
      let h = at >>> 2;
      to32[h] = 0;
      h = (h + 1) | 0;
      to32[h] = 0;
      h = (h + 1) | 0;
      to32[h] = ONE_BUFFER;
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
    },
  };
}
