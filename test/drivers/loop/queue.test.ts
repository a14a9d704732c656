import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { RING, ringBytes, ringContents } from '../../../lib/arena/ring.ts';
import { blockBytes, MAX_RINGS, RX_NAMES, ringAt } from '../../../lib/drivers/loop/layout.ts';
import { makeRxQueue, makeTxQueue, warmUp } from '../../../lib/drivers/loop/queue.ts';
import * as pairQueues from '../../../lib/drivers/pair/queue.ts';
import { COUNTER_NAMES } from '../../../lib/pktio/memory-port.ts';
import type { RxQueue, TxQueue } from '../../../lib/queue.ts';
import { makeBurst, makeWorld, type QueueWorld } from '../../fakes/queue-world.ts';

const FD = 77;

/** Options of a loop or of one direction of a pair. */
interface Options {
  readonly rx?: number;
  readonly tx?: number;
  readonly size?: number;
  readonly endless?: boolean;
  readonly frames?: number;
  /** Where all rings' indices start. */
  readonly start?: number;
}

/** A block of rings with its queues, by plans that are made by hand. */
function makeQueues({ rx = 1, tx = 1, size = 64, endless = true, frames = 256, start = 0 }: Options = {}) {
  const world = makeWorld(frames);
  const block = world.allocate(blockBytes(size));
  const header = new Int32Array(world.memory, block, 1).fill(tx);
  const ringOf = (i: number) => new Int32Array(world.memory, ringAt(block, i, size), ringBytes(size) / 4);
  for (let i = 0; i < MAX_RINGS; i++) {
    ringOf(i)[RING.producer] = start;
    ringOf(i)[RING.consumer] = start;
  }
  const rxPlans = Array.from({ length: rx }, (_, first) =>
    world.plan('rx', [...COUNTER_NAMES.rx, ...RX_NAMES], {
      fd: FD,
      data: { block, size, first, step: rx, endless: Number(endless) },
    }),
  );
  const txPlans = Array.from({ length: tx }, (_, i) =>
    world.plan('tx', COUNTER_NAMES.tx, { fd: FD, data: { ring: ringAt(block, i, size), size } }),
  );
  return {
    world,
    header,
    ringOf,
    rxPlans,
    txPlans,
    rx: rxPlans.map((plan) => makeRxQueue(plan, world.context)),
    tx: txPlans.map((plan) => makeTxQueue(plan, world.context)),
    inRing: (i: number) => ringContents(world.memory, ringAt(block, i, size), size),
  };
}

/** Sends `n` frames of 60 bytes; returns the offsets of those that were accepted, and frees the others. */
function send({ stack }: QueueWorld, tx: TxQueue, n: number): number[] {
  const burst = makeBurst(n);
  expect(stack.take(burst.offsets, 0, n)).toBe(n);
  const sent = tx.transmit(burst, 0, n);
  stack.give(burst.offsets, sent, n);
  return [...burst.offsets.subarray(0, sent)];
}

/** What one call of `receive` gives. */
function receive(rx: RxQueue, size = 32): number[] {
  const burst = makeBurst(size, 0);
  const n = rx.receive(burst);
  expect(burst.count).toBe(n);
  for (let i = 0; i < n; i++) expect(burst.lengths[i]).toBe(60);
  return [...burst.offsets.subarray(0, n)];
}

