/**
 * A worker's free frames: a stack of its own, and bulk moves from and to the depot that all workers share. Data half.
 * The stack has room for every frame of the pool, so giving a frame back never fails.
 */
import type { FrameStack } from '../queue.ts';
import { DEPOT, type FramesPlan } from './frames-plan.ts';

/**
 * Frames moved between a worker's stack and the depot at a time: enough to make the lock cheap, and little of the pool.
 */
const bulkOf = (frames: number): number => Math.max(1, Math.min(256, frames >>> 6));

/** Makes worker `worker`'s stack at arena offset `stack`; `frames` already there (after a restart) are kept. */
export function makeFrameStack(memory: SharedArrayBuffer, plan: FramesPlan, stack: number, worker: number): FrameStack {
  const own = new Int32Array(memory, stack, DEPOT.first + plan.count);
  const depot = new Int32Array(memory, plan.depot, DEPOT.first + plan.count);
  const first = DEPOT.first;
  const topAt = DEPOT.top;
  const headroom = plan.headroom;
  const start = ~(plan.frameSize - 1);
  const self = worker + 1;
  const bulk = bulkOf(plan.count);
  // A worker keeps at most this many spare frames; more go to the depot, where the others find them.
  const keep = 4 * bulk;

  // The lock is only tried, never waited for: a worker that does not get it does without until its next burst.
  const lock = (): boolean => Atomics.compareExchange(depot, DEPOT.lock, 0, self) === 0;
  const unlock = (): void => {
    Atomics.store(depot, DEPOT.lock, 0);
  };

  function fetch(count: number): void {
    if (!lock()) return;
    const have = depot[topAt];
    const n = Math.min(have, Math.max(count, bulk));
    const top = own[topAt];
    for (let i = 0; i < n; i = (i + 1) | 0) own[(first + top + i) | 0] = depot[(first + have - 1 - i) | 0];
    // Out of the depot first: should this thread be ended here, the frames are lost until they are swept, not had twice.
    depot[topAt] = (have - n) | 0;
    own[topAt] = (top + n) | 0;
    unlock();
  }

  function spill(): void {
    if (!lock()) return;
    const have = depot[topAt];
    const top = own[topAt];
    const n = (top - keep + bulk) | 0;
    for (let i = 0; i < n; i = (i + 1) | 0) depot[(first + have + i) | 0] = own[(first + top - 1 - i) | 0];
    own[topAt] = (top - n) | 0;
    depot[topAt] = (have + n) | 0;
    unlock();
  }

  function ask(count: number): number {
    if (own[topAt] < count) fetch((count - own[topAt]) | 0);
    return own[topAt];
  }

  return {
    room: plan.frameSize - headroom,
    ask,
    pop() {
      if (own[topAt] === 0 && ask(1) === 0) return 0;
      const top = (own[topAt] - 1) | 0;
      own[topAt] = top;
      return (own[(first + top) | 0] + headroom) | 0;
    },
    push(offset) {
      const top = own[topAt];
      own[(first + top) | 0] = offset & start;
      own[topAt] = (top + 1) | 0;
      if (top >= keep) spill();
    },
    take(offsets, at, count) {
      let n = count;
      if (own[topAt] < n) n = Math.min(n, ask(n));
      // In the order in which they were given, so that a burst that comes back looks as it did. By eights: V8 checks the
      // stack and loads both views' base for every turn of a loop.
      const from = (first + own[topAt] - n) | 0;
      const eights = n & ~7;
      let i = 0;
      for (; i < eights; i = (i + 8) | 0) {
        const t = (at + i) | 0;
        const f = (from + i) | 0;
        offsets[t] = (own[f] + headroom) | 0;
        offsets[(t + 1) | 0] = (own[(f + 1) | 0] + headroom) | 0;
        offsets[(t + 2) | 0] = (own[(f + 2) | 0] + headroom) | 0;
        offsets[(t + 3) | 0] = (own[(f + 3) | 0] + headroom) | 0;
        offsets[(t + 4) | 0] = (own[(f + 4) | 0] + headroom) | 0;
        offsets[(t + 5) | 0] = (own[(f + 5) | 0] + headroom) | 0;
        offsets[(t + 6) | 0] = (own[(f + 6) | 0] + headroom) | 0;
        offsets[(t + 7) | 0] = (own[(f + 7) | 0] + headroom) | 0;
      }
      for (; i < n; i = (i + 1) | 0) offsets[(at + i) | 0] = (own[(from + i) | 0] + headroom) | 0;
      own[topAt] = (own[topAt] - n) | 0;
      return n;
    },
    give(offsets, from, to) {
      const n = (to - from) | 0;
      const base = (first + own[topAt]) | 0;
      const eights = n & ~7;
      let i = 0;
      for (; i < eights; i = (i + 8) | 0) {
        const t = (base + i) | 0;
        const f = (from + i) | 0;
        own[t] = offsets[f] & start;
        own[(t + 1) | 0] = offsets[(f + 1) | 0] & start;
        own[(t + 2) | 0] = offsets[(f + 2) | 0] & start;
        own[(t + 3) | 0] = offsets[(f + 3) | 0] & start;
        own[(t + 4) | 0] = offsets[(f + 4) | 0] & start;
        own[(t + 5) | 0] = offsets[(f + 5) | 0] & start;
        own[(t + 6) | 0] = offsets[(f + 6) | 0] & start;
        own[(t + 7) | 0] = offsets[(f + 7) | 0] & start;
      }
      for (; i < n; i = (i + 1) | 0) own[(base + i) | 0] = offsets[(from + i) | 0] & start;
      const top = (own[topAt] + n) | 0;
      own[topAt] = top;
      if (top > keep) spill();
    },
  };
}
