import { fc, test } from '@fast-check/vitest';
import { expect, it } from 'vitest';
import { makeCounters, readCounter, readCounters } from '../../lib/arena/counters.ts';
import type { CrewJob } from '../../lib/engine/crew.ts';
import { countTorn, settleDeath } from '../../lib/engine/death.ts';
import { balance } from '../../lib/engine/ledger.ts';
import type { Worker } from '../../lib/engine/worker.ts';
import type { QueueHandle } from '../../lib/pktio/types.ts';
import { type QueuePlan, RX, TX } from '../../lib/queue.ts';
import { CONTROL_BYTES, JOB, JOB_COUNTERS, LEDGER } from '../../workers/control.ts';

const TOTAL = 1000;
const AT = { control: 0, block: CONTROL_BYTES, rx: 4096, tx: 4608 } as const;

/** A worker with one job from a source to a ring, taking one step after the other, until it is cut off. */
function makeWorld() {
  const memory = new SharedArrayBuffer(8192);
  let stack = TOTAL;
  let hands = 0; // frames that the job, or a queue on its way to it, has physically
  const ring = { producer: 0, consumer: 0 };
  const job = makeCounters(memory, AT.block + JOB.counters * 4);
  const rx = makeCounters(memory, AT.rx);
  const tx = makeCounters(memory, AT.tx);
  const names = (of: object) => Object.keys(of);
  const plan = (counters: number, counterNames: string[]) => ({ counters, counterNames }) as unknown as QueuePlan;
  const completed = () => Number(readCounter(memory, AT.tx, TX.completed));
  const txHandle: QueueHandle = {
    plan: plan(AT.tx, names(TX)),
    held: () => Array.from({ length: ring.producer - ring.consumer }, () => 0),
    settle: () => tx(TX.completed, ring.consumer - completed()),
    clear: () => {},
  };
  const rxHandle: QueueHandle = { plan: plan(AT.rx, names(RX)), held: () => [], settle: () => {}, clear: () => {} };
  const worker = {
    memory: {
      control: AT.control,
      blocks: [AT.block],
      jobLedger: () => readCounters(memory, AT.block + JOB.counters * 4, JOB_COUNTERS),
    },
  } as unknown as Worker;
  const crewJob = { worker, index: 0, rx: rxHandle, tx: [txHandle], state: 'running' } as unknown as CrewJob;

  /** What a worker does with one burst, in the order in which it does it. */
  const steps = ({ size, runts, freed, drained }: { size: number; runts: number; freed: number; drained: number }) => {
    const n = Math.min(size, stack);
    const bad = Math.min(runts, n);
    const rest = n - bad;
    const gone = Math.min(freed, 5);
    return [
      () => {
        stack -= n;
        hands += n;
      },
      () => rx(RX.packets, n),
      () => job(LEDGER.delivered, n),
      ...Array.from({ length: bad }, () => [() => { stack++; hands--; }, () => tx(TX.runt, 1)]).flat(), // biome-ignore format: a pair
      () => {
        ring.producer += rest;
        hands -= rest;
      },
      () => tx(TX.packets, n),
      () => job(LEDGER.accepted, n),
      // The other side, which lives on: it may take at any moment.
      () => {
        const taken = Math.min(drained, ring.producer - ring.consumer);
        ring.consumer += taken;
        stack += taken;
      },
      () => tx(TX.completed, ring.consumer - completed()),
      // Frames of its own: allocated, and freed again.
      () => {
        stack -= gone;
        hands += gone;
      },
      () => job(LEDGER.allocated, gone),
      () => {
        stack += gone;
        hands -= gone;
      },
      () => job(LEDGER.consumed, gone),
    ];
  };
  return { memory, worker, crewJob, ring, steps, physical: () => ({ stack, hands }) };
}

const burst = fc.record({
  size: fc.integer({ min: 0, max: 32 }),
  runts: fc.integer({ min: 0, max: 3 }),
  freed: fc.integer({ min: 0, max: 5 }),
  drained: fc.integer({ min: 0, max: 40 }),
});

test.prop([fc.array(burst, { maxLength: 6 }), burst, fc.nat()], { numRuns: 2000 })(
  'a worker that is cut off anywhere leaves books that can be balanced to the frame',
  (whole, last, cut) => {
    const world = makeWorld();
    for (const one of whole) for (const step of world.steps(one)) step();
    const steps = world.steps(last);
    for (const step of steps.slice(0, cut % (steps.length + 1))) step();

    settleDeath(world.memory, world.worker, [world.crewJob]);
    const died = () => Number(world.worker.memory.jobLedger(0).dropped_app_died);
    const inRings = world.ring.producer - world.ring.consumer;
    const { stack, hands } = world.physical();
    const torn = hands - died();
    if (torn > 0) countTorn(world.memory, [world.crewJob], torn);
    const lost = torn > 0 ? died() : died() + torn; // what is back on the stack all the same is not lost

    const rx = readCounters(world.memory, AT.rx, Object.keys(RX));
    const tx = readCounters(world.memory, AT.tx, Object.keys(TX));
    const ledger = balance({
      ...{ total: TOTAL, free: stack, inRings, lost },
      jobs: [world.worker.memory.jobLedger(0)],
      ports: [{ name: 'port', stats: { rx, tx }, inRings }],
    });
    expect(ledger.errors).toEqual([]);
    expect(ledger).toMatchObject({ held: 0, missing: hands });
  },
);

it('a counter that was cut off while it carried is mended, before and after its low half was written', () => {
  for (const [low, carried] of [
    [0xffff_fff0 | 0, 0n],
    [5, 1n],
  ] as const) {
    // biome-ignore format: a table
    const world = makeWorld();
    const words = new Int32Array(world.memory, AT.rx, 4);
    words[0] = low;
    words[1] = 0x8000_0007 | 0;
    settleDeath(world.memory, world.worker, [world.crewJob]);
    expect(readCounter(world.memory, AT.rx, RX.packets)).toBe(((7n + carried) << 32n) | BigInt(low >>> 0));
  }
});

it('frames of a job that receives nothing were allocated', () => {
  const world = makeWorld();
  countTorn(world.memory, [{ ...world.crewJob, rx: undefined } as CrewJob], 3);
  expect(world.worker.memory.jobLedger(0)).toMatchObject({ allocated: 3n, delivered: 0n, dropped_app_died: 3n });
});

it('a worker without jobs has nobody to blame', () => {
  const world = makeWorld();
  countTorn(world.memory, [], 3);
  expect(Object.values(world.worker.memory.jobLedger(0)).every((n) => n === 0n)).toBe(true);
});
