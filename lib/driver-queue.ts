/** `linecard/driver-queue`: what data halves of drivers outside of this package are built of. It may be used in a worker. */
export { type Adder, makeCounters } from './arena/counters.ts';
export { sumLengths } from './arena/lengths.ts';
export { type IndexAccess, indexAccess, storeFence } from './arena/order.ts';
export {
  makeRingConsumer,
  makeRingProducer,
  RING,
  type RingConsumer,
  type RingProducer,
  ringBytes,
} from './arena/ring.ts';
export * from './queue.ts';
