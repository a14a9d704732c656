/** What the queues of a vhost port have in common, split or packed: block, counters, the peer's memory. Data half. */
import { type Adder, makeCounters } from '../../arena/counters.ts';
import type { QueueContext, QueuePlan } from '../../queue.ts';
import { BLOCK } from './block.ts';
import { type DirtyLog, makeDirtyLog } from './log.ts';
import { makeRegions, type Regions } from './regions.ts';

/** What a ring is made of. */
export interface World {
  readonly plan: QueuePlan;
  readonly context: QueueContext;
  readonly count: Adder;
  /** The queue's control block. */
  readonly block: Int32Array;
  readonly regions: Regions;
  readonly log: DirtyLog;
  /** The arena. */
  readonly words: Int32Array;
  readonly longs: BigInt64Array;
  readonly bytes: Uint8Array;
}

/** Opens the memory that `plan` names. */
export function makeWorld(plan: QueuePlan, context: QueueContext): World {
  const { memory } = context;
  const block = new Int32Array(memory, plan.data.block, BLOCK.words);
  const regions = makeRegions(memory, plan.data.block, plan.peer ?? []);
  return {
    plan,
    context,
    count: makeCounters(memory, plan.counters),
    block,
    regions,
    log: makeDirtyLog(block, regions),
    longs: new BigInt64Array(memory),
    words: new Int32Array(memory),
    bytes: new Uint8Array(memory),
  };
}

/** The ring cannot be believed any more: nothing is done with it until it is set up anew, and the front end is told. */
export function fail({ block, context }: World, reason: number): void {
  block[BLOCK.broken] = reason;
  if (block[BLOCK.err] >= 0) context.kick(block[BLOCK.err]);
}