describe('loop queues', () => {
  it('carry what is sent, in order, and count it at both ends', () => {
    const { world, rx, tx, rxPlans, txPlans } = makeQueues();
    const sent = [...send(world, tx[0]!, 20), ...send(world, tx[0]!, 20)];
    expect(receive(rx[0]!)).toEqual(sent.slice(0, 32));
    expect(receive(rx[0]!)).toEqual(sent.slice(32));
    expect(receive(rx[0]!)).toEqual([]);
    expect(world.counters(rxPlans[0]!)).toEqual({ packets: 40n, bytes: 2400n, extra_frames: 0n, oversize: 0n });
    expect(tx[0]!.reclaim()).toBe(0);
    expect(world.counters(txPlans[0]!)).toEqual({
      packets: 40n,
      bytes: 2400n,
      completed: 40n,
      runt: 0n,
      oversize: 0n,
      stopped: 0n,
      extra_frames: 0n,
    });
  });

  it('accept what there is room for, and nothing when full', () => {
    const { world, rx, tx, txPlans } = makeQueues();
    expect(send(world, tx[0]!, 50)).toHaveLength(50);
    expect(send(world, tx[0]!, 50)).toHaveLength(14);
    expect(send(world, tx[0]!, 1)).toEqual([]);
    expect(tx[0]!.reclaim()).toBe(64);
    receive(rx[0]!, 3);
    expect(send(world, tx[0]!, 50)).toHaveLength(3);
    expect(world.counters(txPlans[0]!)).toMatchObject({ packets: 67n, completed: 0n });
    expect(tx[0]!.reclaim()).toBe(64);
    expect(world.counters(txPlans[0]!)).toMatchObject({ completed: 3n });
  });

  it('take part of a burst, and no more than the burst has', () => {
    const { world, tx, inRing } = makeQueues();
    const burst = makeBurst(8);
    world.stack.take(burst.offsets, 0, 8);
    expect(tx[0]!.transmit(burst, 2, 5)).toBe(3);
    expect(inRing(0)).toEqual([...burst.offsets.subarray(2, 5)]);
    expect(tx[0]!.transmit(burst, 5, 100)).toBe(3);
    for (const [from, to] of [[4, 4], [5, 4], [8, 9], [100, 200]] as const) expect(tx[0]!.transmit(burst, from, to)).toBe(0); // biome-ignore format: pairs
    expect(inRing(0)).toHaveLength(6);
  });

  it.each([
    [13, 'runt'],
    [14, undefined],
    [1518, undefined],
    [1519, 'oversize'],
    [-1, 'runt'],
    [2 ** 30 - 1, 'oversize'],
  ])('take a frame of %d bytes; if it is impossible it ends as %s and is free again', (length, reason) => {
    const { world, tx, txPlans, inRing } = makeQueues({ frames: 3 });
    const burst = makeBurst(3);
    world.stack.take(burst.offsets, 0, 3);
    burst.lengths[1] = length;
    expect(tx[0]!.transmit(burst, 0, 3)).toBe(3);
    expect(inRing(0)).toHaveLength(reason === undefined ? 3 : 2);
    expect(world.stack.free.size).toBe(reason === undefined ? 0 : 1);
    const bytes = 120 + (reason === undefined ? length : 0);
    expect(world.counters(txPlans[0]!)).toMatchObject({
      packets: 3n,
      bytes: BigInt(bytes),
      ...(reason && { [reason]: 1n }),
    });
    expect(tx[0]!.reclaim()).toBe(reason === undefined ? 3 : 2);
  });

  it('complete each accepted frame once, whatever goes on: a model of them for all numbers of queues', () => {
    const step = fc.oneof(
      fc.record({ send: fc.nat(7), n: fc.integer({ min: 1, max: 40 }), bad: fc.boolean() }),
      fc.record({ receive: fc.nat(7), n: fc.integer({ min: 1, max: 40 }) }),
      fc.record({ reclaim: fc.nat(7) }),
    );
    const queues = fc.integer({ min: 1, max: MAX_RINGS });
    const start = fc.constantFrom(0, -10, 2 ** 31 - 10);
    fc.assert(
      fc.property(queues, queues, start, fc.array(step, { maxLength: 60 }), (nRx, nTx, from, steps) => {
        const { world, rx, tx, rxPlans, txPlans, inRing } = makeQueues({ rx: nRx, tx: nTx, start: from, frames: 600 });
        const model = tx.map((): number[] => []);
        const received = rx.map(() => 0);
        const accepted = tx.map(() => 0);
        const failed = tx.map(() => 0);
        for (const s of steps) {
          if ('send' in s) {
            const i = s.send % nTx;
            const burst = makeBurst(s.n);
            world.stack.take(burst.offsets, 0, s.n);
            if (s.bad) burst.lengths[0] = 13;
            const room = 64 - model[i]!.length;
            const sent = tx[i]!.transmit(burst, 0, s.n);
            expect(sent).toBe(Math.min(room, s.n));
            world.stack.give(burst.offsets, sent, s.n);
            const runts = s.bad && sent > 0 ? 1 : 0;
            model[i]!.push(...burst.offsets.subarray(runts, sent));
            accepted[i]! += sent;
            failed[i]! += runts;
          } else if ('receive' in s) {
            const i = s.receive % nRx;
            const got = receive(rx[i]!, s.n);
            received[i]! += got.length;
            // All from one of its rings, the oldest first; nothing only if all of them are empty.
            const mine = model.filter((_, ring) => ring % nRx === i);
            if (got.length === 0) expect(mine.every((ring) => ring.length === 0)).toBe(true);
            else {
              const source = mine.find((ring) => ring[0] === got[0]);
              expect(source?.splice(0, got.length)).toEqual(got);
            }
            world.stack.give(Int32Array.from(got), 0, got.length);
          } else expect(tx[s.reclaim % nTx]!.reclaim()).toBe(model[s.reclaim % nTx]!.length);
        }
        const flying = model.reduce((sum, ring) => sum + ring.length, 0);
        expect(world.stack.free.size).toBe(600 - flying);
        for (const [i, ring] of model.entries()) {
          expect(inRing(i)).toEqual(ring);
          tx[i]!.reclaim();
          const { packets, completed, runt } = world.counters(txPlans[i]!);
          expect([packets, runt]).toEqual([BigInt(accepted[i]!), BigInt(failed[i]!)]);
          expect(completed).toBe(packets! - runt! - BigInt(ring.length));
        }
        for (const [i, plan] of rxPlans.entries()) expect(world.counters(plan).packets).toBe(BigInt(received[i]!));
      }),
    );
  });

  it('are fair: of several rings with frames each comes in turn', () => {
    const { world, rx, tx } = makeQueues({ tx: 4 });
    for (let round = 0; round < 3; round++) for (const queue of tx) send(world, queue, 8);
    const bursts = Array.from({ length: 12 }, () => receive(rx[0]!, 8));
    // With the same bursts of eight from every ring, four neighbours come from four rings.
    const ringsOf = (offsets: number[]) => new Set(offsets);
    const seen = bursts.map((burst) => burst[0] as number);
    expect(ringsOf(seen).size).toBe(12);
    for (let i = 0; i < 12; i += 4) {
      const sources = seen.slice(i, i + 4).map((offset) => Math.floor((offset - seen[0]!) / (8 * 2048)) % 4);
      expect([...sources].sort()).toEqual([0, 1, 2, 3]);
    }
  });

  it('with more rx queues than tx queues leave the rest empty, and use them when tx queues are added', () => {
    const { world, header, rx, tx } = makeQueues({ rx: 3, tx: 4 });
    header[0] = 1;
    for (const queue of tx) send(world, queue, 2);
    expect(rx.map((queue) => receive(queue).length)).toEqual([2, 0, 0]);
    header[0] = 4;
    expect(rx.map((queue) => receive(queue).length)).toEqual([2, 2, 2]);
    expect(rx.map((queue) => receive(queue).length)).toEqual([0, 0, 0]);
  });

  it('of a port that is not started receive nothing', () => {
    const { world, header, rx, tx } = makeQueues({ rx: 8 });
    send(world, tx[0]!, 4);
    header[0] = 0;
    for (const queue of rx) {
      expect(receive(queue)).toEqual([]);
      expect(queue.arm()).toBe(false);
    }
  });
});

