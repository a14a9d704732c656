/** The short way in: a packet out of one buffer, header and all, into a frame. Data half. */
import { MIN_FRAME_LENGTH } from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { PLAIN_MASK } from './header.ts';
import type { World } from './world.ts';

/** Bytes that are copied at a time: what is behind a packet's end, up to here, is copied too. */
const STEP = 32;

export interface Drain {
  /** No region is known yet. */
  attach(): void;
  /** Remembers the region that was looked up last: buffers are mostly in one. */
  remember(): void;
  /**
   * Takes the packet in the buffer of `length` bytes at a guest address into the frame that begins at `frame`. Returns the
   * offset at which it begins there, or 0 when this packet needs the careful way; nothing has been done then.
   */
  take(low: number, high: number, length: number, frame: number): number;
}

/** Makes it. */
export function makeDrain({ plan, context, regions, longs }: World): Drain {
  // A packet begins up to four bytes later than its frame does, so that both sides have the same alignment, and its copy
  // ends up to a step later: the frames must have room for that.
  const room = context.stack.room - 4 - STEP;
  const most = plan.maxLength < room ? plan.maxLength : room;
  let window = 0;
  let regionLow = 0;
  let regionHigh = 0;
  let regionBytes = 0;
  let delta = 0;

  /** Makes what takes a packet at `at` of window `w`: V8 knows both views as constants, by base and length. */
  function makeCopy(w: number): (at: number, bytes: number, frame: number) => number {
    const view32 = regions.i32[w];
    const view64 = regions.i64[w];
    return (at, bytes, frame) => {
      if ((view32[at >>> 2] & PLAIN_MASK) !== 0) return 0;
      const place = (frame + ((at + NET_HDR_BYTES) & 4)) | 0;
      let s = (at + NET_HDR_BYTES) >>> 3;
      let t = place >>> 3;
      for (const end = (place + bytes + 7) >>> 3; t < end; t = (t + 4) | 0) {
        longs[t] = view64[s];
        longs[(t + 1) | 0] = view64[(s + 1) | 0];
        longs[(t + 2) | 0] = view64[(s + 2) | 0];
        longs[(t + 3) | 0] = view64[(s + 3) | 0];
        s = (s + 4) | 0;
      }
      return place;
    };
  }

  const copies = regions.i32.map((_, w) => makeCopy(w));
  // Nearly all memory is in the first window: a constant, too.
  const copyFirst = copies[0];

  return {
    attach() {
      regionBytes = 0;
    },
    remember() {
      window = regions.window;
      regionLow = regions.low;
      regionHigh = regions.high;
      delta = regions.delta;
      // Not the last bytes of a window: a step must not go beyond.
      const rest = regions.i32[window].length * 4 - STEP - ((regionLow + delta) | 0);
      regionBytes = regions.bytes < rest ? regions.bytes : rest;
    },
    take(low, high, length, frame) {
      const bytes = (length - NET_HDR_BYTES) | 0;
      const into = (low - regionLow) | 0;
      const at = (low + delta) | 0;
      if (
        high !== regionHigh ||
        bytes < MIN_FRAME_LENGTH ||
        bytes > most ||
        into < 0 ||
        into > ((regionBytes - length) | 0) ||
        (at & 3) !== 0
      ) {
        return 0;
      }
      return window === 0 ? copyFirst(at, bytes, frame) : copies[window](at, bytes, frame);
    },
  };
}
