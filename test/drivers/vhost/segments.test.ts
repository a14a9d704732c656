/** Packets that do not fit one frame, at the device's end: in from the guest, out to it. */
import { describe, expect, it } from 'vitest';
import { MORE, type TxQueue } from '../../../lib/queue.ts';
import { packet, VhostWorld } from '../../fakes/vhost-world.ts';
import { packetsOf, scatterBytes, withHeader } from '../../fakes/virtio-driver.ts';

const ROOM = 2048;
const JUMBO = { maxLength: 9018 };

describe.each([false, true])('An rx queue of jumbo packets (packed %s)', (packed) => {
  const worldOf = (more = {}) => new VhostWorld('rx', { packed, ...JUMBO, ...more });

  /** Packets of a burst, put together. */
  function receive(world: VhostWorld, rx: ReturnType<VhostWorld['rx']>, size = 32): Uint8Array[] {
    const burst = world.burst(size);
    rx.receive(burst);
    const packets: number[][] = [];
    let more = false;
    for (let i = 0; i < burst.count; i++) {
      const length = burst.lengths[i] & ~MORE;
      const bytes = world.bytes.slice(burst.offsets[i], burst.offsets[i] + length);
      if (more) packets[packets.length - 1].push(...bytes);
      else packets.push([...bytes]);
      more = burst.lengths[i] >= MORE;
    }
    expect(more).toBe(false);
    world.stack.give(burst.offsets, 0, burst.count);
    return packets.map((bytes) => Uint8Array.from(bytes));
  }

  it.each([ROOM - 36, ROOM - 1, ROOM, ROOM + 1, 2 * ROOM, 2 * ROOM + 1, 9018])(
    'takes one of %i bytes whole',
    (length) => {
      const world = worldOf();
      const rx = world.rx();
      expect(rx.segments).toBe(true);
      const sent = [packet(60, 1), packet(length, 2), packet(60, 3)];
      for (const [i, p] of sent.entries())
        world.driver.add(scatterBytes(world.guest, withHeader(p), i === 1 ? [12, 700, 3000] : []));
      expect(receive(world, rx)).toEqual(sent);
      const extra = Math.ceil(length / ROOM) - 1;
      const counted = { packets: 3, bytes: 120 + length, ...(extra > 0 ? { extra_frames: extra } : {}) };
      expect(world.counted).toEqual(counted);
      expect(world.driver.reap().length).toBe(3);
      expect(world.framesFree).toBe(true);
    },
  );

  it('leaves one in the ring for which the rest of a burst has no room, and drops one that no burst has room for', () => {
    const world = worldOf();
    const rx = world.rx();
    const sent = [packet(60, 1), packet(5000, 2), packet(9018, 3), packet(60, 4)];
    for (const p of sent) world.driver.add(scatterBytes(world.guest, withHeader(p), [4000]));
    expect(receive(world, rx, 3)).toEqual([sent[0]]);
    expect(receive(world, rx, 3)).toEqual([sent[1]]);
    expect(receive(world, rx, 3)).toEqual([sent[3]]);
    expect(world.counted).toEqual({ packets: 3, bytes: 5120, extra_frames: 2, oversize: 1 });
    expect(world.driver.reap().length).toBe(4);
    expect(world.framesFree).toBe(true);
  });

  it('leaves one in the ring for which there are no frames, until there are', () => {
    const world = worldOf({ frames: 8 });
    const rx = world.rx();
    const held = Array.from({ length: 5 }, () => world.stack.pop());
    world.driver.add(scatterBytes(world.guest, withHeader(packet(9000, 1)), []));
    expect(receive(world, rx, 8)).toEqual([]);
    expect(world.driver.reap()).toEqual([]);
    for (const frame of held) world.stack.push(frame);
    expect(receive(world, rx, 8)).toEqual([packet(9000, 1)]);
    expect(world.counted).toEqual({ packets: 1, bytes: 9000, extra_frames: 4 });
  });

  it('drops one that is longer than the port allows', () => {
    const world = worldOf();
    world.driver.add(scatterBytes(world.guest, withHeader(packet(9019, 1)), []));
    world.driver.add(scatterBytes(world.guest, withHeader(packet(9018, 2)), []));
    expect(receive(world, world.rx())).toEqual([packet(9018, 2)]);
    expect(world.counted).toEqual({ packets: 1, bytes: 9018, extra_frames: 4, oversize: 1 });
    expect(world.framesFree).toBe(true);
  });

  it.each([34, 35, 2047, 2048, 2049, 4095])('completes a checksum over all of its frames, from byte %i on', (start) => {
    const world = worldOf({ csum: true });
    const p = packet(5000, 7);
    const offset = 13;
    const header = new Uint8Array(12);
    const view = new DataView(header.buffer);
    view.setUint8(0, 1);
    view.setUint16(6, start, true);
    view.setUint16(8, offset, true);
    world.driver.add(scatterBytes(world.guest, withHeader(p, header), [100]));
    const [got] = receive(world, world.rx());
    expect([...got.slice(0, start + offset), ...got.slice(start + offset + 2)]).toEqual([
      ...p.slice(0, start + offset),
      ...p.slice(start + offset + 2),
    ]);
    // What was in the field is summed up too: the sum of a pseudo-header. With its checksum instead, all add up to ones.
    const words = (bytes: Uint8Array) => {
      let total = 0;
      for (let i = start; i < bytes.length; i++) total += (i - start) % 2 === 0 ? bytes[i] << 8 : bytes[i];
      while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
      return total;
    };
    const swap = (n: number) => (offset % 2 === 0 ? n : ((n & 0xff) << 8) | (n >>> 8));
    const field = (bytes: Uint8Array) => swap((bytes[start + offset] << 8) | bytes[start + offset + 1]);
    const plus = words(got) - field(got) + swap(~words(p) & 0xffff);
    expect(plus % 0xffff).toBe(words(got) % 0xffff);
    expect(world.framesFree).toBe(true);
  });
});

