/**
 * What a hostile guest can do with a ring: G1 to G14 of our list one by one, and each row of the CVE table that concerns rings.
 * A packet that is malformed is counted by its reason, its buffer comes back with nothing in it, and the next packet is
 * as good as ever; a ring that cannot be believed any more is stopped, and the front end's err eventfd is signalled.
 */
import { describe, expect, it } from 'vitest';
import { BLOCK, BROKEN } from '../../../lib/drivers/vhost/block.ts';
import type { GuestRegion } from '../../fakes/guest-memory.ts';
import { MANY_REGIONS, ONE_REGION, packet, type VhostOptions, VhostWorld } from '../../fakes/vhost-world.ts';
import {
  type PackedDriver,
  type Piece,
  packetsOf,
  type SplitDriver,
  scatterBytes,
  withHeader,
} from '../../fakes/virtio-driver.ts';

const kinds = describe.each([
  ['split', { packed: false }],
  ['packed', { packed: true }],
] as const);

const good = packet(60, 9);
const END = ONE_REGION[0].gpa + ONE_REGION[0].bytes;

/** Adds `pieces`, then a good packet: the former is counted as `reason`, the latter received. */
function refused(world: VhostWorld, reason: string, pieces: readonly Piece[], options = {}): void {
  const rx = world.rx();
  world.driver.add(pieces, options);
  world.driver.add(scatterBytes(world.guest, withHeader(good), []));
  expect(world.receiveAll(rx)).toEqual([good]);
  const used = world.driver.reap();
  expect(used.map(({ length }) => length)).toEqual([0, 0]);
  expect(world.counted).toEqual({ packets: 1, bytes: 60, [reason]: 1 });
  expect(world.errors()).toBe(0);
  expect(world.framesFree).toBe(true);
  expect(world.guest.damage()).toEqual([]);
}

/** The same for a buffer to receive into: it comes back empty, the packet goes into the next. */
function wasted(world: VhostWorld, reason: string, pieces: readonly Piece[], options = {}): void {
  const tx = world.tx();
  world.driver.add(pieces, options);
  world.driver.add([{ gpa: world.guest.allocate(1600), length: 1600, writable: true }]);
  expect(world.send(tx, [good])).toBe(1);
  const used = world.driver.reap();
  expect(used.map(({ length }) => length)).toEqual([0, 72]);
  expect(packetsOf(world.guest, used, false)).toEqual([good]);
  expect(world.counted).toEqual({ packets: 1, bytes: 60, completed: 1, [reason]: 1 });
  expect(world.framesFree).toBe(true);
  expect(world.guest.damage()).toEqual([]);
}

/** Nothing more is done with the ring; the front end knows. */
function stopped(world: VhostWorld, reason: number): void {
  expect(world.block[BLOCK.broken]).toBe(reason);
  expect(world.errors()).toBe(1);
  expect(world.framesFree).toBe(true);
  expect(world.guest.damage()).toEqual([]);
}

