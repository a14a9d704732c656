/** The queues of the `vhost` driver against a guest's driver: what goes right, and random rings. */
import { fc, test } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { BLOCK } from '../../../lib/drivers/vhost/block.ts';
import { MANY_REGIONS, packet, VhostWorld } from '../../fakes/vhost-world.ts';
import { packetsOf, scatterBytes, withHeader } from '../../fakes/virtio-driver.ts';

describe.each([false, true])('An rx queue (packed %s)', (packed) => {
  it('receives packets of all lengths', () => {
    const world = new VhostWorld('rx', { packed });
    const rx = world.rx();
    const sent: Uint8Array[] = [];
    for (let length = 14; length <= 1518; length += 7) {
      const p = packet(length, length);
      world.driver.add(scatterBytes(world.guest, withHeader(p), []));
      sent.push(p);
      const got = world.receiveAll(rx);
      expect(got).toEqual([p]);
      expect(world.driver.reap().length).toBe(1);
    }
    expect(world.counted).toEqual({ packets: sent.length, bytes: sent.reduce((n, p) => n + p.length, 0) });
    expect(world.framesFree).toBe(true);
    expect(world.guest.damage()).toEqual([]);
  });
  it('receives packets in any layout of buffers, across regions', () => {
    const world = new VhostWorld('rx', { packed, regions: MANY_REGIONS });
    const rx = world.rx();
    for (let n = 1; n < 40; n++) {
      const p = packet(200 + n, n);
      const pieces = scatterBytes(
        world.guest,
        withHeader(p),
        Array.from({ length: n % 13 }, () => 1 + (n % 5)),
        n % 4,
      );
      world.driver.add(pieces, { indirect: n % 3 === 0 ? -1 : n % 3 === 1 ? (packed ? 0 : 1) : 0 });
      expect(world.receiveAll(rx)).toEqual([p]);
      world.driver.reap();
    }
    expect(world.counted.packets).toBe(39);
  });
});

describe.each([false, true])('A tx queue (packed %s)', (packed) => {
  it('sends packets of all lengths', () => {
    const world = new VhostWorld('tx', { packed });
    const tx = world.tx();
    for (let length = 14; length <= 1518; length += 7) {
      const p = packet(length, length);
      const gpa = world.guest.allocate(1600, 16, length & 3);
      world.driver.add([{ gpa, length: 1600, writable: true }]);
      expect(world.send(tx, [p])).toBe(1);
      const used = world.driver.reap();
      expect(packetsOf(world.guest, used, false)).toEqual([p]);
      // not a byte more
      expect(world.guest.read(gpa + 12 + length, 1600 - 12 - length).every((b) => b === 0)).toBe(true);
    }
    expect(world.framesFree).toBe(true);
    expect(world.guest.damage()).toEqual([]);
  });
  it('sends packets over mergeable buffers of any size and alignment, across regions', () => {
    const world = new VhostWorld('tx', { packed, mergeable: true, regions: MANY_REGIONS });
    const tx = world.tx();
    for (let n = 0; n < 30; n++) {
      for (let i = 0; i < 40; i++)
        world.driver.add([{ gpa: world.guest.allocate(61 + n, 16, n & 3), length: 61 + n, writable: true }]);
      const ps = [packet(100 + n, n), packet(300, n), packet(60, n), packet(700, n)];
      expect(world.send(tx, ps)).toBe(4);
      expect(packetsOf(world.guest, world.driver.reap(), true)).toEqual(ps);
      // drain
      while (world.send(tx, [packet(60)]) === 1) world.driver.reap();
      world.driver.reap();
    }
  });
});

describe.each([false, true])('A ring of random descriptors (packed %s)', (packed) => {
  const word = fc.oneof(
    fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 }),
    fc.constantFrom(0, 1, 2, 4, 12, 72, 0x0010_0000, 0x0010_2000, 0x002f_fff0, 0x0080_0000, 0x0082_0000, 0x0081_0001),
  );
  test.prop([fc.array(word, { minLength: 64, maxLength: 64 }), fc.constantFrom('rx', 'tx'), fc.nat(16)], {
    numRuns: 100,
  })('loses no frame, balances its counters, and writes nothing outside of the memory', (words, direction, ahead) => {
    const world = new VhostWorld(direction, { packed, size: 16, mergeable: true, csum: true });
    const { guest, driver } = world;
    const at = guest.place(driver.desc)!;
    new Int32Array(guest.windows[at.window], at.offset, 64).set(words);
    if (!packed) {
      for (let i = 0; i < 16; i++) guest.put16(driver.driver + 4 + 2 * i, words[i] & 15);
      guest.put16(driver.driver + 2, ahead);
    }
    guest.claim(guest.regions[0]);
    if (direction === 'rx') {
      const rx = world.rx();
      for (let n = 0; n < 4; n++) {
        const burst = world.burst(8);
        const got = rx.receive(burst);
        for (let i = 0; i < got; i++) expect(burst.lengths[i]).toBeGreaterThanOrEqual(14);
        world.stack.give(burst.offsets, 0, got);
      }
      const { packets, bytes: _, ...reasons } = world.counters;
      const taken = packets + Object.values(reasons).reduce((sum, n) => sum + n, 0);
      if (!packed && world.block[BLOCK.broken] === 0) expect(taken).toBe(ahead);
    } else {
      world.send(world.tx(), [packet(60), packet(1518), packet(20)]);
      const { packets, completed, no_buffer: none } = world.counters;
      expect(completed + none).toBe(packets);
    }
    expect(world.framesFree).toBe(true);
    expect(guest.damage()).toEqual([]);
  });
});
