import { beforeEach, expect, it } from 'vitest';
import type { FramePool } from '../../lib/arena/frame-pool.ts';
import { makeFrameStack } from '../../lib/arena/frame-stack.ts';
import { DEPOT, type FramesPlan, OWNER, stackBytes } from '../../lib/arena/frames-plan.ts';
import { nowhere, put } from '../../lib/engine/depot.ts';

const COUNT = 64;
const SIZE = 512;
const BASE = 0x1_0000;

let memory: SharedArrayBuffer;
let pool: FramePool;
const offsets = (...indices: number[]) => indices.map((i) => BASE + i * SIZE);
const depot = () => new Int32Array(memory, pool.plan.depot, DEPOT.first + COUNT);

function makePool(owners: number): void {
  memory = new SharedArrayBuffer(8192);
  const plan: FramesPlan = { base: BASE, count: COUNT, frameSize: SIZE, headroom: 64, depot: 64, owners };
  pool = { plan } as FramePool;
  depot().set(offsets(...Array.from({ length: COUNT }, (_, i) => i)), DEPOT.first);
  depot()[DEPOT.top] = COUNT;
}
beforeEach(() => makePool(0));

it('nothing is nowhere in a full depot', () => {
  expect([...nowhere(memory, pool, [])]).toEqual([]);
});

it('what was taken and is with nobody is nowhere, wherever in its frame the offset points', () => {
  const stack = makeFrameStack(memory, pool.plan, 64 + stackBytes(COUNT) + 64, 0);
  const taken = new Int32Array(10);
  stack.take(taken, 0, 10);
  const own = new Int32Array(memory, 64 + stackBytes(COUNT) + 64, DEPOT.first + COUNT);
  const stacked = own.subarray(DEPOT.first, DEPOT.first + own[DEPOT.top]);
  const ring = [taken[0], taken[1] + 17, taken[2] - 64];
  const missing = nowhere(memory, pool, [stacked, ring]);
  expect([...missing].sort((a, b) => a - b)).toEqual([...taken.subarray(3)].map((o) => o - 64).sort((a, b) => a - b));
});

it('offsets of elsewhere are nobody’s', () => {
  depot()[DEPOT.top] = COUNT - 1;
  expect([...nowhere(memory, pool, [[0, 5, BASE - 1, BASE + COUNT * SIZE]])]).toEqual(offsets(COUNT - 1));
});

it('what is put back is there, by the start of its frame, and no more is nowhere', () => {
  depot()[DEPOT.top] = COUNT - 3;
  put(memory, pool, [BASE + 61 * SIZE + 100, ...offsets(62, 63)]);
  expect(depot()[DEPOT.top]).toBe(COUNT);
  expect([...depot().subarray(DEPOT.first + 61, DEPOT.first + 64)]).toEqual(offsets(61, 62, 63));
  expect([...nowhere(memory, pool, [])]).toEqual([]);
});

it('what is put back is free in the owner map', () => {
  makePool(4096);
  const map = new Uint8Array(memory, 4096, COUNT).fill(OWNER.held);
  depot()[DEPOT.top] = COUNT - 2;
  put(memory, pool, offsets(62, 63));
  expect([map[61], map[62], map[63]]).toEqual([OWNER.held, OWNER.free, OWNER.free]);
});
