import { fc, test } from '@fast-check/vitest';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { makeCounters, readCounters } from '../../lib/arena/counters.ts';
import type { FramePool } from '../../lib/arena/frame-pool.ts';
import { DEPOT, type FramesPlan } from '../../lib/arena/frames-plan.ts';
import type { Crew, Means } from '../../lib/engine/crew.ts';
import type { RunPorts } from '../../lib/engine/run-ports.ts';
import { Salvage } from '../../lib/engine/salvage.ts';
import type { Standstill } from '../../lib/engine/standstill.ts';
import type { Worker } from '../../lib/engine/worker.ts';
import type { Pktio, QueueHandle } from '../../lib/pktio/types.ts';
import { DROP, RX } from '../../lib/queue.ts';
import { JOB, JOB_COUNTERS, LEDGER } from '../../workers/control.ts';

const COUNT = 40;
const SIZE = 512;
const BASE = 0x1_0000;
const AT = { depot: 64, block: 2048, rx: 3072 } as const;
const offsetOf = (frame: number) => BASE + frame * SIZE;

/** A pool, one worker with one job, and the frames that somebody has in his hands: `hands`, by frame number. */
function makeWorld() {
  const memory = new SharedArrayBuffer(4096);
  const plan: FramesPlan = { base: BASE, count: COUNT, frameSize: SIZE, headroom: 0, depot: AT.depot, owners: 0 };
  const depot = new Int32Array(memory, AT.depot, DEPOT.first + COUNT);
  const count = makeCounters(memory, AT.block + JOB.counters * 4, JOB_COUNTERS.length);
  const ledger = () => readCounters(memory, AT.block + JOB.counters * 4, JOB_COUNTERS);
  const hands = new Set<number>();
  const inRing = new Set<number>();
  const free = () =>
    Array.from({ length: COUNT }, (_, i) => i).filter((i) => !hands.has(i) && !inRing.has(i) && !lost.has(i));
  const lost = new Set<number>();
  /** The depot is whatever nobody has. */
  const arrange = () => {
    const all = free();
    for (const [i, frame] of all.entries()) depot[DEPOT.first + i] = offsetOf(frame);
    depot[DEPOT.top] = all.length;
  };
  const inDepot = () => [...depot.subarray(DEPOT.first, DEPOT.first + depot[DEPOT.top])].map((o) => (o - BASE) / SIZE);
  const rxPlan = { counters: AT.rx, counterNames: Object.keys(RX) };
  const worker = { memory: { stackedFrames: () => [], jobLedger: ledger, blocks: [AT.block] } } as unknown as Worker;
  const rx = { plan: rxPlan } as unknown as QueueHandle;
  const crew = { workers: [worker], jobs: [{ worker, index: 0, rx, tx: [], state: 'running' }] } as unknown as Crew;
  const means = { arena: { memory }, frames: { plan } as FramePool } as unknown as Means;
  let still = true;
  let looks = 0;
  const standstill = {
    async during(action: () => void) {
      looks++;
      if (still) action();
      return still;
    },
  } as Standstill;
  const ports = { rings: () => [[...inRing].map(offsetOf)] } as unknown as RunPorts;
  const salvage = new Salvage(means, () => crew, ports, standstill);
  return {
    ...{ salvage, hands, inRing, lost, arrange, inDepot, ledger, count, worker },
    looks: () => looks,
    stand: (now: boolean) => {
      still = now;
    },
    /** The job takes these. */
    take(...frames: number[]) {
      for (const frame of frames) hands.add(frame);
      count(LEDGER.delivered, frames.length);
      arrange();
    },
    give(...frames: number[]) {
      for (const frame of frames) hands.delete(frame);
      count(LEDGER.consumed, frames.length);
      arrange();
    },
    /** An application dies with these in its hands. */
    lose(...frames: number[]) {
      for (const frame of frames) {
        hands.delete(frame);
        lost.add(frame);
      }
      count(LEDGER.dropped + DROP.app_died, frames.length);
    },
  };
}

let world: ReturnType<typeof makeWorld>;
beforeEach(() => {
  vi.useFakeTimers();
  world = makeWorld();
  world.arrange();
});
afterEach(() => {
  world.salvage.stop();
  vi.useRealTimers();
});
const pass = (ms: number) => vi.advanceTimersByTimeAsync(ms);

