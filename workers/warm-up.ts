/**
 * Warm-up: before a worker goes live, the code of its queues runs on scratch memory through every branch. A branch
 * that is first met under traffic costs milliseconds, because V8 throws the optimised code away.
 */
import { makeCounters } from '../lib/arena/counters.ts';
import type { QueueContext, QueueModule } from '../lib/queue.ts';

/** Bytes of a worker's scratch area, in an engine with `frames` frames. */
export const scratchBytes = (frames: number): number => 512 * 1024 + 4 * frames;

/** More than a stack keeps, so that moves from and to the depot are warm too. */
const SCRATCH_FRAMES = 2048;
const ROUNDS = 300;

/**
 * The worker's context with memory to play with. The stack is the worker's own: a second one would be a second closure
 * at every call of `take` and `give`, and V8 would compile the queues for either, without knowing their views.
 */
export function scratchContext(
  context: QueueContext,
  area: { readonly offset: number; readonly bytes: number },
): QueueContext {
  const { memory } = context;
  let next = area.offset;
  const scratch = (bytes: number, align = 64): number => {
    const at = Math.ceil(next / align) * align;
    next = at + bytes;
    if (next > area.offset + area.bytes) throw new RangeError('a warm-up needs more than the scratch area has');
    new Uint8Array(memory, at, bytes).fill(0);
    return at;
  };
  return { ...context, scratch, kick: () => {}, kickTx: () => 0, kickRx: () => 0 };
}

function warmStack({ stack, pool }: QueueContext): void {
  // Other workers run meanwhile: no more than an eighth of all frames is kept from them.
  const most = Math.min(SCRATCH_FRAMES, Math.max(64, pool.count >>> 3));
  const offsets = new Int32Array(most);
  for (let round = 0; round < ROUNDS; round++) {
    let n = 0;
    for (let got = 1; got > 0 && n < most - 32; n += got) got = stack.take(offsets, n, 32);
    // By bursts, and now and then one by one: either overflows into the depot.
    while (n > 32 && round % 8 !== 0) {
      stack.give(offsets, n - 32, n);
      n -= 32;
    }
    for (let i = 0; i < n; i++) stack.push(offsets[i]);
    for (n = 0; n < 8; n++) {
      offsets[n] = stack.pop();
      if (offsets[n] === 0) break;
    }
    for (let i = 0; i < n; i++) stack.push(offsets[i]);
  }
}

/** A counter carries once in four billion: here, often enough that V8 knows the way. */
function warmCounters({ memory, scratch }: QueueContext): void {
  const at = scratch(64);
  const words = new Int32Array(memory, at, 2);
  const count = makeCounters(memory, at, 1);
  for (let round = 0; round < 20_000; round++) {
    if (round % 16 === 0) words[0] = -1;
    count(0, 32);
  }
}

/** Runs every module's warm-up. */
export function warmUp(context: QueueContext, modules: Iterable<QueueModule>): void {
  warmCounters(context);
  warmStack(context);
  for (const module of modules) module.warmUp(context);
}
