/**
 * Warm-up: before a worker goes live, the code of its queues runs on scratch memory through every branch. A branch
 * that is first met under traffic costs milliseconds, because V8 throws the optimised code away.
 */
import { makeFrameStack } from '../lib/arena/frame-stack.ts';
import { DEPOT, type FramesPlan, stackBytes } from '../lib/arena/frames-plan.ts';
import type { Clock, FrameStack, QueueContext, QueueModule } from '../lib/queue.ts';

/** Bytes of a worker's scratch area. */
export const SCRATCH_BYTES = 512 * 1024;

/** More than a stack keeps, so that moves from and to the depot are warm too. */
const SCRATCH_FRAMES = 2048;
/** Frames that really exist in the scratch area; the stacks name each of them many times. */
const REAL_FRAMES = 16;
const ROUNDS = 300;

/** The scratch area as a worker of its own: its own frames, its own stack. */
export function scratchContext(
  memory: SharedArrayBuffer,
  area: { readonly offset: number; readonly bytes: number },
  geometry: FramesPlan,
  clock: Clock,
): QueueContext {
  let next = area.offset;
  const scratch = (bytes: number, align = 64): number => {
    const at = Math.ceil(next / align) * align;
    next = at + bytes;
    if (next > area.offset + area.bytes) return area.offset; // too small a scratch area: warm-up rings overlap, harmlessly
    new Uint8Array(memory, at, bytes).fill(0);
    return at;
  };
  const base = scratch(REAL_FRAMES * geometry.frameSize, geometry.frameSize);
  const plan = { ...geometry, base, count: SCRATCH_FRAMES, depot: scratch(stackBytes(SCRATCH_FRAMES)), owners: 0 };
  const depot = new Int32Array(memory, plan.depot, DEPOT.first + SCRATCH_FRAMES);
  for (let i = 0; i < SCRATCH_FRAMES; i++) depot[DEPOT.first + i] = base + (i % REAL_FRAMES) * geometry.frameSize;
  depot[DEPOT.top] = SCRATCH_FRAMES;
  const stack = makeFrameStack(memory, plan, scratch(stackBytes(SCRATCH_FRAMES)), 0);
  return { memory, stack, clock, scratch, kick: () => {}, kickTx: () => 0, kickRx: () => 0 };
}

function warmStack(stack: FrameStack): void {
  const offsets = new Int32Array(SCRATCH_FRAMES);
  for (let round = 0; round < ROUNDS; round++) {
    let n = 0;
    while (n < SCRATCH_FRAMES - 32) n += stack.take(offsets, n, 32);
    while (n > 32) {
      stack.give(offsets, n - 32, n);
      n -= 32;
    }
    for (let i = 0; i < n; i++) stack.push(offsets[i]);
    for (let i = 0; i < 8; i++) offsets[i] = stack.pop();
    for (let i = 0; i < 8; i++) stack.push(offsets[i]);
  }
}

/** Runs every module's warm-up. */
export function warmUp(context: QueueContext, modules: Iterable<QueueModule>): void {
  warmStack(context.stack);
  for (const module of modules) module.warmUp(context);
}
