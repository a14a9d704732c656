/**
 * Received packets of several descriptors (af_xdp.rst, "Multi-Buffer Support"), off the path of ordinary ones. Data half.
 * The kernel fills a frame of each before the next, and publishes whole packets; a look at the ring may end inside one.
 */
import { makeCounters } from '../../arena/counters.ts';
import { makeJudge, OVERSIZE, RUNT } from '../../arena/segments.ts';
import { type Burst, MORE, type QueueContext, type QueuePlan } from '../../queue.ts';
import { fold, sum } from '../../wire/checksum.ts';
import { finishChecksum } from '../../wire/partial-checksum.ts';
import { FRAME, placeOf, XDP_RX } from './places.ts';
import { XDP_PKT_CONTD } from './regs.ts';

/** Longer than any frame. */
const TOO_LONG = MORE - 1;

/** An rx queue's way with packets of several descriptors. */
export interface RxSegments {
  /**
   * Takes the packet that begins at index `at` of the rx ring, with `ready` descriptors, into `burst` from entry `kept`
   * on; or frees and counts it, whole, when it may not pass. Returns how many descriptors that were: 0 when it stays in
   * the ring, for a burst with more room, or because the kernel has not finished it.
   */
  takePacket(burst: Burst, kept: number, at: number, ready: number): number;
  /** What that put into the burst: frames, and their bytes. */
  readonly taken: Int32Array;
}

/** Makes it for the queue of `plan`. */
export function makeRxSegments(plan: QueuePlan, { memory, stack }: QueueContext): RxSegments {
  const { data } = plan;
  const { base, umemBytes, frameShift, segments, fillChecksums } = data;
  const count = makeCounters(memory, plan.counters);
  const words = new Int32Array(memory);
  const map = new Uint8Array(memory, data.map, data.frames);
  const rx = placeOf(data, 'rx');
  const first = rx.first >>> 2;
  const mask = rx.size - 1;
  const frameSize = 1 << frameShift;
  const inFrame = frameSize - 1;
  const judge = makeJudge(plan.maxLength, frameSize, segments);
  const parts = new Int32Array(rx.size);
  const lengths = new Int32Array(rx.size);
  const taken = new Int32Array(2);
  const halves = { i32: words, u16: new Uint16Array(memory) };

  /** How many of `ready` descriptors from index `at` on are one packet; one more than `ready` when it goes on behind them. */
  function packetSize(at: number, ready: number): number {
    let n = 0;
    while (n < ready && (words[(first + (((at + n) & mask) << 2) + 3) | 0] & XDP_PKT_CONTD) !== 0) n = (n + 1) | 0;
    return (n + 1) | 0;
  }

  /** Takes the frames of `n` descriptors from index `at` on back from the kernel, into `parts`; returns how many it had. */
  function takeParts(at: number, n: number): number {
    let had = 0;
    for (let i = 0; i < n; i = (i + 1) | 0) {
      const d = (first + (((at + i) & mask) << 2)) | 0;
      const address = words[d];
      const high = words[(d + 1) | 0];
      const length = words[(d + 2) | 0];
      const frame = address >>> frameShift;
      if (high !== 0 || address >>> 0 >= umemBytes || map[frame] !== FRAME.posted) continue;
      map[frame] = FRAME.none;
      parts[had] = (base + address) | 0;
      const fits =
        length >>> 0 <= frameSize && (((address & inFrame) + length) | 0) <= frameSize && (address & 3) === 0;
      lengths[had] = (fits ? length : TOO_LONG) + (i < n - 1 ? MORE : 0);
      had = (had + 1) | 0;
    }
    return had;
  }

  /** See `Later`: of the packet in `parts`. */
  function later(bytes: number, odd: boolean): number {
    let total = 0;
    let swapped = odd;
    for (let i = 1, left = bytes; left > 0; i = (i + 1) | 0) {
      const length = Math.min(left, lengths[i] & ~MORE);
      const part = sum(words, parts[i], length);
      total = fold((total + (swapped ? ((part & 0xff) << 8) | (part >>> 8) : part)) | 0);
      swapped = swapped !== ((length & 1) !== 0);
      left = (left - length) | 0;
    }
    return total;
  }

  return {
    taken,
    takePacket(burst, kept, at, ready) {
      taken.fill(0);
      const size = packetSize(at, ready);
      // Longer than a packet may be, it goes, finished or not: the ring may have no room for its end.
      if (size > ready && ready <= segments) return 0;
      const n = size > ready ? ready : size;
      const room = (burst.size - kept) | 0;
      if (n > room && kept > 0) return 0;
      const had = takeParts(at, n);
      const bytes = n === size && n <= room ? judge(lengths, 0, had) : OVERSIZE;
      if (had < n || bytes < 0) {
        stack.give(parts, 0, had);
        count(had < n ? XDP_RX.invalid : bytes === RUNT ? XDP_RX.runt : XDP_RX.oversize, n);
        return n;
      }
      if (fillChecksums !== 0) {
        const first = lengths[0] & ~MORE;
        finishChecksum(halves, parts[0], first, (bytes - first) | 0, later);
      }
      for (let i = 0; i < n; i = (i + 1) | 0) {
        burst.offsets[(kept + i) | 0] = parts[i];
        burst.lengths[(kept + i) | 0] = lengths[i];
      }
      taken[0] = n;
      taken[1] = bytes;
      return n;
    },
  };
}
