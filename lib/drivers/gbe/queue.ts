/**
 * Queues of Intel's gigabit controllers: rings of descriptors of 16 bytes between a head, which is the device's, and a tail, which
 * is ours (82574 ch. 7, 82576 ch. 7). Data half.
 * Nothing is copied: a descriptor points at a frame. The device takes descriptors in order and tells by a bit in each, or in
 * the last of a run, that it is done; its registers are not read. It is believed about nothing else: a length must
 * be of a packet that fits. Which frame a descriptor has is in the queue's block, which the device does not see; it is
 * written in an order that leaves no frame with two owners when the worker is ended in between.
 */
import type { QueueContext } from '../../queue.ts';
import { makeRxQueue } from './rx-queue.ts';
import { makeTxQueue } from './tx-queue.ts';
import { warmUpWith } from './warm-up.ts';

export { makeRxQueue, makeTxQueue };

/** Plays the device on scratch rings: see `warm-up.ts`. */
export function warmUp(context: QueueContext): void {
  warmUpWith(context, makeRxQueue, makeTxQueue);
}
