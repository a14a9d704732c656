import { fc, test as property } from '@fast-check/vitest';
import { expect, test } from 'vitest';
import { POOL, XskWorld } from '../../fakes/xsk-kernel.ts';

test('A new queue fills the fill ring, with each frame once and at its start', () => {
  const world = new XskWorld();
  world.makeRx();
  expect(world.fill.used).toBe(16);
  const given = Array.from({ length: 16 }, () => world.fill.take()!.address);
  expect(new Set(given).size).toBe(16);
  expect(given.every((address) => address % 2048n === 0n && address < 64n * 2048n)).toBe(true);
  expect(world.stack.free.size).toBe(48);
});

test('A packet arrives where the kernel put it, and a new frame takes the place of its own', () => {
  const world = new XskWorld();
  const rx = world.makeRx();
  expect(world.arrive(60)).toBe(true);
  const burst = world.burst();
  expect(rx.receive(burst)).toBe(1);
  expect([burst.offsets[0] % 2048, burst.lengths[0], burst.count]).toEqual([(POOL.base % 2048) + POOL.headroom, 60, 1]);
  expect(world.fill.used).toBe(16);
  expect(world.counters.rx).toMatchObject({ packets: 1, bytes: 60 });
});

test('An empty ring is an empty burst', () => {
  const world = new XskWorld();
  const rx = world.makeRx();
  const burst = world.burst();
  burst.count = 5;
  expect([rx.receive(burst), burst.count]).toEqual([0, 0]);
});

test('A burst takes no more than its size, and the rest comes with the next', () => {
  const world = new XskWorld();
  const rx = world.makeRx();
  for (let i = 0; i < 10; i++) world.arrive(60 + i);
  const burst = world.burst(6);
  expect([rx.receive(burst), [...burst.lengths]]).toEqual([6, [60, 61, 62, 63, 64, 65]]);
  expect([rx.receive(burst), [...burst.lengths.subarray(0, 4)]]).toEqual([4, [66, 67, 68, 69]]);
});

test.each([0xffff_fff0, 0x7fff_fff0, 0xffff_ffff, 0x7fff_ffff])(
  'Packets keep their order while indices pass %d',
  (start) => {
    const world = new XskWorld({ start });
    const rx = world.makeRx();
    const burst = world.burst(8);
    const got: number[] = [];
    for (let i = 0; i < 100; i++) {
      expect(world.arrive(60 + i)).toBe(true);
      if (i % 3 !== 0) continue;
      rx.receive(burst);
      got.push(...burst.lengths.subarray(0, burst.count));
      world.stack.give(burst.offsets, 0, burst.count);
    }
    expect(got).toEqual(Array.from({ length: got.length }, (_, i) => 60 + i));
    expect(got.length).toBe(100);
    expect(world.stack.free.size + world.mapped('rx')).toBe(world.frames);
  },
);

test.each([
  ['outside of the pool', BigInt(64 * 2048)],
  ['of more than 32 bits', (1n << 32n) + 256n],
  ['of all ones', 0xffff_ffff_ffff_fffen],
  ['of a frame that the kernel was not given', BigInt(40 * 2048 + 256)],
])('An rx descriptor with an address %s is counted, and never becomes a frame', (_, address) => {
  const world = new XskWorld();
  const rx = world.makeRx();
  world.rx.put(address, 60);
  world.arrive(61);
  const burst = world.burst();
  expect(rx.receive(burst)).toBe(1);
  expect(burst.lengths[0]).toBe(61);
  expect(world.counters.rx).toMatchObject({ packets: 1, invalid: 1 });
});

test('A frame that the kernel hands over twice is received once', () => {
  const world = new XskWorld();
  const rx = world.makeRx();
  const { address } = world.fill.take()!;
  world.rx.put(address + 256n, 60);
  world.rx.put(address + 256n, 60);
  expect(rx.receive(world.burst())).toBe(1);
  expect(world.counters.rx).toMatchObject({ packets: 1, invalid: 1 });
});

test.each([
  ['runt', 13],
  ['runt', 0],
  ['oversize', 1519],
  ['oversize', 1900],
  ['oversize', 0xffff_ffff],
  ['oversize', 0x8000_0000],
])('A packet counted as %s is not delivered: %d bytes', (reason, length) => {
  const world = new XskWorld();
  const rx = world.makeRx();
  world.arrive(length);
  expect(rx.receive(world.burst())).toBe(0);
  expect(world.counters.rx).toMatchObject({ packets: 0, bytes: 0, [reason]: 1 });
  expect(world.stack.free.size + world.mapped('rx')).toBe(world.frames);
});

test('A packet that would reach beyond its frame is not delivered', () => {
  const world = new XskWorld({ maxLength: 2048 });
  const rx = world.makeRx();
  const { address } = world.fill.take()!;
  world.rx.put(address + 1024n, 1025);
  expect(rx.receive(world.burst())).toBe(0);
  expect(world.counters.rx.oversize).toBe(1);
});

test('When the pool was empty and has frames again, the kernel gets some, though no packet arrives', () => {
  const world = new XskWorld({ frames: 16 });
  const rx = world.makeRx();
  const bursts = Array.from({ length: 16 }, () => {
    world.arrive(60);
    const burst = world.burst(1);
    rx.receive(burst);
    return burst;
  });
  expect(world.fill.used).toBe(0);
  expect(world.arrive(60)).toBe(false);
  for (const { offsets } of bursts) world.stack.push(offsets[0]);
  expect(rx.receive(world.burst())).toBe(0);
  expect(world.fill.used).toBe(16);
  expect(world.arrive(60)).toBe(true);
});

