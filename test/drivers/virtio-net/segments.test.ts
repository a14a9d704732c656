/** Packets of several frames, at the driver's end: mergeable buffers in, indirect tables out. */
import { describe, expect, test } from 'vitest';
import { BLOCK } from '../../../lib/drivers/virtio-net/block.ts';
import { MORE } from '../../../lib/queue.ts';
import { HDR, KINDS, packetOf, ROOM, VirtioWorld } from '../../fakes/virtio-queues.ts';

const JUMBO = { maxLength: 9018, mergeable: true, indirect: true, frames: 128, size: 32 };

/** Packets of a burst, put together. */
function packetsOf(world: VirtioWorld, burst: ReturnType<VirtioWorld['burst']>): number[][] {
  const packets: number[][] = [];
  let more = false;
  for (let i = 0; i < burst.count; i++) {
    const length = burst.lengths[i] & ~MORE;
    const bytes = [...world.bytes.slice(burst.offsets[i], burst.offsets[i] + length)];
    if (more) packets[packets.length - 1].push(...bytes);
    else packets.push(bytes);
    more = burst.lengths[i] >= MORE;
  }
  expect(more).toBe(false);
  return packets;
}

describe.each(KINDS)('An rx queue over a %s ring, of packets of several buffers', (kind) => {
  test.each([60, ROOM - HDR, ROOM - HDR + 1, 2 * ROOM - HDR, 2 * ROOM - HDR + 1, 9018])(
    'gives one of %i bytes whole, between others',
    (length) => {
      const world = new VirtioWorld({ kind, ...JUMBO });
      const rx = world.makeRx();
      expect(rx.segments).toBe(true);
      const burst = world.burst();
      for (let round = 0; round < 40; round++) {
        const sent = [packetOf(round), packetOf(round + 1, length), packetOf(round + 2, 61)];
        for (const packet of sent) expect(world.deliverOver(packet)).toBe(true);
        const frames = 2 + Math.max(1, Math.ceil((length + HDR) / ROOM));
        expect(rx.receive(burst)).toBe(frames);
        expect(packetsOf(world, burst)).toEqual(sent);
        const extra = { packets: 3 * (round + 1), extra_frames: (frames - 3) * (round + 1) };
        expect(world.counters('rx')).toMatchObject({ ...extra, bytes: (121 + length) * (round + 1) });
        expect(world.free.free.size + world.held.length + frames).toBe(world.frames);
        world.stack.give(burst.offsets, 0, burst.count);
        rx.receive(burst);
      }
      expect(world.device.violations).toEqual([]);
    },
  );

  test('leaves one in the ring for which the rest of a burst has no room, and drops one that no burst has room for', () => {
    const world = new VirtioWorld({ kind, ...JUMBO });
    const rx = world.makeRx();
    const burst = world.burst(3);
    const sent = [packetOf(1), packetOf(2, 3 * ROOM - HDR), packetOf(3, 3 * ROOM), packetOf(4)];
    for (const packet of sent) world.deliverOver(packet);
    for (const expected of [[sent[0]], [sent[1]], [sent[3]]]) {
      rx.receive(burst);
      if (burst.count === 0) rx.receive(burst);
      expect(packetsOf(world, burst)).toEqual(expected);
      world.stack.give(burst.offsets, 0, burst.count);
    }
    expect(world.counters('rx')).toMatchObject({ packets: 3, extra_frames: 2, oversize: 4 });
    expect(world.free.free.size + world.held.length).toBe(world.frames);
  });

  test('H3, H6: drops one that is too long, and one whose parts have impossible lengths, whole', () => {
    const world = new VirtioWorld({ kind, ...JUMBO });
    const rx = world.makeRx();
    const burst = world.burst();
    world.deliverOver(packetOf(1, 9019));
    for (const lengths of [
      [ROOM + 1, 60],
      [HDR - 1, 60],
      [ROOM, ROOM + 1],
      [ROOM, 0x8000_0000],
      [HDR + 13, 60],
      [ROOM, 0],
    ]) {
      const taken = lengths.map(() => world.device.take()!);
      world.fill(taken[0], packetOf(0), { numBuffers: 2 });
      world.device.useTogether(taken.map(({ id }, i) => ({ id, len: lengths[i] })));
    }
    world.deliver(packetOf(9));
    rx.receive(burst);
    // The one whose first part is shorter than a header has no second one: that is taken for a packet.
    const packets = packetsOf(world, burst);
    expect(packets[packets.length - 1]).toEqual(packetOf(9));
    const { packets: n, oversize, invalid, runt } = world.counters('rx');
    expect(oversize).toBe(6);
    expect(invalid + runt + n - 1).toBeGreaterThanOrEqual(10);
    expect(world.free.free.size + world.held.length + burst.count).toBe(world.frames);
    expect(world.words[3]).toBe(0);
  });

  test('H2: a buffer that is named twice in one packet stops the queue, and no frame is lost', () => {
    const world = new VirtioWorld({ kind, ...JUMBO });
    const rx = world.makeRx();
    const [a] = [world.device.take()!, world.device.take()!];
    world.fill(a, packetOf(0, ROOM - HDR), { numBuffers: 2 });
    world.device.useTogether([
      { id: a.id, len: ROOM },
      { id: a.id, len: 60 },
    ]);
    expect(rx.receive(world.burst())).toBe(0);
    expect(world.words[3]).toBe(2);
    expect(world.free.free.size + world.held.length).toBe(world.frames);
  });

  test('completes a checksum that lies in its second frame', () => {
    const world = new VirtioWorld({ kind, ...JUMBO, checksum: true });
    const rx = world.makeRx();
    const burst = world.burst();
    const packet = packetOf(7, 4000);
    const [start, offset] = [1001, ROOM];
    world.deliverOver(packet, { flags: 1, csumStart: start, csumOffset: offset });
    rx.receive(burst);
    const [got] = packetsOf(world, burst);
    const at = start + offset;
    expect(got.filter((byte, i) => byte !== packet[i] && i !== at && i !== at + 1)).toEqual([]);
    const sum = (bytes: readonly number[]) => {
      let total = 0;
      for (let i = start; i < bytes.length; i++) total += (i - start) % 2 === 0 ? bytes[i] << 8 : bytes[i];
      while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
      return total;
    };
    expect((got[at] << 8) | got[at + 1]).toBe(~sum(packet) & 0xffff);
  });
});

