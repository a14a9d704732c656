/** Queues of the `pair` driver: a loop's, whose two ends lie in different ports. Data half. */
export { makeRxQueue, makeTxQueue, warmUp } from '../loop/queue.ts';