describe('frames of the dead', () => {
  it('come back at the first look when nobody else holds any', async () => {
    world.take(1, 2, 3);
    world.lose(1, 2, 3);
    expect(world.salvage.missing).toBe(3);
    world.salvage.look();
    await pass(10);
    expect(world.salvage.missing).toBe(0);
    expect(world.inDepot()).toEqual(expect.arrayContaining([1, 2, 3]));
    expect(world.inDepot()).toHaveLength(COUNT);
  });

  it('come back, and those of the living do not, as soon as the living have let go of what they held', async () => {
    world.take(1, 2, 3, 10, 11);
    world.lose(1, 2, 3);
    world.salvage.look();
    await pass(10);
    expect(world.inDepot()).not.toContain(10);
    world.give(10);
    world.take(20);
    await pass(20);
    expect(world.salvage.missing).toBe(3);
    world.give(11);
    world.take(21, 22);
    await pass(40);
    expect(world.salvage.missing).toBe(0);
    expect(world.inDepot().sort((a, b) => a - b)).toEqual(
      Array.from({ length: COUNT }, (_, i) => i).filter((i) => ![20, 21, 22].includes(i)),
    );
  });

  it('are never guessed: while the living hold the same frames, nothing comes back', async () => {
    world.take(1, 2, 10);
    world.lose(1);
    world.salvage.look();
    await pass(60_000);
    expect(world.salvage.missing).toBe(1);
    expect(world.inDepot()).not.toContain(2);
  });

  it('are looked for at growing intervals, up to a second', async () => {
    world.take(1, 10);
    world.lose(1);
    world.salvage.look();
    await pass(10 + 20 + 40 + 80 + 160 + 320 + 640);
    expect(world.looks()).toBe(7);
    await pass(10_000);
    expect(world.looks()).toBe(17);
  });

  it('are not looked for when none are missing', async () => {
    world.salvage.look();
    await pass(60_000);
    await world.salvage.lookNow();
    expect(world.looks()).toBe(0);
  });

  it('that die later make the search start anew', async () => {
    world.take(1, 2, 10);
    world.lose(1);
    world.salvage.look();
    await pass(10); // candidates: 1, 2, 10
    world.take(5);
    world.lose(5); // was none of them
    world.give(2, 10);
    world.salvage.look();
    await pass(10);
    expect(world.salvage.missing).toBe(0);
    expect(world.inDepot()).toHaveLength(COUNT);
  });

  it('are left alone when somebody does not stand still', async () => {
    world.take(1);
    world.lose(1);
    world.stand(false);
    world.salvage.look();
    await pass(1000);
    expect(world.salvage.missing).toBe(1);
    world.stand(true);
    await pass(2000);
    expect(world.salvage.missing).toBe(0);
  });

  it('are known from before an application starts that takes frames for good, if one looks then', async () => {
    world.take(1, 2);
    world.lose(1, 2);
    await world.salvage.lookNow();
    world.take(30, 31);
    expect(world.salvage.missing).toBe(0);
  });

  it('are not looked for once it is stopped', async () => {
    world.take(1);
    world.lose(1);
    world.salvage.look();
    world.salvage.stop();
    await pass(10_000);
    expect(world.looks()).toBe(0);
  });
});

describe('what a dead worker has not counted', () => {
  it('is counted as received and died with, and comes back', async () => {
    world.take(1);
    world.hands.add(2); // taken by a queue, and the thread ended before it was counted
    world.arrange();
    world.lose(1);
    world.salvage.look(world.worker);
    await pass(10);
    expect(world.ledger()).toMatchObject({ delivered: 2n, dropped_app_died: 2n });
    expect(world.salvage.missing).toBe(0);
    expect(world.inDepot()).toHaveLength(COUNT);
  });

  it('and is back in the pool all the same, is not missed', async () => {
    world.take(1, 2);
    world.lose(1, 2);
    world.lost.delete(2); // given back, and the thread ended before that was counted
    world.arrange();
    world.salvage.look(world.worker);
    await pass(10);
    expect(world.salvage.missing).toBe(0);
    expect(world.inDepot()).toHaveLength(COUNT);
  });

  it('is counted at the very end, too', () => {
    world.hands.add(2);
    world.arrange();
    world.salvage.look(world.worker);
    world.salvage.stop();
    world.salvage.settle();
    expect(world.ledger()).toMatchObject({ delivered: 1n, dropped_app_died: 1n });
    expect(world.salvage.missing).toBe(1);
  });
});

describe('a port that leaves', () => {
  it('has its frames come back when it has stopped, not before, and nobody takes them for lost', async () => {
    const port = { state: 'started' } as { state: string } & Pktio;
    world.inRing.add(7).add(8);
    world.arrange();
    world.salvage.leave(port, [offsetOf(7), offsetOf(8)]);
    world.inRing.clear(); // its rings are no more of the run
    await pass(5000);
    expect(world.inDepot()).not.toContain(7);
    expect(world.salvage.kept).toEqual([[offsetOf(7), offsetOf(8)]]);
    world.salvage.look(world.worker); // and a worker dies meanwhile: they are not its
    await pass(100);
    expect(world.ledger().dropped_app_died).toBe(0n);
    (port as { state: string }).state = 'closed';
    await pass(5000);
    expect(world.inDepot()).toEqual(expect.arrayContaining([7, 8]));
    expect(world.salvage.kept).toEqual([]);
  });
});

const action = fc.oneof(
  fc.record({ do: fc.constant('take' as const), n: fc.nat(5) }),
  fc.record({ do: fc.constant('give' as const), n: fc.nat(5) }),
  fc.record({ do: fc.constant('lose' as const), n: fc.nat(3) }),
  fc.record({ do: fc.constant('look' as const), n: fc.constant(0) }),
);

test.prop([fc.array(action, { maxLength: 60 })], { numRuns: 300 })(
  'whatever happens, no frame that somebody has is given away',
  async (actions) => {
    const w = makeWorld();
    w.arrange();
    for (const { do: what, n } of actions) {
      const held = [...w.hands].slice(0, n);
      if (what === 'take') w.take(...w.inDepot().slice(0, n));
      else if (what === 'give') w.give(...held);
      else if (what === 'lose') w.lose(...held);
      else await w.salvage.lookNow();
      // What it has brought back is lost no more.
      for (const frame of w.inDepot()) w.lost.delete(frame);
      const inDepot = w.inDepot();
      expect(new Set(inDepot).size).toBe(inDepot.length);
      for (const frame of w.hands) expect(inDepot).not.toContain(frame);
      expect(w.salvage.missing).toBe(w.lost.size);
    }
    w.give(...w.hands);
    for (let i = 0; i < 3; i++) await w.salvage.lookNow();
    w.salvage.look();
    await vi.advanceTimersByTimeAsync(5000);
    expect(w.salvage.missing).toBe(0);
    expect(w.inDepot()).toHaveLength(COUNT);
    w.salvage.stop();
  },
);
