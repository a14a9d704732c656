import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { makeFrameStack } from '../../lib/arena/frame-stack.ts';
import { DEPOT, type FramesPlan, stackBytes } from '../../lib/arena/frames-plan.ts';
import { ringBytes } from '../../lib/arena/ring.ts';
import type { FrameStack } from '../../lib/queue.ts';
import { startThread } from '../fakes/threads.ts';

const BASE = 0x10_0000;
const FRAME = 2048;
const HEADROOM = 256;

interface Pool {
  readonly memory: SharedArrayBuffer;
  readonly plan: FramesPlan;
  /** Where worker i's stack is. */
  readonly stacks: readonly number[];
  /** The first byte that nobody uses. */
  readonly end: number;
  /** Offsets in the depot and on all stacks. */
  free(): number[];
  lock(by: number): void;
}

/** A pool of `count` frames for `workers` stacks. The frames themselves have no bytes: no stack looks at those. */
function makePool(count: number, workers: number, extra = 0): Pool {
  const bytes = Math.ceil(stackBytes(count) / 64) * 64;
  const depot = 64;
  const stacks = Array.from({ length: workers }, (_, i) => depot + bytes * (i + 1));
  const end = depot + bytes * (workers + 1);
  const memory = new SharedArrayBuffer(end + extra);
  const plan = { base: BASE, count, frameSize: FRAME, headroom: HEADROOM, depot, owners: 0 };
  const words = (at: number) => new Int32Array(memory, at, DEPOT.first + count);
  for (let i = 0; i < count; i++) words(depot)[DEPOT.first + i] = BASE + i * FRAME;
  words(depot)[DEPOT.top] = count;
  const contents = (at: number) => [...words(at).subarray(DEPOT.first, DEPOT.first + (words(at)[DEPOT.top] as number))];
  return {
    memory,
    plan,
    stacks,
    end,
    free: () => [depot, ...stacks].flatMap(contents),
    lock: (by) => {
      words(depot)[DEPOT.lock] = by;
    },
  };
}

const frameOf = (offset: number): number => (offset - BASE) >>> 11;

type Step = {
  readonly worker: number;
  readonly n: number;
  readonly how: 'pop' | 'push' | 'take' | 'give' | 'ask' | 'restart';
};

