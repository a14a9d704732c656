/** The rings of a `loop`, or of one direction of a `pair`: filled by tx queues, emptied by rx queues. Control half. */
import { makeCounters, readCounter } from '../../arena/counters.ts';
import { RING, ringContents } from '../../arena/ring.ts';
import type { Shared } from '../../devios/memory.ts';
import type { QueueHandle } from '../../pktio/types.ts';
import { type QueuePlan, TX } from '../../queue.ts';
import { ringAt } from './layout.ts';

/** A block of rings, seen by whoever sets it up and clears it away. */
export class Rings {
  readonly fd: number;
  readonly size: number;
  private readonly memory: SharedArrayBuffer;
  private readonly block: number;

  constructor(memory: SharedArrayBuffer, { offset, fd }: Shared, size: number) {
    this.memory = memory;
    this.block = offset;
    this.fd = fd;
    this.size = size;
  }

  /** Says how many tx queues there are now: whoever receives looks at as many rings. */
  use(count: number): void {
    Atomics.store(new Int32Array(this.memory, this.block, 1), 0, count);
  }

  /** Data for rx queue `queue` of `queues`. `endless`: what it receives came from its own port. */
  rxData(queue: number, queues: number, endless: boolean): Record<string, number> {
    return { block: this.block, size: this.size, first: queue, step: queues, endless: Number(endless) };
  }

  /** Data for tx queue `queue`. */
  txData(queue: number): Record<string, number> {
    return { ring: ringAt(this.block, queue, this.size), size: this.size };
  }

  /** The tx queue of `plan` as its port sees it. */
  txHandle(plan: QueuePlan): QueueHandle {
    const { memory } = this;
    const { ring, size } = plan.data;
    const indices = new Int32Array(memory, ring, RING.first);
    const count = makeCounters(memory, plan.counters);
    const origin = indices[RING.consumer];
    const counted = (index: number) => Number(BigInt.asIntN(32, readCounter(memory, plan.counters, index)));
    const settle = () => {
      // What has left the ring was taken by the other side (the consumer index says how much) or thrown out by us.
      const left = (indices[RING.consumer] - origin) | 0;
      count(TX.completed, (left - counted(TX.stopped) - counted(TX.completed)) | 0);
    };
    return {
      plan,
      held: () => ringContents(memory, ring, size),
      settle,
      clear: () => {
        settle();
        count(TX.stopped, (indices[RING.producer] - indices[RING.consumer]) | 0);
        indices[RING.consumer] = indices[RING.producer];
      },
    };
  }
}
