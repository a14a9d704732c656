import { fc, test as property } from '@fast-check/vitest';
import { describe, expect, test } from 'vitest';
import { MORE } from '../../../lib/queue.ts';
import { checksumOk, fold } from '../../../lib/wire/checksum.ts';
import { ipv4PseudoSum } from '../../../lib/wire/ipv4.ts';
import { inFlightOf, POOL, XskWorld } from '../../fakes/xsk-kernel.ts';

const EBUSY = 16;
/** What a frame has room for. */
const ROOM = POOL.frameSize - POOL.headroom;
const SEGMENTS = 17;

/** A kernel and queues that know packets of several frames. */
const several = (more: ConstructorParameters<typeof XskWorld>[0] = {}) =>
  new XskWorld({ ring: 64, frames: 256, maxLength: 30_000, segments: SEGMENTS, ...more });

/** Lengths of a packet of `n` full frames but for the last. */
const packetOf = (n: number, last = 100): number[] => [...Array<number>(n - 1).fill(ROOM), last];
/** The same, as they stand in a burst. */
const entries = (lengths: readonly number[]): number[] =>
  lengths.map((length, i) => (i < lengths.length - 1 ? MORE + length : length));
const sum = (lengths: readonly number[]): number => lengths.reduce((a, b) => a + b, 0);

/** Every frame is free, with the kernel, or one of the `held`. */
function expectAllThere(world: XskWorld, direction: 'rx' | 'tx', held = 0): void {
  expect(world.stack.free.size + world.mapped(direction) + held).toBe(world.frames);
}

/** A UDP datagram of `bytes` bytes over IPv4, whose sender left the checksum to hardware. */
function partialUdp(bytes: number): Uint8Array {
  const packet = Uint8Array.from({ length: bytes }, (_, i) => (i * 7 + (i >>> 8)) & 0xff);
  const view = new DataView(packet.buffer);
  view.setUint16(12, 0x0800);
  packet.set([0x45, 0], 14);
  view.setUint16(16, bytes - 14);
  view.setUint16(20, 0x4000);
  packet[23] = 17;
  view.setUint16(38, bytes - 34);
  view.setUint16(40, fold(ipv4PseudoSum(view, 14, bytes - 34)));
  return packet;
}