kinds('%s ring, hostile guest', (_name, kind: VhostOptions) => {
  const rx = (options: VhostOptions = {}) => new VhostWorld('rx', { ...kind, ...options });
  const tx = (options: VhostOptions = {}) => new VhostWorld('tx', { ...kind, ...options });

  it.each([
    ['not a multiple of 16', 24],
    ['0', 0],
    ['larger than the ring', 16 * 65],
    ['0xfffffff0', 0xffff_fff0],
  ])('G4: an indirect table whose length is %s', (_what, length) => {
    const world = rx();
    const table = world.guest.allocate(64);
    world.driver.add(scatterBytes(world.guest, withHeader(packet(60)), []), { indirect: -1, table });
    world.guest.put32(world.driver.desc + 8, length);
    (world.driver as SplitDriver).learn?.();
    expect(world.receiveAll(world.rx())).toEqual([]);
    expect(world.counted).toEqual({ chain: 1 });
    expect(world.driver.reap().length).toBe(1);
  });

  it('G4: an indirect table outside of memory', () => {
    const world = rx();
    const table = world.guest.allocate(64);
    world.driver.add(scatterBytes(world.guest, withHeader(packet(60)), []), { indirect: -1, table });
    world.guest.put64(world.driver.desc, 0x7fff_0000_0000);
    (world.driver as SplitDriver).learn?.();
    expect(world.receiveAll(world.rx())).toEqual([]);
    expect(world.counted).toEqual({ chain: 1 });
  });

  it('G4: an indirect table within an indirect table', () => {
    const world = rx();
    const table = world.guest.allocate(64);
    world.driver.add([{ gpa: world.guest.allocate(16), length: 16 }], { indirect: -1, table });
    // Its one descriptor is of a table, too.
    world.guest.put16(table + 12, 4);
    expect(world.receiveAll(world.rx())).toEqual([]);
    expect(Object.values(world.counted)).toEqual([1]);
    expect(world.driver.reap().length).toBe(1);
  });

  it('G4: an indirect table that was not negotiated', () => {
    const world = rx({ indirect: false });
    refused(world, 'chain', scatterBytes(world.guest, withHeader(packet(60)), []), { indirect: -1 });
  });

  it('G4, CVE-2018-1059: an indirect table across two regions is read whole, one that ends in a hole is refused', () => {
    const world = rx({ regions: MANY_REGIONS });
    const border = MANY_REGIONS[2].gpa;
    for (const before of [1, 4, 8, 12, 15, 16, 20]) {
      const at = world.guest.give(border - before, 48);
      world.driver.add(scatterBytes(world.guest, withHeader(packet(90)), [20, 30]), { indirect: -1, table: at });
      expect(world.receiveAll(world.rx())).toEqual([packet(90)]);
    }
    const last = MANY_REGIONS[5].gpa + MANY_REGIONS[5].bytes;
    world.driver.reap();
    world.driver.add(scatterBytes(world.guest, withHeader(packet(90)), []), { indirect: -1, table: last - 16 });
    world.driver.add(scatterBytes(world.guest, withHeader(packet(90)), []));
    expect(world.receiveAll(world.rx()).length).toBe(2);
  });

  it('G5, CVE-2020-10725: length 0, of the only descriptor or of any', () => {
    for (const at of [0, 1, 2]) {
      const world = rx();
      const pieces = scatterBytes(world.guest, withHeader(packet(60)), [12, 20]);
      refused(
        world,
        'chain',
        pieces.map((piece, i) => (i === at ? { ...piece, length: 0 } : piece)),
      );
    }
    const world = rx();
    refused(world, 'chain', [{ gpa: 0, length: 0 }]);
    const out = tx();
    wasted(out, 'chain', [{ gpa: out.guest.allocate(64), length: 0, writable: true }]);
  });

  it.each([0xffff_ffff, 0x8000_0000, 0x7fff_ffff, 0x1_0000])('G5: length %i', (length) => {
    const world = rx();
    refused(world, 'oversize', [{ gpa: world.guest.allocate(100), length }]);
  });

  it.each([
    ['wraps', 0xffff_ffff_ffff_fff0n],
    ['is above 2^53', 1n << 60n],
    ['is 0', 0],
    ['is just below the memory', ONE_REGION[0].gpa - 1],
    ['is the last of the memory', END - 1],
    ['is just above the memory', END],
    ['has the low half of one that is mapped', BigInt(ONE_REGION[0].gpa + 64) ^ (1n << 33n)],
  ])('G5, CVE-2018-1059: an address that %s', (_what, gpa) => {
    const world = rx();
    refused(world, 'address', [{ gpa, length: 72 }]);
    const out = tx();
    // What of it is in memory is the driver's own.
    if (gpa === END - 1) out.guest.give(gpa, 1);
    wasted(out, 'address', [{ gpa, length: 72, writable: true }]);
  });

  it('G5: a buffer across a border of regions is split, one that ends in a hole is refused', () => {
    const world = rx({ regions: MANY_REGIONS });
    const queue = world.rx();
    for (const before of [1, 11, 12, 13, 14, 40, 71]) {
      const gpa = world.guest.give(MANY_REGIONS[3].gpa - before, 72);
      world.guest.write(gpa, withHeader(packet(60, before)));
      world.driver.add([{ gpa, length: 72 }]);
      expect(world.receiveAll(queue)).toEqual([packet(60, before)]);
    }
    const hole: GuestRegion[] = [
      ONE_REGION[0],
      { ...ONE_REGION[0], gpa: END + 0x1000, bytes: 0x1000, offset: 0x3a_0000 },
    ];
    const holed = rx({ regions: hole });
    holed.guest.give(END - 40, 40);
    refused(holed, 'address', [{ gpa: END - 40, length: 72 }]);
  });

  it('G6, CVE-2022-2132: a chain that is not longer than the header', () => {
    for (const length of [1, 11, 12]) {
      const world = rx();
      refused(world, 'runt', [{ gpa: world.guest.allocate(16), length }]);
    }
    const world = rx();
    refused(
      world,
      'runt',
      Array.from({ length: 12 }, () => ({ gpa: world.guest.allocate(1), length: 1 })),
    );
    const short = rx();
    refused(short, 'runt', [{ gpa: short.guest.allocate(64), length: 25 }]);
  });

  it('G7: a transmitted packet in buffers for us to write, a receive buffer that is for us to read', () => {
    const world = rx();
    refused(world, 'chain', [{ gpa: world.guest.allocate(100), length: 72, writable: true }]);
    const mixed = rx();
    const pieces = scatterBytes(mixed.guest, withHeader(packet(60)), [12]);
    refused(mixed, 'chain', [pieces[0], { ...pieces[1], writable: true }]);
    const out = tx();
    wasted(out, 'chain', [{ gpa: out.guest.allocate(1600), length: 1600 }]);
  });

  it.each([
    ['csum_start beyond the packet', [1, 0, 0, 0, 0, 0, 60, 0, 0, 0]],
    ['csum_start 65,535', [1, 0, 0, 0, 0, 0, 0xff, 0xff, 6, 0]],
    ['csum_offset beyond the packet', [1, 0, 0, 0, 0, 0, 34, 0, 25, 0]],
    ['csum_offset 65,535', [1, 0, 0, 0, 0, 0, 34, 0, 0xff, 0xff]],
    ['both 65,535', [1, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]],
    ['a segmentation that was not offered', [1, 1, 54, 0, 0xb4, 5, 34, 0, 16, 0]],
    ['an unknown gso_type', [0, 0x7f, 0, 0, 0, 0, 0, 0, 0, 0]],
  ])('G8, CVE-2024-11614: %s', (_what, bytes) => {
    const world = rx({ csum: true });
    refused(world, 'header', scatterBytes(world.guest, withHeader(packet(60), Uint8Array.from([...bytes, 0, 0])), []));
  });

  it('G8: a checksum that is left to us without CSUM', () => {
    const world = rx();
    const header = Uint8Array.of(1, 0, 0, 0, 0, 0, 34, 0, 6, 0, 0, 0);
    refused(world, 'header', scatterBytes(world.guest, withHeader(packet(60), header), []));
  });

  it('G9: no receive buffers at all, or of 1 byte, or smaller than the packet', () => {
    const world = tx();
    const queue = world.tx();
    expect(world.send(queue, [good])).toBe(0);
    const tiny = tx();
    wasted(tiny, 'chain', [{ gpa: tiny.guest.allocate(1), length: 1, writable: true }]);
    const small = tx();
    small.driver.add([{ gpa: small.guest.allocate(40), length: 40, writable: true }]);
    expect(small.send(small.tx(), [good])).toBe(1);
    expect(small.counted).toEqual({ packets: 1, no_buffer: 1 });
    expect(small.driver.reap()).toEqual([]);
    // What is small enough is still sent into it.
    expect(small.send(small.tx(), [packet(20)])).toBe(1);
    expect(packetsOf(small.guest, small.driver.reap(), false)).toEqual([packet(20)]);
  });

  it('G9: a bad buffer in the middle of a packet: those before it come back too, the packet goes into the next', () => {
    const world = tx({ mergeable: true });
    const queue = world.tx();
    const space = (length: number) => ({ gpa: world.guest.allocate(length), length, writable: true });
    world.driver.add([space(40)]);
    world.driver.add([{ ...space(40), gpa: END }]);
    for (let i = 0; i < 3; i++) world.driver.add([space(40)]);
    expect(world.send(queue, [good])).toBe(1);
    const used = world.driver.reap();
    expect(used.map(({ length }) => length)).toEqual([0, 0, 40, 32]);
    expect(packetsOf(world.guest, used, true)).toEqual([good]);
  });

  it('G9: a ring that has no more to give than its mergeable buffers of 16 bytes does not stand in the way', () => {
    const world = tx({ mergeable: true, size: 8 });
    for (let i = 0; i < 8; i++) world.driver.add([{ gpa: world.guest.allocate(16), length: 16, writable: true }]);
    expect(world.send(world.tx(), [packet(1000), good])).toBe(2);
    expect(world.counted).toMatchObject({ packets: 2, completed: 1, no_buffer: 1 });
    expect(packetsOf(world.guest, world.driver.reap(), true)).toEqual([good]);
  });

  it('G10: used_event and flags at random: interrupts too many or too few, and nothing else', () => {
    const world = rx({ eventIdx: true });
    const queue = world.rx();
    for (let n = 0; n < 500; n++) {
      world.guest.put16(world.driver.driver, (n * 40_503) & 0xffff);
      if (kind.packed) world.guest.put16(world.driver.driver + 2, (n * 7919) & 0xffff);
      else world.guest.put16(world.driver.driver + 4 + 2 * 64, (n * 7919) & 0xffff);
      world.driver.add(scatterBytes(world.guest, withHeader(packet(20, n)), []));
      expect(world.receiveAll(queue)).toEqual([packet(20, n)]);
      world.driver.reap();
    }
  });

  it('G13: kicks for nothing', () => {
    const queue = rx().rx();
    for (let n = 0; n < 10_000; n++) expect(queue.arm()).toBe(false);
  });

  it('a chain of many small buffers has no more bytes than a frame', () => {
    const world = rx({ size: 256 });
    const gpa = world.guest.allocate(64);
    refused(
      world,
      'oversize',
      Array.from({ length: 200 }, () => ({ gpa, length: 50 })),
    );
  });
});

