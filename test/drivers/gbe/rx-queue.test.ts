/** Rx queues of gigabit controllers, with a fake device on the other side of the ring. */
import { describe, expect, onTestFinished, test } from 'vitest';
import { MORE } from '../../../lib/queue.ts';
import { type GbeOptions, GbeWorld, packetOf } from '../../fakes/gbe-world.ts';

async function start(options: GbeOptions = {}): Promise<GbeWorld> {
  const world = await GbeWorld.start(options);
  onTestFinished(() => world.stop());
  return world;
}

/** Kinds of descriptors; and the device's addresses from a table. */
const KINDS: readonly (readonly [string, GbeOptions])[] = [
  ['extended descriptors', {}],
  ['legacy descriptors', { wishes: { legacy: true } }],
  ['addresses from a table', { far: true, nommu: true }],
  ['advanced descriptors', { family: 82576 }],
];

describe.each(KINDS)('An rx queue with %s', (_, options) => {
  test('gives the device all buffers but one', async () => {
    const world = await start(options);
    world.makeRx();
    expect(world.fake.posted()).toBe(63);
    expect(world.free.free.size).toBe(world.frames - 63);
    expect([...world.queues.rx[0].held()].length).toBe(63);
  });

  test('delivers packets in order, as they are, round and round the ring', async () => {
    const world = await start(options);
    const rx = world.makeRx();
    const burst = world.burst();
    for (let n = 0; n < 1000; ) {
      const some = 1 + (n % 29);
      for (let i = 0; i < some; i++) expect(world.fake.receive(packetOf(n + i, 60 + ((n + i) % 1450)))).toBe('taken');
      expect(rx.receive(burst)).toBe(some);
      expect(world.packets(burst)).toEqual(
        Array.from({ length: some }, (_, i) => packetOf(n + i, 60 + ((n + i) % 1450))),
      );
      n += some;
      world.fake.tick();
    }
    const { packets, bytes } = world.rxCounters();
    expect(packets).toBeGreaterThanOrEqual(1000);
    expect(bytes).toBe(Array.from({ length: packets }, (_, n) => 60 + (n % 1450)).reduce((a, b) => a + b));
    expect(world.free.free.size + [...world.queues.rx[0].held()].length).toBe(world.frames);
  });

  test('takes no more than the burst has room for, and the rest the next time', async () => {
    const world = await start(options);
    const rx = world.makeRx();
    for (let n = 0; n < 10; n++) world.fake.receive(packetOf(n));
    const burst = world.burst(4);
    const got: number[][] = [];
    for (const n of [4, 4, 2, 0]) {
      expect(rx.receive(burst)).toBe(n);
      got.push(...world.packets(burst));
    }
    expect(got).toEqual(Array.from({ length: 10 }, (_, n) => packetOf(n)));
  });

  test('without free frames receives what is there, and goes on when there are frames again', async () => {
    const world = await start({ ...options, frames: 80 });
    const rx = world.makeRx();
    const burst = world.burst(64);
    for (let n = 0; n < 63; n++) expect(world.fake.receive(packetOf(n))).toBe('taken');
    expect(world.fake.receive(packetOf(63))).toBe('full');
    expect(rx.receive(burst)).toBe(63);
    expect(world.fake.posted()).toBe(17);
    expect(world.packets(burst).length).toBe(63);
    expect(rx.receive(burst)).toBe(0);
    expect(world.fake.posted()).toBe(63);
  });

  test('is not misled by what the device says of lengths: what cannot be is dropped and counted', async () => {
    const world = await start(options);
    const rx = world.makeRx();
    for (const length of [0, 13, 1519, 1523, 0xffff]) world.fake.fill(0, [], length, 2);
    world.fake.receive(packetOf(1));
    const burst = world.burst();
    expect(rx.receive(burst)).toBe(1);
    expect(world.packets(burst)).toEqual([packetOf(1)]);
    expect(world.rxCounters()).toEqual({ packets: 1, bytes: 60, runt: 2, oversize: 1, invalid: 2 });
    expect(world.free.free.size + world.fake.posted()).toBe(world.frames);
  });

  test('drops a packet that the device did not end where it had to, up to its end', async () => {
    const world = await start(options);
    const rx = world.makeRx();
    for (const [length, status] of [
      [1522, 0],
      [1522, 0],
      [100, 2],
    ])
      world.fake.fill(0, [], length, status);
    world.fake.receive(packetOf(1));
    const burst = world.burst();
    expect(rx.receive(burst)).toBe(1);
    expect(world.packets(burst)).toEqual([packetOf(1)]);
    expect(world.rxCounters()).toEqual({ packets: 1, bytes: 60, oversize: 3 });
  });

  test('remembers over bursts, and over workers, that it is dropping', async () => {
    const world = await start(options);
    const rx = world.makeRx();
    const burst = world.burst();
    world.fake.fill(0, [], 1522, 0);
    expect(rx.receive(burst)).toBe(0);
    world.fake.fill(0, [], 60, 2);
    world.fake.receive(packetOf(1));
    expect(world.makeRx().receive(burst)).toBe(1);
    expect(world.packets(burst)).toEqual([packetOf(1)]);
    expect(world.rxCounters()).toEqual({ packets: 1, bytes: 60, oversize: 2 });
  });

  test('goes on where the worker before it stopped', async () => {
    const world = await start(options);
    const burst = world.burst(8);
    const first = world.makeRx();
    for (let n = 0; n < 12; n++) world.fake.receive(packetOf(n));
    expect(first.receive(burst)).toBe(8);
    const got = world.packets(burst);
    expect(world.makeRx().receive(burst)).toBe(4);
    expect([...got, ...world.packets(burst)]).toEqual(Array.from({ length: 12 }, (_, n) => packetOf(n)));
    expect(world.free.free.size + [...world.queues.rx[0].held()].length).toBe(world.frames);
  });
});

