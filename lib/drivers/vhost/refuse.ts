/** Packets that must not reach the guest, told by their length. Data half. */
import type { Adder } from '../../arena/counters.ts';
import { packetEnd } from '../../arena/segments.ts';
import { MIN_FRAME_LENGTH, MORE, TX } from '../../queue.ts';

/**
 * Makes the function that counts why the packet at entry `i` does not pass; of several segments, before entry `to`, all
 * of it. Returns its last entry.
 */
export function makeRefuse(count: Adder) {
  return (lengths: Int32Array, i: number, to: number): number => {
    if (lengths[i] >= MORE) {
      const stop = packetEnd(lengths, i, to);
      count(TX.oversize, (stop - i) | 0);
      return (stop - 1) | 0;
    }
    count(lengths[i] < MIN_FRAME_LENGTH ? TX.runt : TX.oversize, 1);
    return i;
  };
}
