/**
 * Packets of several descriptors that are sent (af_xdp.rst, "Multi-Buffer Support"), off the path of ordinary ones. Data
 * half. The kernel takes a packet with one descriptor that it does not like for invalid, all of it: we look first.
 */
import { makeCounters } from '../../arena/counters.ts';
import { makeJudge, packetEnd, RUNT } from '../../arena/segments.ts';
import { type Burst, MORE, type QueueContext, type QueuePlan, TX } from '../../queue.ts';
import { FRAME, placeOf, XDP_TX } from './places.ts';
import { XDP_MAX_SEGMENTS, XDP_PKT_CONTD } from './regs.ts';

/** A tx queue's way with packets of several descriptors. */
export interface TxSegments {
  /**
   * Puts the packet that begins at entry `at` of `burst` into the tx ring from index `head` on; or frees and counts it,
   * whole, when it may not pass. Returns the entry after it, or `at` when it has more frames than `room`.
   */
  putPacket(burst: Burst, at: number, end: number, head: number, room: number): number;
  /** What that put into the ring: frames, and their bytes. */
  readonly put: Int32Array;
  /** Frames of the packet that the kernel took out of the ring last, `next` being the index of the next. */
  lastTaken(next: number): number;
}

/** Makes it for the queue of `plan`. */
export function makeTxSegments(plan: QueuePlan, { memory, stack }: QueueContext): TxSegments {
  const { data } = plan;
  const { base, umemBytes, frameShift, segments } = data;
  const count = makeCounters(memory, plan.counters);
  const words = new Int32Array(memory);
  const map = new Uint8Array(memory, data.map, data.frames);
  const tx = placeOf(data, 'tx');
  const first = tx.first >>> 2;
  const mask = tx.size - 1;
  const frameSize = 1 << frameShift;
  const inFrame = frameSize - 1;
  const judge = makeJudge(plan.maxLength, frameSize, segments);
  const put = new Int32Array(2);

  /** Claims the frame at `offset`, which is to have `length` bytes; false when it is none of ours, too short, or not to be had. */
  function claim(offset: number, length: number): boolean {
    const address = (offset - base) | 0;
    const frame = address >>> frameShift;
    if (address >>> 0 >= umemBytes || map[frame] === FRAME.sending || map[frame] === FRAME.claimed) return false;
    map[frame] = FRAME.claimed;
    return (((address & inFrame) + length) | 0) <= frameSize;
  }

  function claimAll({ offsets, lengths }: Burst, from: number, stop: number): boolean {
    let good = true;
    for (let i = from; i < stop; i = (i + 1) | 0) good = claim(offsets[i], lengths[i] & ~MORE) && good;
    return good;
  }

  /** Frees what is claimed of frames [from, stop), and counts all of them as `reason`. */
  function refuse({ offsets }: Burst, from: number, stop: number, reason: number): void {
    for (let i = from; i < stop; i = (i + 1) | 0) {
      const address = (offsets[i] - base) | 0;
      if (address >>> 0 >= umemBytes || map[address >>> frameShift] !== FRAME.claimed) continue;
      map[address >>> frameShift] = FRAME.none;
      stack.push(offsets[i]);
    }
    count(reason, (stop - from) | 0);
  }

  function write({ offsets, lengths }: Burst, at: number, n: number, head: number): void {
    for (let i = 0; i < n; i = (i + 1) | 0) {
      const address = (offsets[(at + i) | 0] - base) | 0;
      const length = lengths[(at + i) | 0];
      map[address >>> frameShift] = FRAME.sending;
      const d = (first + (((head + i) & mask) << 2)) | 0;
      words[d] = address;
      words[(d + 1) | 0] = 0;
      words[(d + 2) | 0] = length & ~MORE;
      words[(d + 3) | 0] = length >= MORE ? XDP_PKT_CONTD : 0;
    }
  }

  return {
    put,
    putPacket(burst, at, end, head, room) {
      put.fill(0);
      const stop = packetEnd(burst.lengths, at, end);
      const n = (stop - at) | 0;
      const bytes = judge(burst.lengths, at, stop);
      if (bytes >= 0 && n > room) return at;
      const good = claimAll(burst, at, stop);
      if (bytes < 0) refuse(burst, at, stop, bytes === RUNT ? TX.runt : TX.oversize);
      else if (!good) refuse(burst, at, stop, XDP_TX.invalid);
      else {
        write(burst, at, n, head);
        put[0] = n;
        put[1] = bytes;
      }
      return stop;
    },
    lastTaken(next) {
      const goesOn = (i: number) => (words[(first + ((i & mask) << 2) + 3) | 0] & XDP_PKT_CONTD) !== 0;
      let n = 1;
      while (n < XDP_MAX_SEGMENTS && goesOn((next - 1 - n) | 0)) n = (n + 1) | 0;
      return n;
    },
  };
}