describe('Received packets of several frames', () => {
  test.each([
    ['even', [ROOM, ROOM, 300]],
    ['odd', [ROOM - 1, 701, 33, 1]],
    ['padded', [200, 61, 60, 45]],
  ])('whose checksum was left to hardware get it, over all frames: %s lengths', (what, lengths) => {
    const world = several({ fillChecksums: true });
    const rx = world.makeRx();
    const packet = partialUdp(sum(lengths) - (what === 'padded' ? 50 : 0));
    const wire = new Uint8Array(sum(lengths));
    wire.set(packet);
    world.arriveIn(...lengths);
    const places = lengths.map(() => POOL.base + Number(world.rx.take()!.address));
    world.rx.consumer -= lengths.length;
    const u8 = new Uint8Array(world.memory);
    let at = 0;
    for (const [i, n] of lengths.entries()) {
      u8.set(wire.subarray(at, at + n), places[i]!);
      at += n;
    }
    const burst = world.burst();
    expect(rx.receive(burst)).toBe(lengths.length);
    const got = new Uint8Array(wire.length);
    at = 0;
    for (const [i, n] of lengths.entries()) {
      got.set(u8.subarray(burst.offsets[i]!, burst.offsets[i]! + n), at);
      at += n;
    }
    const whole = new Int32Array(1 + (got.length >>> 2));
    new Uint8Array(whole.buffer).set(got);
    const pseudo = ipv4PseudoSum(new DataView(got.buffer), 14, packet.length - 34);
    expect(checksumOk(whole, 34, packet.length - 34, pseudo)).toBe(true);
    // Nothing else has changed.
    got.set(wire.subarray(40, 42), 40);
    expect(got).toEqual(wire);
  });

  test.each([2, 3, 6, 16, 17])('of %d come whole, marked where they go on, and count as one packet', (n) => {
    const world = several();
    const rx = world.makeRx();
    expect(rx.segments).toBe(true);
    expect([world.arrive(60), world.arriveIn(...packetOf(n)), world.arrive(61)]).toEqual([true, true, true]);
    const burst = world.burst();
    expect(rx.receive(burst)).toBe(n + 2);
    expect([...burst.lengths.subarray(0, n + 2)]).toEqual([60, ...entries(packetOf(n)), 61]);
    expect([...burst.offsets.subarray(0, n + 2)].every((offset) => offset % POOL.frameSize === POOL.headroom)).toBe(
      true,
    );
    const bytes = 121 + sum(packetOf(n));
    expect(world.counters.rx).toEqual({ packets: 3, bytes, extra_frames: n - 1, runt: 0, oversize: 0, invalid: 0 });
    expectAllThere(world, 'rx', n + 2);
  });

  test('that a burst would cut wait for the next one', () => {
    const world = several();
    const rx = world.makeRx();
    world.arrive(60);
    world.arriveIn(...packetOf(3));
    world.arriveIn(...packetOf(2));
    const burst = world.burst(4);
    expect([rx.receive(burst), rx.receive(burst), rx.receive(burst)]).toEqual([4, 2, 0]);
    const small = several();
    const queue = small.makeRx();
    small.arriveIn(...packetOf(3));
    small.arriveIn(...packetOf(3));
    const five = small.burst(5);
    expect([queue.receive(five), [...five.lengths.subarray(0, 3)]]).toEqual([3, entries(packetOf(3))]);
    expect([queue.receive(five), [...five.lengths.subarray(0, 3)]]).toEqual([3, entries(packetOf(3))]);
  });

  test('with more frames than the burst are dropped whole: nobody waits for them', () => {
    const world = several();
    const rx = world.makeRx();
    world.arriveIn(...packetOf(5));
    world.arrive(60);
    const burst = world.burst(4);
    expect([rx.receive(burst), rx.receive(burst), burst.lengths[0]]).toEqual([0, 1, 60]);
    expect(world.counters.rx).toMatchObject({ packets: 1, extra_frames: 0, oversize: 5 });
    expectAllThere(world, 'rx', 1);
  });

  test.each([
    ['18 segments', packetOf(18, 14), 'oversize'],
    ['40 segments', packetOf(40, 14), 'oversize'],
    ['more bytes than the port', packetOf(17, 1700), 'oversize'],
    ['no Ethernet header in the first', [13, 60], 'runt'],
    ['nothing in the second', [60, 0], 'runt'],
    ['a segment longer than its frame', [60, POOL.frameSize, 60], 'oversize'],
    ['a segment of all ones', [60, 0xffff_ffff, 60], 'oversize'],
  ])('with %s are dropped whole', (_, lengths, reason) => {
    const world = several();
    const rx = world.makeRx();
    expect([world.arriveIn(...lengths), world.arrive(61)]).toEqual([true, true]);
    const burst = world.burst();
    while (rx.receive(burst) === 0);
    expect([burst.count, burst.lengths[0]]).toEqual([1, 61]);
    const none = { runt: 0, oversize: 0, invalid: 0 };
    const expected = { packets: 1, bytes: 61, extra_frames: 0, ...none, [reason]: lengths.length };
    expect(world.counters.rx).toEqual(expected);
    expectAllThere(world, 'rx', 1);
  });

  test('with an address in the middle that is none of ours are dropped whole, and their other frames are free', () => {
    const world = several();
    const rx = world.makeRx();
    const given = [0, 1].map(() => world.fill.take()!.address + 256n);
    world.rx.put(given[0]!, 1000, 1);
    world.rx.put((1n << 40n) + 256n, 1000, 1);
    world.rx.put(given[1]!, 60);
    world.arrive(61);
    const burst = world.burst();
    expect([rx.receive(burst), burst.lengths[0]]).toEqual([1, 61]);
    expect(world.counters.rx).toMatchObject({ packets: 1, extra_frames: 0, invalid: 3 });
    expectAllThere(world, 'rx', 1);
  });

  test('that the kernel has not finished stay in the ring until it has', () => {
    const world = several();
    const rx = world.makeRx();
    world.arrive(60);
    const given = [0, 1].map(() => world.fill.take()!.address + 256n);
    world.rx.put(given[0]!, 1000, 1);
    const burst = world.burst();
    expect([rx.receive(burst), rx.receive(burst)]).toEqual([1, 0]);
    world.rx.put(given[1]!, 100);
    expect([rx.receive(burst), [...burst.lengths.subarray(0, 2)]]).toEqual([2, [MORE + 1000, 100]]);
  });

  test('that have no end do not fill the ring for ever', () => {
    const world = several();
    const rx = world.makeRx();
    for (let i = 0; i < 30; i++) world.rx.put(world.fill.take()!.address + 256n, 60, 1);
    expect(rx.receive(world.burst())).toBe(0);
    expect(world.counters.rx).toMatchObject({ packets: 0, oversize: 30 });
    expectAllThere(world, 'rx');
  });

  test('are dropped whole by a queue that was not opened for them; other options mean nothing', () => {
    const world = new XskWorld();
    const rx = world.makeRx();
    expect(rx.segments).toBe(false);
    world.arriveIn(1000, 100);
    world.rx.put(world.fill.take()!.address + 256n, 61, 0xffff_fffe);
    const burst = world.burst();
    expect([rx.receive(burst), burst.lengths[0]]).toEqual([1, 61]);
    expect(world.counters.rx).toMatchObject({ packets: 1, oversize: 2 });
    expectAllThere(world, 'rx', 1);
  });

  test.each([0xffff_ffe0, 0x7fff_ffe0])('keep their order while indices pass %d', (start) => {
    const world = several({ start });
    const rx = world.makeRx();
    const burst = world.burst(8);
    const sizes: number[] = [];
    let extra = 0;
    for (let i = 0; i < 100; i++) {
      expect(world.arriveIn(...packetOf(1 + (i % 5), 60 + i))).toBe(true);
      extra += i % 5;
      while (rx.receive(burst) > 0) {
        for (let e = 0; e < burst.count; e++) if (burst.lengths[e]! < MORE) sizes.push(burst.lengths[e]!);
        world.stack.give(burst.offsets, 0, burst.count);
      }
    }
    expect(sizes).toEqual(Array.from({ length: 100 }, (_, i) => 60 + i));
    expect(world.counters.rx).toMatchObject({ packets: 100, extra_frames: extra });
    expectAllThere(world, 'rx');
  });
});