describe('An rx queue', () => {
  test.each([
    ['CRC', 1 << 24],
    ['symbol', 1 << 25],
    ['sequence', 1 << 26],
    ['carrier extension', 1 << 28],
    ['data', 1 << 31],
  ])('drops a packet with a %s error', async (_, bit) => {
    const world = await start();
    const rx = world.makeRx();
    world.fake.receive(packetOf(1), 0, 2 | bit);
    world.fake.receive(packetOf(2));
    const burst = world.burst();
    expect(rx.receive(burst)).toBe(1);
    expect(world.packets(burst)).toEqual([packetOf(2)]);
    expect(world.rxCounters()).toEqual({ packets: 1, bytes: 60, errors: 1 });
  });

  test.each([8, 9, 10, 12, 15])('with legacy descriptors drops a packet with error bit %i', async (bit) => {
    const world = await start({ wishes: { legacy: true } });
    const rx = world.makeRx();
    world.fake.receive(packetOf(1), 0, 2 | (1 << bit));
    expect(rx.receive(world.burst())).toBe(0);
    expect(world.rxCounters()).toEqual({ errors: 1 });
  });

  test('lets checksum errors of what is inside pass: that is the receiver’s business', async () => {
    const world = await start();
    const rx = world.makeRx();
    world.fake.receive(packetOf(1), 0, 2 | (1 << 29) | (1 << 30));
    expect(rx.receive(world.burst())).toBe(1);
  });

  test.each([82574, 82576] as const)(
    'of an %i sleeps only when its ring is empty, and is woken by what comes then',
    async (family) => {
      const world = await start({ family });
      const rx = world.makeRx();
      const burst = world.burst();
      // What came and was taken before does not wake it.
      world.fake.receive(packetOf(0));
      rx.receive(burst);
      world.packets(burst);
      expect(rx.arm()).toBe(false);
      world.fake.tick();
      expect(world.fake.interrupts[0]).toBe(0);
      world.fake.receive(packetOf(1));
      world.fake.receive(packetOf(2));
      expect(world.fake.interrupts[0]).toBe(1);
      rx.disarm();
      world.fake.tick();
      expect(rx.arm()).toBe(true);
      world.fake.tick();
      rx.disarm();
      world.fake.tick();
      expect(rx.receive(burst)).toBe(2);
      world.fake.receive(packetOf(3));
      expect(world.fake.interrupts[0]).toBe(1);
    },
  );

  test.each([82574, 82576] as const)(
    'of an %i behind INTx has the line unmasked each time it sleeps',
    async (family) => {
      const world = await start({ family, vectors: { msix: 0, msi: 0 } });
      const rx = world.makeRx();
      expect([rx.fd, rx.arm(), world.kicks]).toEqual([1000, false, [999]]);
      world.fake.tick();
      world.fake.receive(packetOf(1));
      expect(world.fake.interrupts).toEqual([1]);
      rx.disarm();
      world.fake.tick();
      expect([rx.arm(), world.kicks]).toEqual([true, [999, 999]]);
    },
  );

  test('behind MSI has nothing to unmask', async () => {
    const world = await start({ vectors: { msix: 0 } });
    const rx = world.makeRx();
    expect([rx.fd, rx.arm(), world.kicks]).toEqual([1000, false, []]);
    world.fake.tick();
    world.fake.receive(packetOf(1));
    expect(world.fake.interrupts).toEqual([1]);
  });

  test('polls when there is no interrupt, or one for two of them', async () => {
    const none = await start({ vectors: { msix: 0, msi: 0, intx: 0 } });
    expect([none.makeRx().fd, none.makeRx().arm()]).toEqual([-1, false]);
    const shared = await start({ vectors: { msix: 0 }, config: { rxQueues: 2 } });
    expect([shared.makeRx(0).fd, shared.makeRx(1).fd]).toEqual([-1, -1]);
    expect(shared.device.notes().join()).toContain('one interrupt for 2 rx queues');
  });
});

