/** One packet into a guest's buffers: a header of ours, then its bytes. Data half. */
import { type Burst, MORE } from '../../queue.ts';
import { NET_HDR, NET_HDR_BYTES } from '../../virtio/net.ts';
import { BLOCK, RING_F } from './block.ts';
import { copyBytes } from './copy.ts';
import { HEADER_WORDS } from './header.ts';
import type { World } from './world.ts';

/** What `give` answers. */
export const NOT_MAPPED = -1;
export const NO_BYTES = -2;

export interface Scatter {
  /** Bytes that are still to be written. */
  left: number;
  /** True until something was written. */
  untouched(): boolean;
  /** The packet of `length` bytes in entry `at` of a burst comes next; it may go on in those that follow. */
  begin(burst: Burst, at: number, length: number): void;
  /**
   * Writes as much of the packet as fits into the buffer of `length` (unsigned) bytes at a guest address. Returns how
   * many bytes that were, or `NOT_MAPPED` or `NO_BYTES`.
   */
  give(low: number, high: number, length: number): number;
  /** Says in the header how many buffers the packet has (§5.1.6.4.1). */
  finish(buffers: number): void;
}

/** Makes it. */
export function makeScatter(world: World): Scatter {
  const { regions, words, bytes, block, log } = world;
  // Everything is zero in a header of ours, but the number of buffers.
  const header = new Int32Array(HEADER_WORDS);
  const headerBytes = new Uint8Array(header.buffer);
  headerBytes[NET_HDR.numBuffers] = 1;
  // Where the two bytes of num_buffers went: the header may be spread over any descriptors.
  const at = new Int32Array(2);
  const window = new Int32Array(2);
  // The entry at hand, where its next byte is, and how many are left of it.
  let offsets: Int32Array = header;
  let lengths: Int32Array = header;
  let entry = 0;
  let from = 0;
  let rest = 0;
  let written = 0;

  function put(length: number): void {
    const to8 = regions.u8[regions.window];
    const to32 = regions.i32[regions.window];
    let to = regions.offset;
    let n = 0;
    for (; written < NET_HDR_BYTES && n < length; n = (n + 1) | 0) {
      to8[to] = headerBytes[written];
      if (written >= NET_HDR.numBuffers) {
        at[written - NET_HDR.numBuffers] = to;
        window[written - NET_HDR.numBuffers] = regions.window;
      }
      written = (written + 1) | 0;
      to = (to + 1) | 0;
    }
    written = (written + length - n) | 0;
    // Each turn ends a frame or the bytes.
    for (let left = (length - n) | 0; left > 0; ) {
      if (rest === 0) enter((entry + 1) | 0);
      const some = left < rest ? left : rest;
      copyBytes(to8, to32, to, bytes, words, from, some);
      to = (to + some) | 0;
      from = (from + some) | 0;
      rest = (rest - some) | 0;
      left = (left - some) | 0;
    }
  }

  function enter(next: number): void {
    entry = next;
    from = offsets[next];
    rest = lengths[next] & ~MORE;
  }

  const scatter: Scatter = {
    left: 0,
    untouched: () => written === 0,
    begin(burst, at, length) {
      offsets = burst.offsets;
      lengths = burst.lengths;
      enter(at);
      written = 0;
      scatter.left = (length + NET_HDR_BYTES) | 0;
    },
    give(low, high, length) {
      if (length === 0) return NO_BYTES;
      const logged = (block[BLOCK.flags] & RING_F.log) !== 0;
      const most = length >>> 0 < scatter.left ? length : scatter.left;
      let left = most;
      // Each turn ends a region or the buffer.
      while (left > 0) {
        if (!regions.find(low, high)) return NOT_MAPPED;
        const n = left < regions.room ? left : regions.room;
        put(n);
        if (logged) log.mark(low, high, n);
        left = (left - n) | 0;
        const next = (low + n) | 0;
        if (next >>> 0 < low >>> 0) high = (high + 1) | 0;
        low = next;
      }
      scatter.left = (scatter.left - most) | 0;
      return most;
    },
    finish(buffers) {
      if (buffers === 1) return;
      regions.u8[window[0]][at[0]] = buffers & 0xff;
      regions.u8[window[1]][at[1]] = buffers >>> 8;
    },
  };
  return scatter;
}