describe('Sent packets of several frames', () => {
  test.each([2, 3, 9, 17])('of %d are one packet for the kernel, and each frame is free again', (n) => {
    const world = several();
    const tx = world.makeTx();
    const lengths = [60, ...entries(packetOf(n)), 61];
    const burst = world.burstOf(...lengths);
    expect(tx.transmit(burst, 0, n + 2)).toBe(n + 2);
    tx.kick();
    expect(world.sent.map(({ length }) => length)).toEqual([60, ...packetOf(n), 61]);
    expect(world.sent.map(({ offset }) => offset)).toEqual([...burst.offsets]);
    expect(world.packets).toEqual([1, n, 1]);
    expect(tx.reclaim()).toBe(0);
    const bytes = 121 + sum(packetOf(n));
    expect(world.counters.tx).toMatchObject({ packets: 3, bytes, extra_frames: n - 1, completed: n + 2, invalid: 0 });
    expectAllThere(world, 'tx');
  });

  test('are taken whole or not at all when the ring has little room', () => {
    const world = several();
    const tx = world.makeTx();
    const burst = world.burstOf(...Array<number>(60).fill(60), ...entries(packetOf(6)));
    expect(tx.transmit(burst, 0, 66)).toBe(60);
    expect(tx.transmit(burst, 60, 66)).toBe(0);
    tx.kick();
    expect(tx.transmit(burst, 60, 66)).toBe(6);
    tx.kick();
    expect(world.packets.at(-1)).toBe(6);
    expect(world.counters.tx).toMatchObject({ packets: 61, extra_frames: 5 });
  });

  test.each([
    ['18 segments', entries(packetOf(18, 14)), 'oversize'],
    ['more segments than the ring', entries(packetOf(100, 14)), 'oversize'],
    ['more bytes than the port', entries(packetOf(17, 1700)), 'oversize'],
    ['no last segment', [MORE + 60, MORE + 60], 'oversize'],
    ['no Ethernet header in the first', [MORE + 13, 60], 'runt'],
    ['nothing in the second', [MORE + 60, 0], 'runt'],
    ['less than nothing in the second', [MORE + 60, -5], 'runt'],
    ['a segment longer than its frame', [MORE + 60, MORE + 2049, 60], 'oversize'],
    ['a segment across the end of its frame', [MORE + 60, MORE + 1900, 60], 'invalid'],
  ])('with %s never reach the ring: they are freed and counted whole', (_, lengths, reason) => {
    const world = several();
    const tx = world.makeTx();
    const burst = world.burstOf(61, ...lengths);
    expect(tx.transmit(burst, 0, burst.count)).toBe(burst.count);
    tx.kick();
    expect(world.sent.map(({ length }) => length)).toEqual([61]);
    expect(tx.reclaim()).toBe(0);
    const { tx: counters } = world.counters;
    expect(counters).toMatchObject({ packets: 2, bytes: 61, extra_frames: lengths.length - 1, completed: 1 });
    expect(counters[reason]).toBe(lengths.length);
    expectAllThere(world, 'tx');
  });

  test.each([
    ['outside of the pool', (_: number, i: number) => (i === 2 ? POOL.base - 2048 : undefined)],
    ['above the pool', (_: number, i: number) => (i === 2 ? POOL.base + 256 * 2048 + 256 : undefined)],
    ['that is in the packet twice', (first: number, i: number) => (i === 2 ? first : undefined)],
  ])('with a frame in the middle %s are refused whole, and every frame of ours is free once', (_, replace) => {
    const world = several();
    const tx = world.makeTx();
    const burst = world.burstOf(...entries(packetOf(4)));
    for (const i of burst.offsets.keys()) {
      const other = replace(burst.offsets[0]!, i);
      if (other === undefined) continue;
      world.stack.push(burst.offsets[i]!); // as if it had never been in the burst
      burst.offsets[i] = other;
    }
    expect(tx.transmit(burst, 0, 4)).toBe(4);
    tx.kick();
    expect([world.sent.length, tx.reclaim()]).toEqual([0, 0]);
    expect(world.counters.tx).toMatchObject({ packets: 1, extra_frames: 3, invalid: 4, completed: 0 });
    expectAllThere(world, 'tx');
  });

  test('with a frame that the kernel has already are refused: it stays with the kernel', () => {
    const world = several();
    const tx = world.makeTx();
    const burst = world.burstOf(60, 60);
    tx.transmit(burst, 0, 1);
    burst.lengths.set([MORE + 60, 60]);
    expect(tx.transmit(burst, 0, 2)).toBe(2);
    expect(world.counters.tx).toMatchObject({ packets: 2, extra_frames: 1, invalid: 2 });
    expectAllThere(world, 'tx');
    tx.kick();
    expect(tx.reclaim()).toBe(0);
    expect(world.counters.tx).toMatchObject({ completed: 1 });
  });

  test('are not sent by a queue that was not opened for them, and no part of them is', () => {
    const world = new XskWorld();
    const tx = world.makeTx();
    expect(tx.transmit(world.burstOf(MORE + 1000, 100, 60), 0, 3)).toBe(3);
    tx.kick();
    expect(world.sent.map(({ length }) => length)).toEqual([60]);
    expect(world.counters.tx).toMatchObject({ packets: 2, extra_frames: 1, oversize: 2 });
  });

  test('that the kernel refused after it took them count as its own, with all their frames', () => {
    const world = several();
    const tx = world.makeTx();
    tx.transmit(world.burstOf(60, ...entries(packetOf(4)), 61), 0, 6);
    world.answers.push({ errno: EBUSY, sends: 5 });
    tx.kick();
    expect(tx.reclaim()).toBe(0);
    expect(world.counters.tx).toMatchObject({ packets: 3, extra_frames: 3, completed: 2, kernel: 4 });
    expectAllThere(world, 'tx');
  });
});

