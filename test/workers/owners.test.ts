import { fc, test } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { type FramesPlan, OWNER } from '../../lib/arena/frames-plan.ts';
import { WorkerError } from '../../lib/errors.ts';
import type { FrameStack, RxQueue, TxQueue } from '../../lib/queue.ts';
import { makeBurst } from '../../workers/frames.ts';
import { makeOwners, ownedRx, ownedStack, ownedTx, ringStack } from '../../workers/owners.ts';

const COUNT = 16;
const SIZE = 2048;
const BASE = 0x1_0000;
const plan: FramesPlan = { base: BASE, count: COUNT, frameSize: SIZE, headroom: 256, depot: 0, owners: 64 };

/** A pool, a ring of one's own making, and the owner map over both, for two workers. */
function makeWorld() {
  const memory = new SharedArrayBuffer(4096);
  const free = Array.from({ length: COUNT }, (_, i) => BASE + i * SIZE);
  const plain: FrameStack = {
    room: SIZE - plan.headroom,
    ask: () => free.length,
    pop: () => (free.pop() ?? -plan.headroom) + plan.headroom,
    push: (offset) => void free.push(offset & ~(SIZE - 1)),
    take(offsets, at, count) {
      const n = Math.min(count, free.length);
      for (let i = 0; i < n; i++) offsets[at + i] = this.pop();
      return n;
    },
    give(offsets, from, to) {
      for (let i = from; i < to; i++) this.push(offsets[i]);
    },
  };
  const ring: number[] = [];
  const rawRx = { fd: 5, patient: true, arm: () => true, disarm() {}, quiesce() {} };
  const rx: RxQueue = {
    ...rawRx,
    receive(burst) {
      const taken = ring.splice(0, burst.size);
      burst.offsets.set(taken);
      burst.count = taken.length;
      return taken.length;
    },
  };
  const tx: TxQueue = {
    kick() {},
    reclaim: () => 0,
    transmit(burst, from, to) {
      const n = Math.min(to - from, 4 - ring.length);
      ring.push(...burst.offsets.subarray(from, from + n));
      return n;
    },
  };
  const worker = (id: number) => {
    const owners = makeOwners(memory, plan, id);
    const stack = ownedStack(plain, owners);
    return { stack, driver: ringStack(plain, owners), rx: ownedRx(rx, owners), tx: ownedTx(tx, owners) };
  };
  const map = new Uint8Array(memory, plan.owners, COUNT);
  return { worker, map, free, ring };
}

function refusal(action: () => void): WorkerError {
  try {
    action();
  } catch (error) {
    expect(error).toBeInstanceOf(WorkerError);
    return error as WorkerError;
  }
  throw new Error('nobody minded');
}

describe('the owner map', () => {
  it('follows a frame from the stack through an application, a ring, another worker, and back', () => {
    const { worker, map, free } = makeWorld();
    const [a, b] = [worker(0), worker(1)];
    const burst = makeBurst(2);
    expect(a.stack.take(burst.offsets, 0, 2)).toBe(2);
    expect([map[15], map[14], map[13]]).toEqual([OWNER.held, OWNER.held, OWNER.free]);
    expect(a.tx.transmit(burst, 0, 2)).toBe(2);
    expect([map[15], map[14]]).toEqual([OWNER.ring, OWNER.ring]);
    expect(b.rx.receive(burst)).toBe(2);
    expect([map[15], map[14]]).toEqual([OWNER.held + 1, OWNER.held + 1]);
    b.stack.give(burst.offsets, 0, 2);
    expect([...map]).toEqual(Array(COUNT).fill(OWNER.free));
    expect(free.length).toBe(COUNT);
  });

  it("has a frame that a driver takes in the driver's ring, until it is received or given back", () => {
    const { worker, map } = makeWorld();
    const { driver } = worker(0);
    const offset = driver.pop();
    expect(map[15]).toBe(OWNER.ring);
    driver.push(offset);
    const offsets = new Int32Array(3);
    driver.take(offsets, 0, 3);
    expect([...map.subarray(13)]).toEqual([OWNER.ring, OWNER.ring, OWNER.ring]);
    driver.give(offsets, 0, 3);
    expect([...map.subarray(13)]).toEqual([OWNER.free, OWNER.free, OWNER.free]);
  });

  it('leaves frames that a full queue refuses with whoever offered them', () => {
    const { worker, map } = makeWorld();
    const { stack, tx } = worker(3);
    const burst = makeBurst(6);
    stack.take(burst.offsets, 0, 6);
    expect(tx.transmit(burst, 0, 6)).toBe(4);
    expect([...map.subarray(10)].sort()).toEqual([
      OWNER.ring,
      OWNER.ring,
      OWNER.ring,
      OWNER.ring,
      OWNER.held + 3,
      OWNER.held + 3,
    ]);
    stack.give(burst.offsets, 4, 6);
  });

  it('passes on what is not about frames', () => {
    const { rx } = makeWorld().worker(0);
    expect([rx.fd, rx.patient, rx.arm()]).toEqual([5, true, true]);
  });

  it('knows when there is none', () => {
    const { worker } = makeWorld();
    const { stack } = worker(0);
    for (let i = 0; i < COUNT; i++) expect(stack.pop()).not.toBe(0);
    expect(stack.pop()).toBe(0);
  });
});

