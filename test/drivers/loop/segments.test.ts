import { fc, test as property } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { ringContents } from '../../../lib/arena/ring.ts';
import { blockBytes, RX_NAMES, ringAt } from '../../../lib/drivers/loop/layout.ts';
import { makeRxQueue, makeTxQueue } from '../../../lib/drivers/loop/queue.ts';
import { COUNTER_NAMES } from '../../../lib/pktio/memory-port.ts';
import { MORE, type RxQueue } from '../../../lib/queue.ts';
import { FRAMES, makeBurst, makeWorld } from '../../fakes/queue-world.ts';

/** A loop for packets of up to `maxLength` bytes. */
function makeLoop(maxLength = 9018, rxMaxLength = maxLength, size = 64, frames = 256) {
  const world = makeWorld(frames);
  const block = world.allocate(blockBytes(size));
  new Int32Array(world.memory, block, 1)[0] = 1;
  const ring = ringAt(block, 0, size);
  const rxPlan = world.plan('rx', [...COUNTER_NAMES.rx, ...RX_NAMES], {
    maxLength: rxMaxLength,
    data: { block, size, first: 0, step: 1, endless: 1 },
  });
  const txPlan = world.plan('tx', COUNTER_NAMES.tx, { maxLength, data: { ring, size } });
  const [rx, tx] = [makeRxQueue(rxPlan, world.context), makeTxQueue(txPlan, world.context)];
  /** Offers packets with segments of these lengths; what is not accepted is freed. */
  const send = (...packets: number[][]): number => {
    const lengths = packets.flatMap((all) => all.map((n, i) => (i < all.length - 1 ? MORE + n : n)));
    const burst = makeBurst(lengths.length);
    world.stack.take(burst.offsets, 0, burst.size);
    burst.lengths.set(lengths);
    const n = tx.transmit(burst, 0, burst.size);
    world.stack.give(burst.offsets, n, burst.size);
    return n;
  };
  const inRing = () => ringContents(world.memory, ring, size).length;
  return { world, rx, tx, send, inRing, counters: () => ({ rx: world.counters(rxPlan), tx: world.counters(txPlan) }) };
}

/** Packets that one call gives; their frames are freed. */
function receive({ world }: ReturnType<typeof makeLoop>, rx: RxQueue, size = 32): number[][] {
  const burst = makeBurst(size, 0);
  const n = rx.receive(burst);
  const packets: number[][] = [];
  let goesOn = false;
  for (const length of burst.lengths.subarray(0, n)) {
    if (!goesOn) packets.push([]);
    packets.at(-1)!.push(length & ~MORE);
    goesOn = length >= MORE;
  }
  expect(goesOn).toBe(false);
  world.stack.give(burst.offsets, 0, n);
  return packets;
}

const full = (n: number, last = 50): number[] => [...Array<number>(n - 1).fill(FRAMES.room), last];