describe('split ring, hostile guest', () => {
  const driverOf = (world: VhostWorld) => world.driver as SplitDriver;

  it.each([65, 100, 32_768, 65_535])('G1: avail idx ahead by %i of a ring of 64', (ahead) => {
    for (const direction of ['rx', 'tx'] as const) {
      const world = new VhostWorld(direction);
      world.guest.put16(world.driver.driver + 2, ahead);
      if (direction === 'rx') expect(world.receiveAll(world.rx())).toEqual([]);
      else expect(world.send(world.tx(), [good])).toBe(0);
      stopped(world, BROKEN.index);
    }
  });

  it.each([64, 65, 0x7fff, 0xffff])('G2: head %i of a ring of 64', (head) => {
    for (const direction of ['rx', 'tx'] as const) {
      const world = new VhostWorld(direction);
      driverOf(world).offer(head);
      if (direction === 'rx') expect(world.receiveAll(world.rx())).toEqual([]);
      else expect(world.send(world.tx(), [good])).toBe(0);
      stopped(world, BROKEN.head);
    }
  });

  it('G2: packets before it are delivered', () => {
    const world = new VhostWorld('rx');
    world.driver.add(scatterBytes(world.guest, withHeader(good), []));
    driverOf(world).offer(64);
    expect(world.receiveAll(world.rx())).toEqual([good]);
    stopped(world, BROKEN.head);
    expect(world.driver.reap().length).toBe(1);
  });

  it.each([
    ['beyond the ring', 64],
    ['65,535', 65_535],
    ['the descriptor itself', 0],
  ])('G3: next is %s', (_what, next) => {
    const world = new VhostWorld('rx');
    world.driver.add([{ gpa: world.guest.allocate(16), length: 1 }]);
    world.guest.put16(world.driver.desc + 12, 1);
    world.guest.put16(world.driver.desc + 14, next);
    driverOf(world).learn();
    expect(world.receiveAll(world.rx())).toEqual([]);
    expect(world.counted).toEqual({ chain: 1 });
    expect(world.driver.reap().length).toBe(1);
  });

  it('G3: a chain through all descriptors that ends where it began', () => {
    const world = new VhostWorld('rx');
    const pieces = Array.from({ length: 64 }, () => ({ gpa: world.guest.allocate(1), length: 1 }));
    world.driver.add(pieces);
    world.guest.put16(world.driver.desc + 16 * 63 + 12, 1);
    world.guest.put16(world.driver.desc + 16 * 63 + 14, 0);
    driverOf(world).learn();
    expect(world.receiveAll(world.rx())).toEqual([]);
    expect(world.counted).toEqual({ chain: 1 });
  });

  it('G3: the same in an indirect table', () => {
    const world = new VhostWorld('rx');
    const table = world.guest.allocate(64);
    world.driver.add([{ gpa: world.guest.allocate(16), length: 1 }], { indirect: -1, table });
    world.guest.put16(table + 12, 1);
    world.guest.put16(table + 14, 0);
    expect(world.receiveAll(world.rx())).toEqual([]);
    expect(world.counted).toEqual({ chain: 1 });
  });

  it('G4: INDIRECT together with NEXT', () => {
    const world = new VhostWorld('rx');
    world.driver.add(scatterBytes(world.guest, withHeader(packet(60)), []), { indirect: -1 });
    world.guest.put16(world.driver.desc + 12, 5);
    driverOf(world).learn();
    expect(world.receiveAll(world.rx())).toEqual([]);
    expect(world.counted).toEqual({ chain: 1 });
  });

  it('G12: rings of 1 and of 32,768', () => {
    const one = new VhostWorld('rx', { size: 1 });
    const queue = one.rx();
    for (let n = 0; n < 5; n++) {
      one.driver.add(scatterBytes(one.guest, withHeader(packet(60, n)), []));
      expect(one.receiveAll(queue)).toEqual([packet(60, n)]);
      one.driver.reap();
    }
    const large = new VhostWorld('rx', { size: 32_768 });
    large.driver.add(scatterBytes(large.guest, withHeader(good), []));
    expect(large.receiveAll(large.rx())).toEqual([good]);
    large.guest.put16(large.driver.driver + 2, 32_768 + 2);
    large.receiveAll(large.rx());
    stopped(large, BROKEN.index);
  });

  it('G14: rings at the end of a window, and areas in each other: nothing outside of them is written', () => {
    const regions = [{ gpa: 0x10_0000, bytes: 0x10_0000, window: 0, offset: (4 << 20) - 0x10_0000 }];
    const world = new VhostWorld('rx', { regions });
    // The used ring where the available ring is: what is written is read again as heads.
    world.start({ device: world.guest.place(world.driver.driver & ~3)! });
    world.driver.add(scatterBytes(world.guest, withHeader(good), []));
    const queue = world.rx();
    for (let n = 0; n < 100; n++) world.receiveAll(queue);
    expect(world.framesFree).toBe(true);
    expect(world.guest.damage()).toEqual([]);
  });
});

