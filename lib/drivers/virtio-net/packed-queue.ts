/** Queues of the `virtio-net` driver over packed virtqueues (virtio 1.2 §2.8). Data half: see `split-queue.ts`. */
import type { QueueContext } from '../../queue.ts';
import { makeRxQueue } from './packed-rx.ts';
import { makeTxQueue } from './packed-tx.ts';
import { warmUpWith } from './warm-up.ts';

export { makeRxQueue, makeTxQueue };

/** Plays the device on scratch rings: see `warm-up.ts`. */
export function warmUp(context: QueueContext): void {
  warmUpWith(context, true, makeRxQueue, makeTxQueue);
}
