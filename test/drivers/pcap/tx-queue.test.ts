import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { makeTxQueue, warmUp } from '../../../lib/drivers/pcap/queue.ts';
import { Blocks, file, frame } from '../../fakes/capture-files.ts';
import { World } from '../../fakes/pcap-queues.ts';
import { read } from '../../fakes/read-capture.ts';

const NAMES = [
  'packets',
  'bytes',
  'completed',
  'runt',
  'oversize',
  'stopped',
  'extra_frames',
  'io_error',
  'no_output',
  'joined',
];
const world = (options: Partial<ConstructorParameters<typeof World>[0]> = {}) =>
  new World({ words: 1024, names: NAMES, ...options });
const b = new Blocks(true);
/** What a file begins with, in nanoseconds. */
const head = file(b.section(), b.interface([{ code: 9, value: b.u8(9) }]));

test('Frames become enhanced packet blocks, byte by byte, and are free again', () => {
  const w = world();
  const tx = makeTxQueue(w.plan, w.context);
  w.clock.utcNs = 0x18_2233_4455_6677n;
  const burst = w.burstOf([frame(60, 1), frame(61, 2), frame(62, 3), frame(63, 4)]);
  expect(tx.transmit(burst, 0, 4)).toBe(4);
  expect(w.stack.free.size).toBe(64);
  const outbound = { options: [{ code: 2, value: b.u32(2) }] };
  const blocks = [1, 2, 3, 4].map((seed) => b.packet(0, 0x18_2233_4455_6677n, frame(59 + seed, seed), outbound));
  expect(Buffer.from(w.takeBlocks()).toString('hex')).toBe(Buffer.from(file(...blocks)).toString('hex'));
  expect(w.counters).toMatchObject({ packets: 4, bytes: 60 + 61 + 62 + 63, completed: 0, runt: 0, oversize: 0 });
});

test('A reader of the blocks finds every frame, its time and its direction', async () => {
  const w = world();
  const tx = makeTxQueue(w.plan, w.context);
  tx.transmit(w.burstOf([frame(1518, 1)]), 0, 1);
  w.clock.utcNs += 7n;
  tx.transmit(w.burstOf([frame(14, 2)]), 0, 1);
  const { packets, error } = await read(file(head, w.takeBlocks()));
  expect(error).toBeUndefined();
  expect(packets).toEqual([
    { interface: 0, timestamp: 0x18_2233_4455_6677n, originalLength: 1518, direction: 2, data: frame(1518, 1) },
    { interface: 0, timestamp: 0x18_2233_4455_667en, originalLength: 14, direction: 2, data: frame(14, 2) },
  ]);
});

test('Whatever the lengths, the room and the place where indices wrap, accepted frames are in the file, in order', async () => {
  const lengths = fc.array(fc.integer({ min: 14, max: 300 }), { minLength: 1, maxLength: 60 });
  const start = fc.tuple(fc.constantFrom(0, 0x7fff_ff00, -0x8000_0000), fc.integer({ min: -500, max: 500 }));
  await fc.assert(
    fc.asyncProperty(lengths, start, fc.integer({ min: 1, max: 20 }), async (list, [base, offset], size) => {
      const w = world({ words: 512 });
      w.startAt((base + offset) | 0);
      const tx = makeTxQueue(w.plan, w.context);
      const pieces = [head];
      const sent: Uint8Array[] = [];
      for (let at = 0; at < list.length; at += size) {
        const packets = list.slice(at, at + size).map((length, i) => frame(length, at + i));
        const burst = w.burstOf(packets);
        const n = tx.transmit(burst, 0, packets.length);
        w.stack.give(burst.offsets, n, packets.length);
        sent.push(...packets.slice(0, n));
        if (n < packets.length) pieces.push(w.takeBlocks());
      }
      pieces.push(w.takeBlocks());
      const { packets, error } = await read(file(...pieces));
      expect(error).toBeUndefined();
      expect(packets.map((p) => p.data)).toEqual(sent);
      expect(w.counters.packets).toBe(sent.length);
      expect(w.accepted).toBe(sent.length);
      expect(w.stack.free.size).toBe(64);
    }),
  );
});

