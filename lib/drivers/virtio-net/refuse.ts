/** Packets that must not reach the wire. Data half. */
import type { Adder } from '../../arena/counters.ts';
import { packetEnd } from '../../arena/segments.ts';
import { type Burst, type FrameStack, MIN_FRAME_LENGTH, MORE, type QueuePlan, TX } from '../../queue.ts';
import { VIRTIO_TX } from './data.ts';

/**
 * Makes the function that frees the packet at entry `i`, of a length or at a place that cannot be, and counts why; of
 * several segments, before entry `end`, all of it. Returns its last entry.
 */
export function makeRefuse({ maxLength }: QueuePlan, stack: FrameStack, count: Adder) {
  return ({ offsets, lengths }: Burst, i: number, end: number): number => {
    const length = lengths[i];
    if (length >= MORE) {
      const stop = packetEnd(lengths, i, end);
      stack.give(offsets, i, stop);
      count(TX.oversize, (stop - i) | 0);
      return (stop - 1) | 0;
    }
    stack.push(offsets[i]);
    if (length < MIN_FRAME_LENGTH) count(TX.runt, 1);
    else if (length > maxLength) count(TX.oversize, 1);
    else count(VIRTIO_TX.invalid, 1);
    return i;
  };
}