describe.each([false, true])('A tx queue of jumbo packets (packed %s)', (packed) => {
  const worldOf = (more = {}) => new VhostWorld('tx', { packed, ...JUMBO, mergeable: true, ...more });

  /** Sends packets, each in segments of the `sizes` given; returns how many frames were accepted, and how many there were. */
  function send(world: VhostWorld, tx: TxQueue, ...packets: (readonly [Uint8Array, readonly number[]])[]) {
    const entries = packets.flatMap(([bytes, sizes]) => {
      let at = 0;
      return sizes.map((size, i) => {
        const part = bytes.subarray(at, at + size);
        at += size;
        return { part, length: size + (i < sizes.length - 1 ? MORE : 0) };
      });
    });
    const burst = world.burstOf(
      entries.map(({ part }) => part),
      entries.map(({ length }) => length),
    );
    const sent = tx.transmit(burst, 0, burst.count);
    world.stack.give(burst.offsets, sent, burst.count);
    tx.kick();
    return sent;
  }

  it.each([
    [[2048, 2048, 904]],
    [[14, 1, 2033, 2048, 904]],
    [[5000 - 2048, 2048].reverse().slice(0, 1).concat([1, 2048, 903])],
  ])('sends segments of %j as one packet, over mergeable buffers', (sizes) => {
    const world = worldOf();
    const tx = world.tx();
    for (let i = 0; i < 12; i++) world.driver.add([{ gpa: world.guest.allocate(1526), length: 1526, writable: true }]);
    const p = packet(5000, 3);
    expect(send(world, tx, [packet(60, 1), [60]], [p, sizes], [packet(70, 2), [70]])).toBe(sizes.length + 2);
    expect(packetsOf(world.guest, world.driver.reap(), true)).toEqual([packet(60, 1), p, packet(70, 2)]);
    const frames = sizes.length + 2;
    const counted = { packets: 3, bytes: 5130, completed: frames, extra_frames: frames - 3 };
    expect(world.counted).toEqual(counted);
    expect(world.framesFree).toBe(true);
  });

  it('sends them into one large buffer without mergeable ones, and counts all frames of one that does not fit', () => {
    const world = worldOf({ mergeable: false });
    const tx = world.tx();
    for (const length of [5012, 5011, 100])
      world.driver.add([{ gpa: world.guest.allocate(length), length, writable: true }]);
    const p = packet(5000, 3);
    const sizes = [2048, 2048, 904];
    expect(send(world, tx, [p, sizes], [p, sizes])).toBe(6);
    expect(packetsOf(world.guest, world.driver.reap(), false)).toEqual([p]);
    expect(world.counted).toEqual({ packets: 2, bytes: 5000, completed: 3, extra_frames: 4, no_buffer: 3 });
    expect(world.framesFree).toBe(true);
  });

  it('accepts all of a packet or nothing of it', () => {
    const world = worldOf();
    const tx = world.tx();
    for (let i = 0; i < 3; i++) world.driver.add([{ gpa: world.guest.allocate(1526), length: 1526, writable: true }]);
    const p = packet(5000, 3);
    expect(send(world, tx, [packet(60, 1), [60]], [p, [2048, 2048, 904]])).toBe(1);
    expect(packetsOf(world.guest, world.driver.reap(), true)).toEqual([packet(60, 1)]);
    expect(world.framesFree).toBe(true);
  });

  it('refuses what may not pass, whole: too long, without a header, without an end', () => {
    const world = worldOf();
    const tx = world.tx();
    for (let i = 0; i < 20; i++) world.driver.add([{ gpa: world.guest.allocate(1526), length: 1526, writable: true }]);
    const part = packet(2048, 1);
    const burst = world.burstOf(
      Array.from({ length: 12 }, () => part),
      [
        ...[MORE + 2048, MORE + 2048, MORE + 2048, MORE + 2048, 827],
        ...[MORE + 13, 100],
        ...[MORE + 100, 0],
        60,
        ...[MORE + 100, MORE + 100],
      ],
    );
    expect(tx.transmit(burst, 0, 12)).toBe(12);
    expect(packetsOf(world.guest, world.driver.reap(), true)).toEqual([part.slice(0, 60)]);
    const counted = { packets: 5, bytes: 60, completed: 1, runt: 4, oversize: 7, extra_frames: 7 };
    expect(world.counted).toEqual(counted);
    expect(world.framesFree).toBe(true);
  });
});