describe('packed ring, hostile guest', () => {
  it('G11: AVAIL on the middle of a list only: it is not available', () => {
    const world = new VhostWorld('rx', { packed: true });
    const driver = world.driver as PackedDriver;
    driver.add(scatterBytes(world.guest, withHeader(packet(60)), [12, 20]));
    world.guest.put16(driver.desc + 14, 1);
    expect(world.receiveAll(world.rx())).toEqual([]);
    expect(world.counted).toEqual({});
  });

  it('G11: wrap bits of the other time round, or both alike', () => {
    for (const flags of [0x8000, 0x8080, 0]) {
      const world = new VhostWorld('rx', { packed: true });
      world.driver.add(scatterBytes(world.guest, withHeader(packet(60)), []));
      world.guest.put16(world.driver.desc + 14, flags);
      expect(world.receiveAll(world.rx())).toEqual([]);
    }
  });

  it('G3: a chain without an end stops the ring', () => {
    for (const direction of ['rx', 'tx'] as const) {
      const world = new VhostWorld(direction, { packed: true });
      const driver = world.driver as PackedDriver;
      const gpa = world.guest.allocate(16);
      const writable = direction === 'tx';
      driver.put(
        Array.from({ length: 64 }, () => ({ gpa, length: 1, writable })),
        0,
        0,
        1,
      );
      if (direction === 'rx') expect(world.receiveAll(world.rx())).toEqual([]);
      else world.send(world.tx(), [good]);
      stopped(world, BROKEN.chain);
    }
  });

  it('G2: ids of any value come back as they are', () => {
    const world = new VhostWorld('rx', { packed: true });
    const driver = world.driver as PackedDriver;
    driver.put(scatterBytes(world.guest, withHeader(good), []), 0xffff);
    expect(world.receiveAll(world.rx())).toEqual([good]);
    expect(world.guest.get16(driver.desc + 12)).toBe(0xffff);
  });

  it('G4: an indirect descriptor within a list', () => {
    const world = new VhostWorld('rx', { packed: true });
    const driver = world.driver as PackedDriver;
    const [piece] = scatterBytes(world.guest, withHeader(good), []);
    driver.put([piece, piece], 5);
    world.guest.put16(driver.desc + 16 + 14, 4 | 0x80);
    expect(world.receiveAll(world.rx())).toEqual([]);
    expect(world.counted).toEqual({ chain: 1 });
    // The list of two is used as one.
    expect([world.guest.get16(driver.desc + 12), world.guest.get16(driver.desc + 14) & 0x8080]).toEqual([5, 0x8080]);
  });
});