test('No more frames are out than may be: as many fewer wait in the fill ring as packets wait for us, also after a restart', () => {
  const world = new XskWorld({ most: 12 });
  let rx = world.makeRx();
  const rings = () => [world.fill.used, world.rx.used, world.mapped('rx')];
  expect(rings()).toEqual([12, 0, 12]);
  for (let i = 0; i < 9; i++) world.arrive(60);
  rx.receive(world.burst(4));
  expect(rings()).toEqual([7, 5, 12]);
  for (let i = 0; i < 10; i++) world.arrive(60);
  expect(rings()).toEqual([0, 12, 12]);
  rx = world.makeRx();
  expect(rings()).toEqual([0, 12, 12]);
  rx.receive(world.burst(3));
  expect(rings()).toEqual([3, 9, 12]);
  expect(rx.receive(world.burst())).toBe(9);
  expect(rings()).toEqual([12, 0, 12]);
});

test('The kernel is called after a refill only when it asks for it', () => {
  const world = new XskWorld();
  const rx = world.makeRx();
  world.arrive(60);
  rx.receive(world.burst());
  expect(world.calls.rx).toBe(0);
  world.fill.flags = 1;
  world.arrive(60);
  rx.receive(world.burst());
  expect(world.calls.rx).toBe(1);
});

test('With busy polling an empty ring has the kernel look for packets', () => {
  const world = new XskWorld({ busyPoll: true });
  const rx = world.makeRx();
  rx.receive(world.burst());
  expect(world.calls.rx).toBe(1);
});

test('A consumer index of the fill ring that cannot be makes us give nothing', () => {
  const world = new XskWorld();
  const rx = world.makeRx();
  const free = world.stack.free.size;
  world.fill.consumer = (world.fill.producer + 100) >>> 0;
  rx.receive(world.burst());
  expect(world.stack.free.size).toBe(free);
});

test('Arming says whether packets wait', () => {
  const world = new XskWorld();
  const rx = world.makeRx();
  expect(rx.arm()).toBe(false);
  world.arrive(60);
  expect(rx.arm()).toBe(true);
});

test('A worker that takes over goes on where the one before was, and no frame is lost or had twice', () => {
  const world = new XskWorld();
  const before = world.makeRx();
  for (let i = 0; i < 5; i++) world.arrive(60 + i);
  const burst = world.burst(2);
  before.receive(burst);
  const after = world.makeRx();
  const rest = world.burst();
  expect([after.receive(rest), [...rest.lengths.subarray(0, 3)]]).toEqual([3, [62, 63, 64]]);
  expect(world.stack.free.size + world.mapped('rx') + 5).toBe(world.frames);
  expect(world.counters.rx).toMatchObject({ packets: 5, invalid: 0 });
});

const step = fc.oneof(
  fc.record({ do: fc.constant('arrive' as const), length: fc.integer({ min: 0, max: 1600 }) }),
  fc.record({ do: fc.constant('lie' as const), address: fc.bigInt({ min: 0n, max: 0xffff_ffff_ffff_ffffn }) }),
  fc.record({ do: fc.constant('stale' as const), frame: fc.integer({ min: 0, max: 63 }) }),
  fc.record({ do: fc.constant('receive' as const), size: fc.integer({ min: 1, max: 20 }) }),
);

property.prop([fc.array(step, { maxLength: 200 }), fc.constantFrom(0, 0x7fff_ffc0, 0xffff_ffc0)])(
  'Whatever the kernel says, every frame is in one place, and packets are those that arrived',
  (steps, start) => {
    const world = new XskWorld({ start });
    const rx = world.makeRx();
    for (const s of steps) {
      if (s.do === 'arrive') world.arrive(s.length);
      else if (s.do === 'lie') world.rx.put(s.address, 60);
      else if (s.do === 'stale') {
        // A frame that may well be posted: then the kernel still believes that it has it in the fill ring.
        world.rx.put(BigInt(s.frame * 2048 + 256), 60);
      } else {
        const burst = world.burst(s.size);
        rx.receive(burst);
        const inBurst = new Set<number>();
        for (let i = 0; i < burst.count; i++) {
          const frame = burst.offsets[i] >>> 11;
          expect(inBurst.has(frame)).toBe(false);
          inBurst.add(frame);
          expect(world.stack.free.has(frame << 11)).toBe(false);
          expect(burst.lengths[i]).toBeGreaterThanOrEqual(14);
          expect(burst.lengths[i]).toBeLessThanOrEqual(1518);
        }
        world.stack.give(burst.offsets, 0, burst.count);
      }
      expect(world.stack.free.size + world.mapped('rx')).toBe(world.frames);
    }
  },
);

test.each([true, false])(
  'A checksum that was left to hardware is filled in if that was asked for (%s)',
  (fillChecksums) => {
    const world = new XskWorld({ fillChecksums });
    const rx = world.makeRx();
    const view = new DataView(world.memory);
    const at = POOL.base + Number(world.fill.peek()) + POOL.headroom;
    view.setUint16(at + 12, 0x0800);
    view.setUint16(at + 14, 0x4500);
    view.setUint16(at + 16, 29); // UDP with one byte, between addresses of zero
    view.setUint8(at + 23, 17);
    view.setUint16(at + 38, 9);
    view.setUint16(at + 40, 17 + 9);
    view.setUint8(at + 42, 0x80);
    world.arrive(60);
    expect(rx.receive(world.burst())).toBe(1);
    // Length twice, protocol, the byte: 9 + 9 + 17 + 0x8000 = 0x8023.
    expect(view.getUint16(at + 40)).toBe(fillChecksums ? 0x7fdc : 26);
  },
);
