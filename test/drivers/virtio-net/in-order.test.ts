/** IN_ORDER at the driver's end (virtio 1.2 §2.7.9, §2.8.7): a device that tells of a batch of buffers by the last of them. */
import { fc, test as property } from '@fast-check/vitest';
import { describe, expect, test } from 'vitest';
import { BLOCK, TROUBLE } from '../../../lib/drivers/virtio-net/block.ts';
import { MORE } from '../../../lib/queue.ts';
import { HDR, KINDS, type Kind, packetOf, ROOM, VirtioWorld } from '../../fakes/virtio-queues.ts';

const JUMBO = { maxLength: 9018, mergeable: true, indirect: true, frames: 128, inOrder: true };

/** Lengths of packets, many of which fill their buffers to the last byte: only the last buffer of a batch may be part full. */
const length = fc.constantFrom(60, 61, ROOM - HDR, 2 * ROOM - HDR, 2 * ROOM, 3 * ROOM - HDR);

/** Bytes of the frames in a burst, one after the other, and how many packets end in it. */
function contents(world: VirtioWorld, burst: ReturnType<VirtioWorld['burst']>): { bytes: number[]; ends: number } {
  const bytes: number[] = [];
  let ends = 0;
  for (let i = 0; i < burst.count; i++) {
    const at = burst.offsets[i];
    bytes.push(...world.bytes.slice(at, at + (burst.lengths[i] & ~MORE)));
    if (burst.lengths[i] < MORE) ends++;
  }
  return { bytes, ends };
}

/** Puts packets into rx buffers; returns id and length of each buffer. */
function fill(world: VirtioWorld, packets: readonly number[][]): { id: number; len: number }[] {
  const used: { id: number; len: number }[] = [];
  const { device } = world;
  // What the device does with each, but for telling of it.
  const real = device.useTogether;
  device.useTogether = (buffers) => void used.push(...buffers);
  for (const packet of packets) if (!world.deliverOver(packet)) throw new Error('there are no buffers');
  device.useTogether = real;
  return used;
}

describe.each(KINDS)('Over a %s ring, IN_ORDER', (kind: Kind) => {
  const sizes = kind === 'split' ? [16, 32] : [16, 19, 32];
  property.prop(
    [
      fc.constantFrom(...sizes),
      fc.array(fc.array(length, { minLength: 1, maxLength: 4 }), { maxLength: 40 }),
      fc.infiniteStream(fc.boolean()),
    ],
    {
      numRuns: 60,
    },
  )('rx: packets over batches of any kind come whole and in order', (size, rounds, coin) => {
    const world = new VirtioWorld({ kind, size, ...JUMBO });
    const rx = world.makeRx();
    const burst = world.burst();
    let packets = 0;
    for (const [round, lengths] of rounds.entries()) {
      const sent = lengths.map((bytes, i) => packetOf(round * 5 + i, bytes));
      const used = fill(world, sent);
      for (let i = 0; i < used.length; ) {
        let n = 1;
        while (i + n < used.length && used[i + n - 1].len === ROOM && coin.next().value) n++;
        const batch = used.slice(i, i + n);
        world.device.useBatch(
          batch.map(({ id }) => id),
          batch[n - 1].len,
        );
        i += n;
      }
      const got: number[] = [];
      let ends = 0;
      while (rx.receive(burst) > 0) {
        const some = contents(world, burst);
        got.push(...some.bytes);
        ends += some.ends;
        world.stack.give(burst.offsets, 0, burst.count);
      }
      expect(Buffer.compare(Buffer.from(got), Buffer.from(sent.flat()))).toBe(0);
      expect(ends).toBe(sent.length);
      packets += ends;
    }
    expect(world.counters('rx').packets).toBe(packets);
    expect(world.free.free.size + world.held.length).toBe(world.frames);
    expect(world.device.violations).toEqual([]);
  });

  test.each(
    sizes.flatMap((size) => [
      [size, 'tables', true],
      [size, 'no tables', false],
    ]),
  )('tx: what a ring of %i was given comes back in batches, %s, announcements between', (size, _, indirect) => {
    const world = new VirtioWorld({ kind, size, ...JUMBO, indirect: Boolean(indirect) });
    const tx = world.makeTx();
    let completed = 0;
    for (let round = 0; round < 100; round++) {
      const several = indirect ? [MORE + 1500, 1500] : [1500];
      const burst = world.burstOf(60, ...several, 61, ...Array.from({ length: round % 5 }, () => 64));
      const announce = (wanted: boolean) => {
        world.words[BLOCK.announce] = Number(wanted);
        tx.reclaim();
      };
      announce(round % 7 === 3);
      expect(tx.transmit(burst, 0, burst.count)).toBe(burst.count);
      announce(round % 7 === 5);
      const ids: number[] = [];
      for (let taken = world.device.take(); taken !== undefined; taken = world.device.take()) ids.push(taken.id);
      // In two batches, or in one.
      const cut = round % ids.length;
      if (cut > 0) world.device.useBatch(ids.slice(0, cut), 0);
      world.device.useBatch(ids.slice(cut), 0);
      // What is behind an announcement is taken at the next look.
      tx.reclaim();
      expect(tx.reclaim()).toBe(0);
      completed += burst.count;
      expect(world.counters('tx')).toMatchObject({ completed });
      expect(world.free.free.size).toBe(world.frames);
    }
    expect(world.device.violations).toEqual([]);
  });

  test('rx: a batch beyond what the device has is its end, and no frame is lost', () => {
    for (const [used, named] of [
      [1, 3],
      [4, 7],
      [2, 15],
    ]) {
      const world = new VirtioWorld({ kind, size: 16, ...JUMBO, frames: 8 });
      const rx = world.makeRx();
      const burst = world.burst();
      rx.receive(burst);
      const ids = Array.from({ length: used }, () => world.device.take()!.id);
      world.device.useBatch([...ids.slice(0, -1), named], ROOM);
      rx.receive(burst);
      if (kind === 'split' || named >= 8) expect(world.words[BLOCK.trouble]).toBe(TROUBLE.id);
      world.stack.give(burst.offsets, 0, burst.count);
      expect(world.free.free.size + world.held.length).toBe(world.frames);
    }
  });
});