describe('quiescing', () => {
  it('ends a loop at once: what is in it would go round for ever', () => {
    const { world, rx, tx, inRing } = makeQueues({ endless: true });
    send(world, tx[0]!, 5);
    rx[0]!.quiesce();
    expect(receive(rx[0]!)).toEqual([]);
    expect(rx[0]!.arm()).toBe(false);
    expect(inRing(0)).toHaveLength(5);
  });

  it('lets a pair be emptied: others sent that', () => {
    const { world, rx, tx } = makeQueues({ endless: false });
    send(world, tx[0]!, 5);
    rx[0]!.quiesce();
    expect(receive(rx[0]!)).toHaveLength(5);
  });
});

describe('interrupts', () => {
  it('are sent only to a sleeper, once per burst, and only for what was published', () => {
    const { world, rx, tx } = makeQueues();
    const { kicks } = world;
    expect(rx[0]).toMatchObject({ fd: FD, patient: false });
    tx[0]!.kick();
    send(world, tx[0]!, 3);
    tx[0]!.kick();
    expect(kicks).toEqual([]); // nobody asked
    expect(rx[0]!.arm()).toBe(true); // there is something: no sleep
    rx[0]!.disarm();
    receive(rx[0]!);
    expect(rx[0]!.arm()).toBe(false);
    tx[0]!.kick();
    expect(kicks).toEqual([]); // nothing new
    send(world, tx[0]!, 3);
    tx[0]!.kick();
    tx[0]!.kick();
    expect(kicks).toEqual([FD]);
    rx[0]!.disarm();
    send(world, tx[0]!, 3);
    tx[0]!.kick();
    expect(kicks).toEqual([FD]);
  });

  it('are sent by whichever tx queue has something, for the rx queue that sleeps', () => {
    const { world, rx, tx } = makeQueues({ rx: 2, tx: 4 });
    expect([rx[0]!.arm(), rx[1]!.arm()]).toEqual([false, false]);
    rx[1]!.disarm();
    for (const queue of tx) {
      send(world, queue, 1);
      queue.kick();
    }
    // Rings 0 and 2 are the first rx queue's.
    expect(world.kicks).toEqual([FD, FD]);
  });

  it('come also from a tx queue that was not there when the sleeper lay down', () => {
    const { world, header, rx, tx } = makeQueues({ tx: 2 });
    header[0] = 0;
    expect(rx[0]!.arm()).toBe(false);
    header[0] = 2;
    send(world, tx[1]!, 1);
    tx[1]!.kick();
    expect(world.kicks).toEqual([FD]);
  });
});

describe('a new worker', () => {
  it('takes a ring over from one that is gone, with what is in it', () => {
    const { world, rxPlans, txPlans, tx } = makeQueues();
    const sent = send(world, tx[0]!, 10);
    tx[0]!.reclaim();
    const again = makeTxQueue(txPlans[0]!, world.context);
    const rx = makeRxQueue(rxPlans[0]!, world.context);
    expect(again.reclaim()).toBe(10);
    const more = send(world, again, 10);
    expect(receive(rx)).toEqual([...sent, ...more]);
    expect(again.reclaim()).toBe(0);
    expect(world.counters(txPlans[0]!)).toMatchObject({ packets: 20n, completed: 20n });
  });
});

describe("the loop queues' warm-up", () => {
  it('runs on scratch memory, wakes only descriptor -1, and leaves every frame free', () => {
    const world = makeWorld(256);
    warmUp(world.context);
    expect(world.kicks.length).toBeGreaterThan(100); // that branch is warm too
    expect(new Set(world.kicks)).toEqual(new Set([-1]));
    expect(world.stack.free.size).toBe(256);
  });
});

it("a pair's queues are a loop's", () => {
  expect(pairQueues).toMatchObject({ makeRxQueue, makeTxQueue, warmUp });
});
