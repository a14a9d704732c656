/** The pool's frames as the engine counts them, while nobody works with them. Control half. */
import type { FramePool } from '../arena/frame-pool.ts';
import { DEPOT, OWNER } from '../arena/frames-plan.ts';

const wordsOf = (memory: SharedArrayBuffer, { plan }: FramePool) =>
  new Int32Array(memory, plan.depot, DEPOT.first + plan.count);

/** Offsets of the frames that are neither in the depot nor with one of `holders` (in any form of an offset). */
export function nowhere(memory: SharedArrayBuffer, pool: FramePool, holders: Iterable<Iterable<number>>): Int32Array {
  const { base, count, frameSize } = pool.plan;
  const depot = wordsOf(memory, pool);
  const seen = new Uint8Array(count);
  const mark = (offset: number) => {
    const index = Math.floor((offset - base) / frameSize);
    if (index >= 0 && index < count) seen[index] = 1;
  };
  for (let i = 0; i < depot[DEPOT.top]; i++) mark(depot[DEPOT.first + i]);
  for (const holder of holders) for (const offset of holder) mark(offset);
  const missing: number[] = [];
  for (let i = 0; i < count; i++) if (seen[i] === 0) missing.push(base + i * frameSize);
  return Int32Array.from(missing);
}

/** Gives frames that nobody has to the depot. */
export function put(memory: SharedArrayBuffer, pool: FramePool, offsets: Iterable<number>): void {
  const { base, frameSize, owners } = pool.plan;
  const depot = wordsOf(memory, pool);
  const u8 = new Uint8Array(memory);
  let top = depot[DEPOT.top];
  for (const offset of offsets) {
    const index = Math.floor((offset - base) / frameSize);
    depot[DEPOT.first + top] = base + index * frameSize;
    top++;
    if (owners !== 0) u8[owners + index] = OWNER.free;
  }
  Atomics.store(depot, DEPOT.top, top);
}
