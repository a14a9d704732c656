import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { makeRxQueue, makeTxQueue, warmUp } from '../../../lib/drivers/null/queue.ts';
import { COUNTER_NAMES } from '../../../lib/pktio/memory-port.ts';
import { FRAMES, makeBurst, makeWorld, type QueueWorld } from '../../fakes/queue-world.ts';

function rxOf(world: QueueWorld, size = 60) {
  const plan = world.plan('rx', COUNTER_NAMES.rx, { data: { size } });
  return { plan, rx: makeRxQueue(plan, world.context) };
}

function txOf(world: QueueWorld, maxLength = 1518) {
  const plan = world.plan('tx', COUNTER_NAMES.tx, { maxLength });
  return { plan, tx: makeTxQueue(plan, world.context) };
}

describe('a null rx queue', () => {
  it('fills every burst with free frames of the length that the port was given', () => {
    const world = makeWorld(100);
    const { rx, plan } = rxOf(world, 128);
    const burst = makeBurst(32, 0);
    expect(rx.receive(burst)).toBe(32);
    expect(burst.count).toBe(32);
    expect(new Set(burst.offsets).size).toBe(32);
    expect(burst.lengths.every((length) => length === 128)).toBe(true);
    expect(world.stack.free.size).toBe(68);
    expect(world.counters(plan)).toEqual({ packets: 32n, bytes: 32n * 128n, extra_frames: 0n });
  });

  it('gives as many as there are free frames, and then none', () => {
    const world = makeWorld(40);
    const { rx, plan } = rxOf(world);
    const burst = makeBurst(32);
    expect([rx.receive(burst), rx.receive(burst), rx.receive(burst)]).toEqual([32, 8, 0]);
    expect(burst.count).toBe(0);
    expect(world.counters(plan).packets).toBe(40n);
  });

  it('gives no packet more bytes than a frame has room for', () => {
    const { rx } = rxOf(makeWorld(), 65_000);
    const burst = makeBurst(1);
    rx.receive(burst);
    expect(burst.lengths[0]).toBe(FRAMES.room);
  });

  it('always has something, so that nobody sleeps over it, until it is quiesced', () => {
    const world = makeWorld(8);
    const { rx, plan } = rxOf(world);
    const burst = makeBurst(4);
    expect(rx).toMatchObject({ fd: -1, patient: true });
    expect(rx.arm()).toBe(true);
    rx.disarm();
    rx.receive(burst);
    rx.quiesce();
    expect(rx.receive(burst)).toBe(0);
    expect(burst.count).toBe(0);
    expect(rx.arm()).toBe(false);
    expect(world.counters(plan).packets).toBe(4n);
    expect(world.stack.free.size).toBe(4);
  });
});

describe('a null tx queue', () => {
  it('accepts all, completes them at once, and frees them', () => {
    const world = makeWorld(32);
    const { rx } = rxOf(world);
    const { tx, plan } = txOf(world);
    const burst = makeBurst(32);
    rx.receive(burst);
    expect(tx.transmit(burst, 0, 32)).toBe(32);
    expect(world.stack.free.size).toBe(32);
    expect(tx.reclaim()).toBe(0);
    tx.kick();
    expect(world.kicks).toEqual([]);
    expect(world.counters(plan)).toEqual({
      packets: 32n,
      bytes: 1920n,
      completed: 32n,
      runt: 0n,
      oversize: 0n,
      stopped: 0n,
      extra_frames: 0n,
    });
  });

  it.each([
    [13, 'runt'],
    [14, 'completed'],
    [1518, 'completed'],
    [1519, 'oversize'],
    [0, 'runt'],
    [-1, 'runt'],
    [-(2 ** 31), 'runt'],
    [2 ** 30 - 1, 'oversize'],
  ])('counts a frame of %d bytes as %s', (length, reason) => {
    const world = makeWorld(1);
    const { tx, plan } = txOf(world);
    const burst = makeBurst(1, length);
    world.stack.take(burst.offsets, 0, 1);
    expect(tx.transmit(burst, 0, 1)).toBe(1);
    const ends = { completed: 0n, runt: 0n, oversize: 0n, stopped: 0n, extra_frames: 0n, [reason]: 1n };
    expect(world.counters(plan)).toEqual({ packets: 1n, bytes: reason === 'completed' ? BigInt(length) : 0n, ...ends });
    expect(world.stack.free.size).toBe(1);
  });

  it('ends every frame of any part of a burst in one counter, and frees it', () => {
    const lengths = fc.array(fc.oneof(fc.integer({ min: 0, max: 3000 }), fc.integer({ max: 2 ** 30 - 1 })), {
      minLength: 1,
      maxLength: 64,
    });
    fc.assert(
      fc.property(lengths, fc.nat(64), fc.nat(64), (all, a, b) => {
        const world = makeWorld(64);
        const { tx, plan } = txOf(world);
        const burst = makeBurst(all.length);
        burst.lengths.set(all);
        world.stack.take(burst.offsets, 0, all.length);
        const [from, to] = [Math.min(a, b), Math.max(a, b)];
        const part = all.slice(from, to);
        expect(tx.transmit(burst, from, to)).toBe(part.length);
        const { packets, bytes, completed, runt, oversize, stopped } = world.counters(plan);
        const good = part.filter((length) => length >= 14 && length <= 1518);
        expect({ packets, completed, runt, oversize, stopped }).toEqual({
          packets: BigInt(part.length),
          completed: BigInt(good.length),
          runt: BigInt(part.filter((length) => length < 14).length),
          oversize: BigInt(part.filter((length) => length > 1518).length),
          stopped: 0n,
        });
        expect(bytes).toBe(BigInt(good.reduce((x, y) => x + y, 0)));
        expect(world.stack.free.size).toBe(64 - all.length + part.length);
      }),
    );
  });
});

describe("the null queues' warm-up", () => {
  it('runs on scratch memory, and leaves every frame free', () => {
    const world = makeWorld(64);
    warmUp(world.context);
    expect(world.stack.free.size).toBe(64);
  });
});
