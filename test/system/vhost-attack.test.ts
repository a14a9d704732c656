/**
 * Two threads: a hostile guest rewrites random words of rings, tables and headers as fast as it can, while a queue receives
 * and another sends. Only this finds what is read twice. LINECARD_ATTACK_S=60 makes it last a minute each.
 */
import { Worker } from 'node:worker_threads';
import { describe, expect, it } from 'vitest';
import { BLOCK } from '../../lib/drivers/vhost/block.ts';
import { packet, VhostWorld } from '../fakes/vhost-world.ts';
import { scatterBytes, withHeader } from '../fakes/virtio-driver.ts';

const SECONDS = Number(process.env.LINECARD_ATTACK_S ?? 3);
const SIZE = 64;

/** The attacker, as text: it runs in a thread of its own and knows nothing but memory. */
const ATTACKER = `
const { workerData: { window, ranges, stop, values } } = require('node:worker_threads');
const words = new Int32Array(window), halves = new Uint16Array(window), control = new Int32Array(stop);
let x = 0x9e3779b9 | 0, flips = 0;
const next = () => { x ^= x << 13; x ^= x >>> 17; x ^= x << 5; return x >>> 0; };
while (control[0] === 0) {
  for (let i = 0; i < 1000; i++) {
    const { from, bytes } = ranges[next() % ranges.length];
    const at = from + next() % bytes;
    const kind = next() % 8;
    if (kind < 3) words[at >>> 2] = values[next() % values.length] | 0;
    else if (kind < 6) halves[at >>> 1] = values[next() % values.length];
    else if (kind === 6) halves[at >>> 1]++;
    else words[at >>> 2] ^= 1 << (next() % 32);
    flips++;
  }
  Atomics.store(control, 1, flips | 0);
}
`;

/** Addresses near the ends of the memory, lengths and flags that mean something, and some that never do. */
function tempting(world: VhostWorld): number[] {
  const [{ gpa, bytes }] = world.guest.regions;
  const low = (n: number) => (n % 2 ** 32) | 0;
  return [
    ...[0, 1, 2, 4, 5, 7, 12, 13, 16, 26, 60, 72, 1024, 1518, 4096, 0xffff, 0x1_0000, 0x7fff_ffff, -1, -16],
    ...[low(gpa), low(gpa + bytes - 1), low(gpa + bytes - 72), low(gpa + 0x1000), low(gpa + bytes)],
    ...[0x80, 0x8000, 0x8080, 0x82, 0x8082, SIZE - 1, SIZE, SIZE + 1, 0x0080_0000, 0x0082_0000],
  ];
}

/** Where guest address `gpa` is in the one window. */
const rangeOf = (world: VhostWorld, gpa: number, bytes: number) => ({ from: world.guest.place(gpa)!.offset, bytes });

describe.each([
  ['rx', false],
  ['rx', true],
  ['tx', false],
  ['tx', true],
] as const)('A guest that rewrites what a queue reads (%s, packed %s)', (direction, packed) => {
  it(
    'makes nothing throw, loses no frame, and gets nothing written outside of its memory',
    async () => {
      const world = new VhostWorld(direction, { packed, size: SIZE, mergeable: true, csum: true, eventIdx: true });
      const { guest, driver } = world;
      for (let i = 0; i < SIZE / 2; i++) {
        if (direction === 'tx') driver.add([{ gpa: guest.allocate(300), length: 300, writable: true }]);
        else driver.add(scatterBytes(guest, withHeader(packet(100, i)), [12]), { indirect: i % 4 === 0 ? -1 : 0 });
        if (driver.free < 4) break;
      }
      // Everything of the region is the guest's from here on: canaries are what is around it.
      const [region] = guest.regions;
      guest.claim(region);
      const ranges = [
        ...Array.from({ length: 4 }, () => rangeOf(world, driver.desc, 16 * SIZE)),
        rangeOf(world, driver.driver, packed ? 4 : 6 + 2 * SIZE),
        rangeOf(world, driver.device, packed ? 4 : 6 + 8 * SIZE),
        rangeOf(world, region.gpa, 0x1_0000),
      ];
      const stop = new SharedArrayBuffer(8);
      const control = new Int32Array(stop);
      const attacker = new Worker(ATTACKER, {
        eval: true,
        workerData: { window: guest.windows[0], ranges, stop, values: tempting(world) },
      });
      const rx = direction === 'rx' ? world.rx() : undefined;
      const tx = direction === 'tx' ? world.tx() : undefined;
      const burst = world.burst();
      const packets = Array.from({ length: 8 }, (_, i) => packet(60 + i * 180, i));
      const memory = new Uint8Array(guest.windows[0], region.offset, 0x1_0000);
      const fresh = Uint8Array.from(memory);
      // Another port on the same worker, whose guest is well-behaved: each of its packets is taken at the first look.
      const neighbour = new VhostWorld('rx', { packed });
      const calm = neighbour.rx();
      const piece = scatterBytes(neighbour.guest, withHeader(packet(100, 1)), []);
      let looks = 0;
      const end = performance.now() + SECONDS * 1000;
      let bad = 0;
      let restarts = 0;
      try {
        while (performance.now() < end) {
          for (let n = 0; n < 200; n++) {
            if (rx?.receive(burst)) {
              for (let i = 0; i < burst.count; i++) if (burst.lengths[i] < 14 || burst.lengths[i] > 1518) bad++;
              world.stack.give(burst.offsets, 0, burst.count);
            }
            if (n % 50 === 0) rx?.arm();
            neighbour.driver.add(piece);
            looks++;
            if (calm.receive(burst) === 1) neighbour.stack.give(burst.offsets, 0, 1);
            neighbour.driver.reap();
            if (tx !== undefined) world.send(tx, packets);
            // The ring is set up anew, with all of its buffers available: a wreck would not be read any more.
            if (world.block[BLOCK.broken] !== 0 || n % 20 === 19) {
              restarts++;
              memory.set(fresh);
              world.start();
            }
          }
        }
      } finally {
        Atomics.store(control, 0, 1);
        await attacker.terminate();
      }
      const { packets: passed, bytes: _bytes, ...rest } = world.counted;
      const others = Object.values(rest).reduce((sum, n) => sum + n, 0);
      console.log(
        `vhost attack, ${direction}, packed ${packed}: ${control[1] >>> 0} flips, ${restarts} restarts, ` +
          `${passed ?? 0} packets, counters ${JSON.stringify(rest)}`,
      );
      expect(control[1]).not.toBe(0);
      expect(bad).toBe(0);
      expect(neighbour.counted).toEqual({ packets: looks, bytes: 100 * looks });
      expect(neighbour.framesFree).toBe(true);
      expect((passed ?? 0) + others).toBeGreaterThan(0);
      expect(world.framesFree).toBe(true);
      if (tx !== undefined) {
        const { packets: sent, completed, runt, oversize, no_buffer: none } = world.counters;
        expect(completed + runt + oversize + none).toBe(sent);
      }
      expect(guest.damage()).toEqual([]);
    },
    SECONDS * 1000 + 60_000,
  );
});