test('A full ring takes fewer, and none; the frames that it does not take stay the caller’s', () => {
  // Each block has 44 + 60 bytes: 26 words. 256 words hold nine.
  const w = world({ words: 256 });
  const tx = makeTxQueue(w.plan, w.context);
  const burst = w.burstOf(Array.from({ length: 12 }, (_, i) => frame(60, i)));
  expect(tx.transmit(burst, 0, 12)).toBe(9);
  expect(w.stack.free.size).toBe(64 - 3);
  expect(tx.transmit(burst, 9, 12)).toBe(0);
  expect(tx.reclaim()).toBe(9);
  w.takeBlocks(2 * 104);
  expect(tx.transmit(burst, 9, 12)).toBe(2);
  w.tell({ done: 5 });
  expect(tx.reclaim()).toBe(6);
  expect(w.counters.packets).toBe(11);
});

test('Part of a burst is transmitted when part is asked for', async () => {
  const w = world();
  const tx = makeTxQueue(w.plan, w.context);
  const burst = w.burstOf([0, 1, 2, 3].map((seed) => frame(60, seed)));
  expect(tx.transmit(burst, 1, 3)).toBe(2);
  expect(tx.transmit(burst, 3, 3)).toBe(0);
  expect(tx.transmit(burst, 3, 2)).toBe(0);
  const { packets } = await read(file(head, w.takeBlocks()));
  expect(packets.map((p) => p.data)).toEqual([frame(60, 1), frame(60, 2)]);
});

test('Frames of impossible length are accepted, counted by reason, and not written', () => {
  const w = world({ maxLength: 100 });
  const tx = makeTxQueue(w.plan, w.context);
  const packets = Array.from({ length: 8 }, () => frame(60));
  const burst = w.burstOf(packets, [13, 60, 101, -1, 0x3fff_ffff, -0x8000_0000, 14, 100]);
  expect(tx.transmit(burst, 0, 8)).toBe(8);
  expect(w.counters).toMatchObject({ packets: 8, bytes: 174, runt: 3, oversize: 2 });
  expect(w.accepted).toBe(3);
  expect(tx.reclaim()).toBe(3);
  expect(w.takeBlocks()).toHaveLength(44 + 60 + 44 + 16 + 44 + 100);
  expect(w.stack.free.size).toBe(64);
});

test('Once the file has failed nothing more is accepted', () => {
  const w = world();
  const tx = makeTxQueue(w.plan, w.context);
  w.tell({ failed: true });
  const burst = w.burstOf([frame(60)]);
  expect(tx.transmit(burst, 0, 1)).toBe(0);
  expect(w.stack.free.size).toBe(63);
  expect(w.counters.packets).toBe(0);
});

test('A queue made anew goes on where the one before it stopped', async () => {
  const w = world();
  makeTxQueue(w.plan, w.context).transmit(w.burstOf([frame(60, 1)]), 0, 1);
  const tx = makeTxQueue(w.plan, w.context);
  expect(tx.reclaim()).toBe(1);
  tx.transmit(w.burstOf([frame(60, 2)]), 0, 1);
  expect(tx.reclaim()).toBe(2);
  tx.kick();
  const { packets } = await read(file(head, w.takeBlocks()));
  expect(packets.map((p) => p.data)).toEqual([frame(60, 1), frame(60, 2)]);
});

describe('A port without output', () => {
  test('accepts every frame, and counts it as not written for want of a file', () => {
    const w = world({ maxLength: 100 });
    const tx = makeTxQueue({ ...w.plan, data: { ring: 0, words: 0 } }, w.context);
    const burst = w.burstOf([frame(60), frame(60), frame(60)], [60, 13, 101]);
    expect(tx.transmit(burst, 0, 3)).toBe(3);
    expect(tx.transmit(burst, 3, 3)).toBe(0);
    expect(w.counters).toEqual({
      packets: 3,
      bytes: 60,
      completed: 0,
      runt: 1,
      oversize: 1,
      stopped: 0,
      extra_frames: 0,
      joined: 0,
      io_error: 0,
      no_output: 1,
    });
    expect(tx.reclaim()).toBe(0);
    expect(w.stack.free.size).toBe(64);
    tx.kick();
  });
});

test('Warm-up drives both queues in scratch memory alone, and gives back every frame', () => {
  const w = world();
  let next = 0x10_0000;
  const scratch = (bytes: number) => {
    const at = next;
    next += Math.ceil(bytes / 64) * 64;
    return at;
  };
  const before = w.bytes.slice(0, 0x8_0000);
  warmUp({ ...w.context, scratch });
  expect(w.stack.free.size).toBe(64);
  expect(Buffer.compare(w.bytes.slice(0, 0x8_0000), before)).toBe(0);
});