describe('frame stacks', () => {
  it('together have every frame once, whatever the workers do', () => {
    const workers = 3;
    const step = fc.record<Step>({
      worker: fc.nat(workers - 1),
      n: fc.nat(200),
      how: fc.constantFrom('pop', 'push', 'take', 'take', 'give', 'give', 'ask', 'restart'),
    });
    fc.assert(
      fc.property(fc.constantFrom(1, 40, 300, 5000), fc.array(step, { maxLength: 120 }), (count, steps) => {
        const pool = makePool(count, workers);
        const make = (i: number) => makeFrameStack(pool.memory, pool.plan, pool.stacks[i] as number, i);
        const stacks = pool.stacks.map((_, i) => make(i));
        const held = stacks.map((): number[] => []);
        const room = new Int32Array(256);
        for (const { worker, n, how } of steps) {
          const stack = stacks[worker] as FrameStack;
          const mine = held[worker] as number[];
          if (how === 'pop') {
            const offset = stack.pop();
            if (offset !== 0) mine.push(offset);
          } else if (how === 'push') {
            const offset = mine.pop();
            // Any offset in the frame is the frame.
            if (offset !== undefined) stack.push(offset - HEADROOM + n * 10);
          } else if (how === 'take') {
            const got = stack.take(room, 3, n);
            expect(got).toBeLessThanOrEqual(n);
            mine.push(...room.subarray(3, 3 + got));
          } else if (how === 'give') {
            const gone = mine.splice(0, n);
            room.set(gone, 1);
            stack.give(room, 1, 1 + gone.length);
          } else if (how === 'ask') {
            const ready = stack.ask(n);
            expect(stack.take(room, 0, Math.min(ready, 200))).toBe(Math.min(ready, 200));
            mine.push(...room.subarray(0, Math.min(ready, 200)));
          } else stacks[worker] = make(worker);
          for (const offset of mine) expect((offset - BASE) % FRAME).toBe(HEADROOM);
          const all = [...pool.free(), ...held.flat()].map(frameOf).sort((a, b) => a - b);
          expect(all).toEqual(Array.from({ length: count }, (_, i) => i));
        }
      }),
      { numRuns: 60 },
    );
  });

  it('say how much room a packet has', () => {
    const { memory, plan, stacks } = makePool(4, 1);
    expect(makeFrameStack(memory, plan, stacks[0] as number, 0).room).toBe(FRAME - HEADROOM);
  });

  it.each([64, 1024, 16_384])('of a pool of %d leave most of it to the others, however much one is given', (count) => {
    const pool = makePool(count, 2);
    const [giver, taker] = pool.stacks.map((at, i) => makeFrameStack(pool.memory, pool.plan, at, i)) as [
      FrameStack,
      FrameStack,
    ];
    const offsets = new Int32Array(32);
    // What the taker takes, the giver gives: a generator at one end of a pair and a sink at the other.
    for (let i = 0; i < 20_000; i++) {
      const n = taker.take(offsets, 0, 32);
      expect(n).toBeGreaterThan(0);
      giver.give(offsets, 0, n);
    }
    let rest = 0;
    while (taker.pop() !== 0) rest++;
    expect(rest).toBeGreaterThanOrEqual((count * 15) / 16);
  });

  it('do without while another worker has the lock: less is taken, what is given is kept', () => {
    const pool = makePool(1024, 1);
    const stack = makeFrameStack(pool.memory, pool.plan, pool.stacks[0] as number, 0);
    const offsets = new Int32Array(1024);
    pool.lock(7);
    expect(stack.take(offsets, 0, 32)).toBe(0);
    expect(stack.pop()).toBe(0);
    expect(stack.ask(1)).toBe(0);
    pool.lock(0);
    expect(stack.take(offsets, 0, 1024)).toBe(1024);
    pool.lock(7);
    stack.give(offsets, 0, 1000);
    for (let i = 1000; i < 1024; i++) stack.push(offsets[i] as number);
    expect(stack.ask(0)).toBe(1024);
    pool.lock(0);
    // The next gift goes with all that was kept too long.
    stack.pop();
    stack.push(offsets[0] as number);
    expect(stack.ask(0)).toBeLessThan(100);
    expect(pool.free()).toHaveLength(1024);
  });

  it('lose and double no frame in three threads that fight over the depot', async () => {
    const workers = 3;
    const count = 600; // few: they are often short of frames, and their spare ones often too many
    const ringSize = 128;
    const ring = Math.ceil(ringBytes(ringSize) / 64) * 64;
    const { end } = makePool(count, workers);
    const pool = makePool(count, workers, workers * ring + count + 128);
    const owners = end + workers * ring;
    const leftAt = Math.ceil((owners + count) / 64) * 64;
    const common = { memory: pool.memory, plan: pool.plan, moves: 700_000, owners, ringSize, leftAt, workers };
    const threads = pool.stacks.map((stack, self) =>
      startThread(import.meta.url, './threads/stack.mjs', {
        ...common,
        self,
        stack,
        out: end + self * ring,
        incoming: end + ((self + workers - 1) % workers) * ring,
      }),
    );
    const results = (await Promise.all(threads.map(({ result }) => result))) as {
      errors: number;
      short: number;
      taken: number;
    }[];
    for (const { errors, short, taken } of results) {
      expect(errors).toBe(0);
      expect(taken).toBeGreaterThanOrEqual(700_000);
      expect(short).toBeGreaterThan(0);
    }
    expect(
      pool
        .free()
        .map(frameOf)
        .sort((a, b) => a - b),
    ).toEqual(Array.from({ length: count }, (_, i) => i));
  });
});
