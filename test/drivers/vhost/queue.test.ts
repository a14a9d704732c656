import { describe, expect, it } from 'vitest';
import { MANY_REGIONS, packet, VhostWorld } from '../../fakes/vhost-world.ts';
import { packetsOf, scatterBytes, withHeader } from '../../fakes/virtio-driver.ts';

describe.each([false, true])('rx, packed %s', (packed) => {
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
  it('any layout', () => {
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

describe.each([false, true])('tx, packed %s', (packed) => {
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
  it('mergeable', () => {
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
