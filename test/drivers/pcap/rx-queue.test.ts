import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { makeRxQueue } from '../../../lib/drivers/pcap/queue.ts';
import { frame } from '../../fakes/capture-files.ts';
import { World } from '../../fakes/pcap-queues.ts';

const NAMES = ['packets', 'bytes', 'extra_frames', 'runt', 'oversize'];
const world = (options: Partial<ConstructorParameters<typeof World>[0]> = {}) =>
  new World({ words: 1024, names: NAMES, ...options });

/** Receives until nothing waits. */
function drain(w: World, rx = makeRxQueue(w.plan, w.context), size = 8): Uint8Array[] {
  const burst = w.burst(size);
  const packets: Uint8Array[] = [];
  while (rx.receive(burst) > 0 || rx.arm()) packets.push(...w.consume(burst));
  return packets;
}

test('Records become frames, in order, with their lengths and bytes', () => {
  const w = world();
  const packets = [60, 61, 62, 63, 14, 1518].map((length) => frame(length, length));
  for (const packet of packets) w.putRecord(packet);
  expect(drain(w)).toEqual(packets);
  expect(w.empty).toBe(true);
  expect(w.counters).toEqual({
    packets: 6,
    bytes: 60 + 61 + 62 + 63 + 14 + 1518,
    extra_frames: 0,
    runt: 0,
    oversize: 0,
  });
});

test('An empty ring gives nothing', () => {
  const w = world();
  const rx = makeRxQueue(w.plan, w.context);
  const burst = w.burst(4);
  burst.count = 3;
  expect(rx.receive(burst)).toBe(0);
  expect(burst.count).toBe(0);
  expect(rx.arm()).toBe(false);
  expect(rx.fd).toBe(-1);
  expect(rx.patient).toBe(true);
});

test('A burst is never more than it has room for', () => {
  const w = world();
  for (let i = 0; i < 5; i++) w.putRecord(frame(60, i));
  const rx = makeRxQueue(w.plan, w.context);
  const burst = w.burst(3);
  expect([rx.receive(burst), burst.count]).toEqual([3, 3]);
  w.consume(burst);
  expect(rx.arm()).toBe(true);
  expect([rx.receive(burst), burst.count]).toEqual([2, 2]);
});

test('Whatever the lengths and wherever the indices start, what goes in comes out', () => {
  const lengths = fc.array(fc.integer({ min: 0, max: 300 }), { minLength: 1, maxLength: 60 });
  // Indices begin at a multiple of four words, near the places where they wrap.
  const start = fc.integer({ min: -200, max: 200 }).map((n) => n * 4);
  const from = fc.constantFrom(0, 0x7fff_ff00, -0x8000_0000);
  fc.assert(
    fc.property(lengths, start, from, fc.integer({ min: 1, max: 9 }), (list, offset, base, size) => {
      const w = world({ words: 512, maxLength: 250 });
      w.startAt((base + offset) | 0);
      const rx = makeRxQueue(w.plan, w.context);
      const out: Uint8Array[] = [];
      list.forEach((length, i) => {
        w.putRecord(frame(length, i));
        if (i % 4 === 3) out.push(...drain(w, rx, size));
      });
      out.push(...drain(w, rx, size));
      expect(w.empty).toBe(true);
      const good = list.map((length, i) => frame(length, i)).filter(({ length }) => length >= 14 && length <= 250);
      expect(out).toEqual(good);
      const { packets, bytes, runt, oversize } = w.counters;
      expect([packets, bytes]).toEqual([good.length, good.reduce((sum, p) => sum + p.length, 0)]);
      expect(runt).toBe(list.filter((n) => n < 14).length);
      expect(oversize).toBe(list.filter((n) => n > 250).length);
      expect(w.stack.free.size).toBe(64);
    }),
  );
});