describe.each(KINDS)('A tx queue over a %s ring, of packets of several frames', (kind) => {
  test('V23, V42, V43, V44: sends each as one descriptor of a table, between others, again and again', () => {
    const world = new VirtioWorld({ kind, ...JUMBO });
    const tx = world.makeTx();
    for (let round = 0; round < 40; round++) {
      const burst = world.burstOf(60, MORE + 2 * 700, MORE + 1500, 900, 61, MORE + 14, 1);
      expect(tx.transmit(burst, 0, 7)).toBe(7);
      const held = new Set(world.held);
      expect([...burst.offsets].every((offset) => held.has(offset))).toBe(true);
      const sent = world.collect();
      expect(sent.map(({ packet }) => packet.length)).toEqual([60, 3800, 61, 15]);
      expect(sent[1].packet).toEqual([...Array(1400).fill(2), ...Array(1500).fill(3), ...Array(900).fill(4)]);
      expect(sent.every(({ header }) => header.every((byte) => byte === 0))).toBe(true);
      expect(tx.reclaim()).toBe(0);
      expect(world.free.free.size).toBe(world.frames);
    }
    expect(world.device.violations).toEqual([]);
    const counted = { packets: 160, bytes: 40 * 3936, completed: 280, extra_frames: 120, oversize: 0, invalid: 0 };
    expect(world.counters('tx')).toMatchObject(counted);
  });

  test('refuses what may not pass, whole', () => {
    const world = new VirtioWorld({ kind, ...JUMBO });
    const tx = world.makeTx();
    const burst = world.burstOf(
      ...[MORE + ROOM, MORE + ROOM, MORE + ROOM, MORE + ROOM, MORE + ROOM, 59],
      ...[MORE + 13, 60],
      ...[MORE + 60, 0],
      60,
      ...[MORE + 60, MORE + 60],
    );
    expect(tx.transmit(burst, 0, 13)).toBe(13);
    expect(world.collect().map(({ packet }) => packet.length)).toEqual([60]);
    const counted = { packets: 5, bytes: 60, extra_frames: 8, oversize: 8, runt: 4 };
    expect(world.counters('tx')).toMatchObject(counted);
    tx.reclaim();
    expect(world.free.free.size).toBe(world.frames);
  });

  test('refuses one without room for the header before it, or whose part goes beyond its frame', () => {
    const world = new VirtioWorld({ kind, ...JUMBO });
    const tx = world.makeTx();
    const burst = world.burstOf(MORE + 60, 60, MORE + 60, 60);
    burst.offsets[0] -= 248;
    burst.offsets[3] += 1740;
    expect(tx.transmit(burst, 0, 4)).toBe(4);
    expect(world.counters('tx')).toMatchObject({ invalid: 4, extra_frames: 2 });
    expect(world.free.free.size).toBe(world.frames);
  });

  test('a device that is reset gives all frames back; those of a queue that is taken over stay', () => {
    const world = new VirtioWorld({ kind, ...JUMBO });
    let tx = world.makeTx();
    expect(tx.transmit(world.burstOf(MORE + 100, MORE + 100, 70, 61), 0, 4)).toBe(4);
    tx = world.makeTx();
    expect(world.held.length).toBe(4);
    world.gate.set(false);
    tx.reclaim();
    world.resetDevice();
    world.release();
    tx.reclaim();
    expect(world.free.free.size).toBe(world.frames);
    expect(world.counters('tx')).toMatchObject({ lost: 4 });
    world.gate.set(true);
    expect(tx.transmit(world.burstOf(60, MORE + 100, 70), 0, 3)).toBe(3);
    expect(world.collect().map(({ packet }) => packet.length)).toEqual([60, 170]);
  });
});

