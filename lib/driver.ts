/** `linecard/driver`: what control halves of drivers outside of this package are built of. */
export { counterBytes, readCounter, readCounters } from './arena/counters.ts';
export { RING, ringBytes, ringContents } from './arena/ring.ts';
export { asMemoryDevio, MEMORY_API, type MemoryDevio, memoryDevio, type Shared } from './devios/memory.ts';
export { MemoryDevice, memoryDriver } from './drivers/memory-device.ts';
export {
  emptyHandle,
  L2_OVERHEAD,
  macOf,
  memoryCapability,
  memoryDefaults,
  memoryLink,
  planQueue,
  type QueueSpec,
  queueModule,
  times,
} from './pktio/memory-port.ts';
export { Port } from './pktio/port.ts';
export { addCounters, subtractCounters } from './pktio/stats.ts';
export * from './pktio/types.ts';
