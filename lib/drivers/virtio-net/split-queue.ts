/**
 * Queues of the `virtio-net` driver over split virtqueues (virtio 1.2 §2.7). Data half.
 * Nothing is copied: a descriptor points at a frame, the header lies right before the packet. The device is believed
 * about nothing: an id must be of a buffer that it has, a length of a packet that fits into it. Which frame an id has is
 * in the queue's block, which the device does not see; it is written in an order that leaves no frame with two owners
 * when the worker is ended in between.
 */
import type { QueueContext } from '../../queue.ts';
import { makeRxQueue } from './split-rx.ts';
import { makeTxQueue } from './split-tx.ts';
import { warmUpWith } from './warm-up.ts';

export { makeRxQueue, makeTxQueue };

/** Plays the device on scratch rings: see `warm-up.ts`. */
export function warmUp(context: QueueContext): void {
  warmUpWith(context, false, makeRxQueue, makeTxQueue);
}