describe.each(KINDS)('An announcement by a tx queue over a %s ring', (kind) => {
  const sentBy = (world: VirtioWorld) => world.collect().map(({ packet }) => packet.length);

  test('V101: goes out once, among packets, and no counter knows it', () => {
    const world = new VirtioWorld({ kind });
    const tx = world.makeTx();
    for (let round = 1; round < 50; round++) {
      expect(tx.transmit(world.burstOf(61, 62), 0, 2)).toBe(2);
      world.words[BLOCK.announce] = 1;
      tx.reclaim();
      expect(tx.transmit(world.burstOf(63), 0, 1)).toBe(1);
      expect(world.held.length).toBe(3);
      expect(sentBy(world)).toEqual([61, 62, 60, 63]);
      while (tx.reclaim() > 0);
      expect([world.words[BLOCK.announce], world.words[BLOCK.announced], world.words[BLOCK.trouble]]).toEqual([
        0, 0, 0,
      ]);
      expect(world.counters('tx')).toMatchObject({ packets: 3 * round, completed: 3 * round });
      expect(world.free.free.size).toBe(world.frames);
    }
    expect(world.device.violations).toEqual([]);
  });

  test('waits for room in the ring, wakes the device, and is forgotten with a reset', () => {
    const world = new VirtioWorld({ kind });
    const tx = world.makeTx();
    expect(tx.transmit(world.burstOf(...Array<number>(16).fill(70)), 0, 16)).toBe(16);
    world.words[BLOCK.announce] = 1;
    tx.reclaim();
    expect(world.words[BLOCK.announce]).toBe(1);
    expect(sentBy(world).length).toBe(16);
    tx.reclaim();
    tx.reclaim();
    expect(world.kicks.length).toBe(1);
    expect(world.words[BLOCK.announced]).toBeGreaterThan(0);
    world.gate.set(false);
    tx.reclaim();
    world.resetDevice();
    world.release();
    tx.reclaim();
    expect(world.words[BLOCK.announced]).toBe(0);
    expect(world.counters('tx')).toMatchObject({ lost: 0, completed: 16 });
    expect(world.free.free.size).toBe(world.frames);
  });
});

describe.each(KINDS)('A packet of several frames at a tx queue over a %s ring that has no tables', (kind) => {
  test('is refused whole, its last segment too; the others are sent', () => {
    const world = new VirtioWorld({ kind });
    const tx = world.makeTx();
    expect(tx.transmit(world.burstOf(60, MORE + 100, MORE + 100, 70, 61), 0, 5)).toBe(5);
    expect(world.collect().map(({ packet }) => packet.length)).toEqual([60, 61]);
    expect(tx.reclaim()).toBe(0);
    const expected = { packets: 3, bytes: 121, extra_frames: 2, oversize: 3, completed: 2, invalid: 0 };
    expect(world.counters('tx')).toMatchObject(expected);
    expect(world.free.free.size).toBe(world.frames);
  });

  test('is refused whole where the room in the ring ends inside it', () => {
    const world = new VirtioWorld({ kind });
    const tx = world.makeTx();
    const burst = world.burstOf(...Array<number>(15).fill(60), MORE + 100, MORE + 100, 70);
    expect(tx.transmit(burst, 0, 18)).toBe(18);
    expect(world.counters('tx')).toMatchObject({ packets: 16, extra_frames: 2, oversize: 3 });
    expect(world.collect().length).toBe(15);
  });
});
