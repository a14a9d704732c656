/** linecard: a user-space packet engine for Node.js. The public names. */
export { Arena, type ArenaOptions, type Segment } from './arena/arena.ts';
export { FramePool, type FramePoolOptions } from './arena/frame-pool.ts';
export { asMemoryDevio, MEMORY_API, type MemoryDevio, memoryDevio } from './devios/memory.ts';
export { Engine, openEngine } from './engine/engine.ts';
export type { Ledger } from './engine/ledger.ts';
export type { JobStats, RunEvents, RunResult, RunStats, WorkerStats } from './engine/results.ts';
export type { Run } from './engine/run.ts';
export type { AppSpec, Assignment, EngineOptions, JobSpec, PollMode } from './engine/types.ts';
export * from './errors.ts';
export { defineClass, defineDevio, defineDriver } from './framework/define.ts';
export { Framework, type FrameworkListener, type FrameworkOptions } from './framework/framework.ts';
export * from './framework/types.ts';
export { Port } from './pktio/port.ts';
export * from './pktio/types.ts';
export * from './queue.ts';
