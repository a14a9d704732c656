/** Received packets that are not one good buffer each: in several, damaged, or of lengths that cannot be. Data half. */
import type { Adder } from '../../arena/counters.ts';
import { indexAccess } from '../../arena/order.ts';
import { makeJudge, OVERSIZE, RUNT } from '../../arena/segments.ts';
import { type Burst, MORE, type QueueContext, type QueuePlan } from '../../queue.ts';
import { BLOCK, type Block } from './block.ts';
import { GBE_RX, type GbeQueueData } from './data.ts';
import { RX_STATUS } from './regs.ts';

const { head: HEAD, dropping: DROPPING } = BLOCK;

/** An rx queue's way with such packets. */
export interface RxPackets {
  /**
   * Takes the packet that begins at index `at` of the ring, where the device has `left` descriptors, into `burst` from entry
   * `kept` on; or frees and counts it, whole, when it may not pass. Returns how many descriptors that were: 0 when it
   * stays in the ring, for a burst with more room, or because the device has not finished it.
   */
  takePacket(burst: Burst, kept: number, at: number, left: number): number;
  /** What that put into the burst: frames, and their bytes. */
  readonly taken: Int32Array;
}

/** Makes it for the queue of `plan`. */
export function makeRxPackets(
  plan: QueuePlan,
  { memory, stack }: QueueContext,
  { words, owner }: Block,
  count: Adder,
): RxPackets {
  const { size, ring, statusWord, lengthWord, errors, buffer, segments } = plan.data as GbeQueueData;
  const { load } = indexAccess();
  const mask = size - 1;
  const desc = new Int32Array(memory, ring, size * 4);
  const judge = makeJudge(plan.maxLength, buffer, segments);
  const lengths = new Int32Array(segments);
  const parts = new Int32Array(size);
  const taken = new Int32Array(2);
  const statusOf = (index: number): number => load(desc, (((index & mask) << 2) + statusWord) | 0);

  /** Frees the buffers of `n` descriptors from index `at` on, and counts them as `reason`. */
  function drop(at: number, n: number, reason: number): number {
    for (let i = 0; i < n; i = (i + 1) | 0) parts[i] = owner[(at + i) & mask];
    // Out of the ring first: should this thread be ended here, they are lost until they are swept, not had twice.
    words[HEAD] = (at + n) | 0;
    stack.give(parts, 0, n);
    count(reason, n);
    return n;
  }

  /** Reads the lengths of the packet of `n` descriptors from index `at` on; returns its bytes, or what `Judge` does. */
  function measure(at: number, n: number): number {
    let longest = 0;
    for (let i = 0; i < n; i = (i + 1) | 0) {
      const length = desc[((((at + i) & mask) << 2) + lengthWord) | 0] & 0xffff;
      lengths[i] = (length + (i < n - 1 ? MORE : 0)) | 0;
      if (length > longest) longest = length;
    }
    return longest > buffer ? INVALID : judge(lengths, 0, n);
  }

  return {
    taken,
    takePacket(burst, kept, at, left) {
      taken[0] = 0;
      taken[1] = 0;
      // Descriptors of it that are done, up to the one that says it is the last.
      let n = 0;
      let status = 0;
      while (n < left && (status & RX_STATUS.EOP) === 0) {
        status = statusOf((at + n) | 0);
        if ((status & RX_STATUS.DD) === 0) break;
        n = (n + 1) | 0;
      }
      const whole = (status & plainEnd) === plainEnd;
      if (words[DROPPING] !== 0) {
        if (whole) words[DROPPING] = 0;
        return drop(at, n, GBE_RX.oversize);
      }
      if (!whole) {
        // The last one may come yet, unless there are more than a packet may have, or the device has no further buffers.
        if (n < segments && n < left) return 0;
        words[DROPPING] = 1;
        return drop(at, n, GBE_RX.oversize);
      }
      if ((status & errors) !== 0) return drop(at, n, GBE_RX.errors);
      const room = (burst.size - kept) | 0;
      if (n > segments || n > burst.size) return drop(at, n, GBE_RX.oversize);
      const bytes = measure(at, n);
      if (bytes < 0)
        return drop(at, n, bytes === RUNT ? GBE_RX.runt : bytes === OVERSIZE ? GBE_RX.oversize : GBE_RX.invalid);
      if (n > room) return 0;
      for (let i = 0; i < n; i = (i + 1) | 0) {
        burst.offsets[(kept + i) | 0] = owner[(at + i) & mask];
        burst.lengths[(kept + i) | 0] = lengths[i];
      }
      taken[0] = n;
      taken[1] = bytes;
      return n;
    },
  };
}

const plainEnd = RX_STATUS.DD | RX_STATUS.EOP;
/** As `RUNT` and `OVERSIZE`. */
const INVALID = -3;