describe('a mistake is told at the call that makes it', () => {
  it.each<[string, (world: ReturnType<typeof makeWorld>) => void, RegExp]>([
    [
      'freed twice',
      ({ worker }) => {
        const { stack } = worker(0);
        const offset = stack.pop();
        stack.push(offset);
        stack.push(offset);
      },
      /^free offset \d+ in worker 0: the frame is free; free or transmit each frame once/,
    ],
    [
      'sent twice',
      ({ worker }) => {
        const { stack, tx } = worker(0);
        const burst = makeBurst(1);
        stack.take(burst.offsets, 0, 1);
        tx.transmit(burst, 0, 1);
        tx.transmit(burst, 0, 1);
      },
      /^transmit offset \d+ in worker 0: the frame is in a ring/,
    ],
    [
      'freed after it was sent',
      ({ worker }) => {
        const { stack, tx } = worker(0);
        const burst = makeBurst(1);
        stack.take(burst.offsets, 0, 1);
        tx.transmit(burst, 0, 1);
        stack.give(burst.offsets, 0, 1);
      },
      /^free offset \d+ in worker 0: the frame is in a ring/,
    ],
    [
      "another worker's",
      ({ worker }) => {
        const offset = worker(0).stack.pop();
        worker(7).stack.push(offset);
      },
      /^free offset \d+ in worker 7: the frame is held by worker 0/,
    ],
    ['no frame at all', ({ worker }) => worker(0).stack.push(BASE - 4), /there is no such frame/],
    ['beyond the pool', ({ worker }) => worker(0).stack.push(BASE + COUNT * SIZE), /there is no such frame/],
  ])('a frame %s', (_, mistake, message) => {
    const error = refusal(() => mistake(makeWorld()));
    expect(error.code).toBe('FRAME_NOT_OWNED');
    expect(error.message).toMatch(message);
  });

  it('with the facts in its detail', () => {
    const { worker } = makeWorld();
    const error = refusal(() => worker(2).stack.push(BASE + 5 * SIZE + 300));
    expect(error.detail).toEqual({ offset: BASE + 5 * SIZE + 300, owner: OWNER.free, action: 'free', worker: 2 });
  });
});

test.prop([
  fc.array(
    fc.tuple(
      fc.constantFrom('take', 'give', 'send', 'receive'),
      fc.integer({ min: 0, max: 1 }),
      fc.integer({ min: 1, max: 4 }),
    ),
  ),
])('who does everything right is never blamed, and the map is always true', (actions) => {
  const world = makeWorld();
  const workers = [world.worker(0), world.worker(1)];
  const held: number[][] = [[], []];
  for (const [action, id, n] of actions) {
    const { stack, tx, rx } = workers[id];
    const burst = makeBurst(n);
    const mine = held[id];
    if (action === 'take') mine.push(...burst.offsets.subarray(0, stack.take(burst.offsets, 0, n)));
    else if (action === 'receive') mine.push(...burst.offsets.subarray(0, rx.receive(burst)));
    else {
      const some = mine.splice(0, n);
      burst.offsets.set(some);
      if (action === 'give') stack.give(burst.offsets, 0, some.length);
      else mine.push(...some.slice(tx.transmit(burst, 0, some.length)));
    }
  }
  const owners = new Map<number, number>();
  const index = (offset: number) => Math.floor((offset - BASE) / SIZE);
  for (const offset of world.free) owners.set(index(offset), OWNER.free);
  for (const offset of world.ring) owners.set(index(offset), OWNER.ring);
  for (const [id, mine] of held.entries()) for (const offset of mine) owners.set(index(offset), OWNER.held + id);
  expect([...world.map]).toEqual(Array.from({ length: COUNT }, (_, i) => owners.get(i)));
});
