/** Packets that must not reach the wire. Data half. */
import type { Adder } from '../../arena/counters.ts';
import { type FrameStack, MIN_FRAME_LENGTH, type QueuePlan, TX } from '../../queue.ts';
import { VIRTIO_TX } from './data.ts';

/** Makes the function that frees a packet of a length or at a place that cannot be, and counts why. */
export function makeRefuse({ maxLength }: QueuePlan, stack: FrameStack, count: Adder) {
  return (offset: number, length: number): void => {
    stack.push(offset);
    if (length < MIN_FRAME_LENGTH) count(TX.runt, 1);
    else if (length > maxLength) count(TX.oversize, 1);
    else count(VIRTIO_TX.invalid, 1);
  };
}