describe('Packets of several frames in a loop', () => {
  it('come out as they went in, between others, and are packets in the counters', () => {
    const loop = makeLoop();
    expect(loop.rx.segments).toBe(true);
    expect(loop.send([60], full(5), [61], full(2))).toBe(9);
    expect(receive(loop, loop.rx)).toEqual([[60], full(5), [61], full(2)]);
    loop.tx.reclaim();
    const bytes = BigInt(121 + 5 * FRAMES.room + 100);
    expect(loop.counters().rx).toEqual({ packets: 4n, bytes, extra_frames: 5n, oversize: 0n });
    expect(loop.counters().tx).toMatchObject({ packets: 4n, bytes, extra_frames: 5n, completed: 9n, oversize: 0n });
  });

  it('are accepted whole or not at all', () => {
    const loop = makeLoop();
    expect(loop.send(...Array.from({ length: 62 }, () => [60]), full(3))).toBe(62);
    expect(loop.send(full(3))).toBe(0);
    expect(receive(loop, loop.rx, 1)).toEqual([[60]]);
    expect(loop.send(full(3))).toBe(3);
    expect(loop.inRing()).toBe(64);
  });

  it('that do not fit what is left of a burst come with the next', () => {
    const loop = makeLoop();
    loop.send([60], full(4), full(3));
    expect(receive(loop, loop.rx, 4)).toEqual([[60]]);
    expect(receive(loop, loop.rx, 4)).toEqual([full(4)]);
    expect(receive(loop, loop.rx, 4)).toEqual([full(3)]);
  });

  it('that no burst can take are dropped whole, so that those behind them come', () => {
    const loop = makeLoop();
    loop.send(full(5), [60]);
    expect([receive(loop, loop.rx, 4), receive(loop, loop.rx, 4)]).toEqual([[], [[60]]]);
    expect(loop.counters().rx).toMatchObject({ packets: 1n, oversize: 5n });
    expect(loop.world.stack.free.size).toBe(256);
    loop.tx.reclaim();
    expect(loop.counters().tx).toMatchObject({ packets: 2n, extra_frames: 4n, completed: 6n });
  });

  it.each<[string, number[], string]>([
    ['a byte too many', [...Array<number>(5).fill(FRAMES.room), 59], 'oversize'],
    ['65 segments', Array<number>(65).fill(60), 'oversize'],
    ['a segment longer than a frame', [60, FRAMES.room + 1, 60], 'oversize'],
    ['a first segment without a header', [13, 60], 'runt'],
    ['an empty segment', [60, 0, 60], 'runt'],
  ])('with %s are thrown out whole, the others pass', (_, lengths, reason) => {
    const loop = makeLoop(9018, 9018, 128);
    expect(loop.send([61], lengths, [62])).toBe(lengths.length + 2);
    expect(receive(loop, loop.rx)).toEqual([[61], [62]]);
    expect(loop.counters().tx).toMatchObject({ packets: 3n, bytes: 123n, [reason]: BigInt(lengths.length) });
    expect(loop.world.stack.free.size).toBe(256);
  });

  it('that are longer than the ring are thrown out when it is their turn', () => {
    const loop = makeLoop();
    const long = Array<number>(65).fill(60);
    expect([loop.send([61], long), loop.send(long)]).toEqual([1, 65]);
    expect(loop.counters().tx).toMatchObject({ packets: 2n, oversize: 65n });
  });

  it('without an end are thrown out whole', () => {
    const loop = makeLoop();
    const burst = makeBurst(3, MORE + 100);
    loop.world.stack.take(burst.offsets, 0, 3);
    expect(loop.tx.transmit(burst, 0, 3)).toBe(3);
    expect(loop.counters().tx).toMatchObject({ packets: 1n, extra_frames: 2n, oversize: 3n });
  });

  it('are thrown out whole where packets fit a frame, their last segment too', () => {
    const loop = makeLoop(1518);
    expect(loop.rx.segments).toBe(false);
    expect(loop.send([100, 100], [60])).toBe(3);
    expect(receive(loop, loop.rx)).toEqual([[60]]);
    expect(loop.counters().tx).toMatchObject({ packets: 2n, extra_frames: 1n, oversize: 2n });
  });

  it('are dropped whole by an end that takes none, although the other sends them; the others keep their order', () => {
    const loop = makeLoop(9018, 1518);
    expect(loop.rx.segments).toBe(false);
    loop.send([60], full(3), [61], full(2), [62]);
    expect(receive(loop, loop.rx)).toEqual([[60], [61], [62]]);
    expect(loop.counters().rx).toEqual({ packets: 3n, bytes: 183n, extra_frames: 0n, oversize: 5n });
    expect(loop.world.stack.free.size).toBe(256);
  });

  it('do not let a frame pass that is longer than there is room for, although the port is', () => {
    const loop = makeLoop();
    loop.send([FRAMES.room + 1], [FRAMES.room]);
    expect(receive(loop, loop.rx)).toEqual([[FRAMES.room]]);
    expect(loop.counters().tx).toMatchObject({ oversize: 1n });
  });
});

const packet = fc.array(fc.integer({ min: 0, max: FRAMES.room + 10 }), { minLength: 1, maxLength: 12 });

property.prop([
  fc.array(fc.record({ packets: fc.array(packet, { maxLength: 6 }), size: fc.integer({ min: 1, max: 40 }) }), {
    maxLength: 40,
  }),
])('Whatever is sent, bursts are whole packets, frames are in one place, and ends add up', (steps) => {
  const loop = makeLoop();
  for (const { packets, size } of steps) {
    if (packets.length > 0) loop.send(...packets);
    receive(loop, loop.rx, size);
    expect(loop.world.stack.free.size + loop.inRing()).toBe(256);
    loop.tx.reclaim();
    const { packets: n, extra_frames: extra, completed, runt, oversize } = loop.counters().tx;
    expect(Number(n! + extra! - completed! - runt! - oversize!)).toBe(loop.inRing());
  }
});
