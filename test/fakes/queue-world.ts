/** What surrounds a driver's queues in a worker: memory, frames, a clock, an eventfd that only notes who signals it. */
import { readCounters } from '../../lib/arena/counters.ts';
import type { Burst, QueueContext, QueuePlan } from '../../lib/queue.ts';
import { FakeClock, type FakeStack, fakeStack } from './pcap-queues.ts';

/** Where frames begin, how large they are, and how many bytes of them a packet may have. */
export const FRAMES = { base: 0x10_0000, size: 2048, room: 1792 } as const;

/** A worker's surroundings. */
export interface QueueWorld {
  readonly memory: SharedArrayBuffer;
  readonly context: QueueContext;
  readonly stack: FakeStack;
  /** Descriptors that were signalled, in order. */
  readonly kicks: number[];
  /** Zeroed memory. */
  allocate(bytes: number): number;
  /** A plan for a queue without a driver of its own. */
  plan(direction: 'rx' | 'tx', names: readonly string[], parts: Partial<QueuePlan>): QueuePlan;
  counters(plan: QueuePlan): Record<string, bigint>;
}

/** Makes a world with `frames` frames. Their bytes are not there: these drivers do not look at them. */
export function makeWorld(frames = 256): QueueWorld {
  const memory = new SharedArrayBuffer(FRAMES.base);
  const stack = fakeStack(FRAMES.base, frames, FRAMES.size, FRAMES.room);
  const kicks: number[] = [];
  let next = 64;
  const allocate = (bytes: number): number => {
    const at = next;
    next = Math.ceil((next + bytes) / 64) * 64;
    if (next > memory.byteLength) throw new Error('the world is too small');
    return at;
  };
  return {
    memory,
    stack,
    kicks,
    allocate,
    context: {
      memory,
      pool: stack.pool,
      stack,
      clock: new FakeClock(),
      kick: (fd) => void kicks.push(fd),
      kickTx: () => 0,
      kickRx: () => 0,
      scratch: allocate,
    },
    plan: (direction, names, parts) => ({
      module: '',
      direction,
      port: 'test',
      queue: 0,
      counters: allocate(256),
      counterNames: names,
      fd: -1,
      maxLength: 1518,
      data: {},
      ...parts,
    }),
    counters: (plan) => readCounters(memory, plan.counters, plan.counterNames),
  };
}

/** Makes a burst; its lengths are `length` to begin with. */
export function makeBurst(size: number, length = 60): Burst {
  return { size, offsets: new Int32Array(size), lengths: new Int32Array(size).fill(length), count: 0 };
}