test('A frame that the kernel has, offered again with a length that cannot be, stays with the kernel', () => {
  const world = new XskWorld();
  const tx = world.makeTx();
  const burst = world.burstOf(60);
  tx.transmit(burst, 0, 1);
  burst.lengths[0] = 5000;
  tx.transmit(burst, 0, 1);
  expectAllThere(world, 'tx');
  tx.kick();
  expect(tx.reclaim()).toBe(0);
  expectAllThere(world, 'tx');
});

const length = fc.oneof(
  { arbitrary: fc.integer({ min: 14, max: ROOM }), weight: 8 },
  fc.integer({ min: -3, max: 2100 }),
);
const packet = fc.array(length, { minLength: 1, maxLength: 20 });

property.prop([
  fc.array(fc.record({ packet, end: fc.boolean(), size: fc.integer({ min: 1, max: 24 }) }), { maxLength: 40 }),
])('Whatever arrives, bursts are whole packets, and every frame is in one place', (steps) => {
  const world = several();
  const rx = world.makeRx();
  for (const { packet: lengths, size } of steps) {
    world.arriveIn(...lengths.map((n) => n >>> 0));
    const burst = world.burst(size);
    rx.receive(burst);
    const got = [...burst.lengths.subarray(0, burst.count)];
    if (got.length > 0) expect(got.at(-1)).toBeLessThan(MORE);
    world.stack.give(burst.offsets, 0, burst.count);
    expectAllThere(world, 'rx');
  }
});

property.prop([fc.array(fc.record({ packet, cut: fc.boolean(), kick: fc.boolean() }), { maxLength: 40 })])(
  'Whatever is offered, packets and extra frames = ends + in flight, and every frame is in one place',
  (steps) => {
    const world = several();
    const tx = world.makeTx();
    for (const { packet: lengths, cut, kick } of steps) {
      const all = lengths.map((n, i) => (i < lengths.length - 1 || cut ? MORE + Math.max(n, 0) : n));
      const burst = world.burstOf(...all.slice(0, world.stack.free.size));
      const n = tx.transmit(burst, 0, burst.count);
      expect([0, burst.count]).toContain(n);
      world.stack.give(burst.offsets, n, burst.count);
      if (kick) tx.kick();
      expect(inFlightOf(world.counters.tx)).toBe(world.mapped('tx'));
      expectAllThere(world, 'tx');
    }
    for (let i = 0; i < 3; i++) {
      tx.kick();
      tx.reclaim();
    }
    expect(inFlightOf(world.counters.tx)).toBe(0);
    expect(sum(world.packets)).toBe(world.sent.length);
  },
);