describe('An rx queue of a port with long packets', () => {
  const jumbo: GbeOptions = { config: { mtu: 9000, rxRing: 64 } };

  test('delivers them in segments of what the device fills of a frame', async () => {
    const world = await start(jumbo);
    const rx = world.makeRx();
    expect(rx.segments).toBe(true);
    const burst = world.burst();
    world.fake.receive(packetOf(1, 60));
    world.fake.receive(packetOf(2, 9018));
    world.fake.receive(packetOf(3, 1025));
    expect(rx.receive(burst)).toBe(1 + 9 + 2);
    expect([...burst.lengths.subarray(0, 4)]).toEqual([60, MORE + 1024, MORE + 1024, MORE + 1024]);
    expect(world.packets(burst)).toEqual([packetOf(1, 60), packetOf(2, 9018), packetOf(3, 1025)]);
    expect(world.rxCounters()).toEqual({ packets: 3, bytes: 60 + 9018 + 1025, extra_frames: 9 });
  });

  test('leaves a packet in the ring that the device has not finished, or the burst has no room for', async () => {
    const world = await start(jumbo);
    const rx = world.makeRx();
    const burst = world.burst(12);
    world.fake.receive(packetOf(1, 3000));
    world.fake.receive(packetOf(2, 9018));
    world.fake.receive(packetOf(3, 9018));
    expect(rx.receive(burst)).toBe(12);
    expect(world.packets(burst)).toEqual([packetOf(1, 3000), packetOf(2, 9018)]);
    expect(rx.receive(burst)).toBe(9);
    expect(world.packets(burst)).toEqual([packetOf(3, 9018)]);
    world.fake.tick();
    world.fake.fill(0, packetOf(4, 1024), 1024, 0);
    expect(rx.receive(burst)).toBe(0);
    world.fake.fill(0, packetOf(4, 2048).slice(1024), 500, 2);
    expect(rx.receive(burst)).toBe(2);
  });

  test('drops whole what is too long, has too many segments, one too large, or an error', async () => {
    const world = await start({ config: { mtu: 9000, rxRing: 128 } });
    const rx = world.makeRx();
    const burst = world.burst(32);
    world.fake.receive(packetOf(1, 9019));
    world.fake.receive(packetOf(2, 2000), 0, 2 | (1 << 24));
    world.fake.fill(0, [], 1024, 0);
    world.fake.fill(0, [], 1025, 2);
    world.fake.fill(0, [], 13, 0);
    world.fake.fill(0, [], 60, 2);
    world.fake.receive(packetOf(3, 2000));
    expect(rx.receive(burst)).toBe(2);
    expect(world.packets(burst)).toEqual([packetOf(3, 2000)]);
    const counted = { packets: 1, bytes: 2000, extra_frames: 1, oversize: 9, errors: 2, invalid: 2, runt: 2 };
    expect(world.rxCounters()).toEqual(counted);
    world.fake.tick();
    for (let i = 0; i < 70; i++) world.fake.fill(0, [], 1024, 0);
    expect(rx.receive(burst)).toBe(0);
    world.fake.fill(0, [], 1024, 2);
    world.fake.receive(packetOf(4));
    expect(rx.receive(burst)).toBe(1);
    expect(world.packets(burst)).toEqual([packetOf(4)]);
    expect(world.rxCounters().oversize).toBe(9 + 71);
    expect(world.free.free.size + [...world.queues.rx[0].held()].length).toBe(world.frames);
  });

  test('drops as oversize what no burst has room for', async () => {
    const world = await start(jumbo);
    const rx = world.makeRx();
    world.fake.receive(packetOf(1, 9018));
    expect(rx.receive(world.burst(8))).toBe(0);
    expect(world.rxCounters()).toEqual({ oversize: 9 });
  });
});