describe('Packets that are no frames', () => {
  test('are counted by reason and skipped, up to the limits of the port', () => {
    const w = world({ maxLength: 100, frameSize: 128 });
    for (const length of [13, 14, 64, 65, 100, 101]) w.putRecord(frame(length));
    w.putRecord(new Uint8Array(0), { length: 9000 });
    w.putRecord(new Uint8Array(0));
    expect(drain(w).map((p) => p.length)).toEqual([14, 64, 65, 100]);
    expect(w.counters).toEqual({ packets: 4, bytes: 243, extra_frames: 0, runt: 2, oversize: 2 });
    expect(w.stack.free.size).toBe(64);
  });

  test('do not keep a call busy: it looks at twice as many records as the burst is long', () => {
    const w = world();
    for (let i = 0; i < 20; i++) w.putRecord(frame(13));
    const rx = makeRxQueue(w.plan, w.context);
    expect(rx.receive(w.burst(4))).toBe(0);
    expect(w.counters.runt).toBe(8);
    expect(rx.arm()).toBe(true);
  });
});

test('Without free frames records stay, and are delivered when there are frames again', () => {
  const w = world({ frames: 2 });
  for (let i = 0; i < 3; i++) w.putRecord(frame(60, i));
  const rx = makeRxQueue(w.plan, w.context);
  const burst = w.burst(4);
  expect(rx.receive(burst)).toBe(2);
  expect(rx.receive(w.burst(4))).toBe(0);
  expect(w.empty).toBe(false);
  w.consume(burst);
  expect(rx.receive(burst)).toBe(1);
  expect(w.consume(burst)).toEqual([frame(60, 2)]);
  expect(w.counters.packets).toBe(3);
});

test('After quiesce nothing more is delivered, and nothing asks for attention', () => {
  const w = world();
  w.putRecord(frame(60));
  const rx = makeRxQueue(w.plan, w.context);
  rx.quiesce();
  expect(rx.receive(w.burst(4))).toBe(0);
  expect(rx.arm()).toBe(false);
  expect(w.empty).toBe(false);
});

test('A queue made anew goes on where the one before it stopped', () => {
  const w = world();
  for (let i = 0; i < 3; i++) w.putRecord(frame(60, i));
  const burst = w.burst(2);
  makeRxQueue(w.plan, w.context).receive(burst);
  expect(w.consume(burst)).toEqual([frame(60, 0), frame(60, 1)]);
  expect(drain(w)).toEqual([frame(60, 2)]);
});

describe('With original timing', () => {
  test('a frame is released when it is due, not before', () => {
    const w = world({ timed: true });
    w.putRecord(frame(60, 0), { due: 0n });
    w.putRecord(frame(60, 1), { due: 1_000n });
    w.putRecord(frame(60, 2), { due: 1_000n });
    w.putRecord(frame(60, 3), { due: 0x2_0000_0005n });
    const rx = makeRxQueue(w.plan, w.context);
    expect(rx.arm()).toBe(true);
    expect(drain(w, rx)).toEqual([frame(60, 0)]);
    expect(rx.arm()).toBe(false);
    w.clock.ns += 999;
    expect(drain(w, rx)).toEqual([]);
    w.clock.ns += 1;
    expect(rx.arm()).toBe(true);
    expect(drain(w, rx)).toEqual([frame(60, 1), frame(60, 2)]);
    w.clock.ns += 0x2_0000_0004 - 1000;
    expect(drain(w, rx)).toEqual([]);
    w.clock.ns += 1;
    expect(drain(w, rx)).toEqual([frame(60, 3)]);
  });

  test('time begins with the first look at a frame, and goes on when the queue is made anew', () => {
    const w = world({ timed: true });
    const rx = makeRxQueue(w.plan, w.context);
    drain(w, rx);
    w.clock.ns += 1_000_000;
    w.putRecord(frame(60, 0), { due: 0n });
    w.putRecord(frame(60, 1), { due: 500n });
    expect(drain(w, rx)).toEqual([frame(60, 0)]);
    w.clock.ns += 500;
    expect(drain(w)).toEqual([frame(60, 1)]);
  });
});

test('A port without input has a queue that is always empty', () => {
  const w = world();
  const rx = makeRxQueue({ ...w.plan, data: { ring: 0, words: 0, timed: 0 } }, w.context);
  const burst = w.burst(4);
  burst.count = 2;
  expect(rx.receive(burst)).toBe(0);
  expect(burst.count).toBe(0);
  expect(rx.arm()).toBe(false);
  rx.disarm();
  rx.quiesce();
});
