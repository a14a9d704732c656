/** Queues of the `virtio-net` driver over packed virtqueues (virtio 1.2 §2.8). Data half: see `split-queue.ts`. */
export { makeRxQueue } from './packed-rx.ts';
export { makeTxQueue } from './packed-tx.ts';
