/** Sequences through every size of ring, beyond 65,536 buffers: nothing lost, doubled, or out of order. */
import { describe, expect, test } from 'vitest';
import { VirtioWorld } from '../../fakes/virtio-queues.ts';

const POWERS = Array.from({ length: 15 }, (_, i) => 2 ** (i + 1));
const ODD = [3, 5, 7, 31, 100, 255, 257, 1000, 4095, 32_767];
const cases = [
  ...POWERS.map((size) => ['split', size] as const),
  ...[...POWERS, ...ODD].map((size) => ['packed', size] as const),
];
const COUNT = 65_536 + 2500;

describe.each(cases)('A %s ring of %i', (kind, size) => {
  test('receives the exact sequence through the wrap of its indices', () => {
    const world = new VirtioWorld({ kind, size, frames: size + 64, eventIdx: true, watchful: size < 8 });
    const rx = world.makeRx();
    const burst = world.burst(32);
    let next = 0;
    for (let sent = 0; next < COUNT; ) {
      for (let i = 0; i < 32 && sent < COUNT; i++) {
        const taken = world.device.take();
        if (taken === undefined) break;
        world.view.setUint32(taken.parts[0].addr + 12, sent++, true);
        world.device.use(taken.id, 12 + 60);
      }
      const n = rx.receive(burst);
      for (let i = 0; i < n; i++, next++) {
        if (world.view.getUint32(burst.offsets[i], true) !== next) throw new Error(`packet ${next} is another`);
      }
      world.stack.give(burst.offsets, 0, n);
    }
    expect(world.device.violations).toEqual([]);
    expect(world.free.free.size + world.held.length).toBe(world.frames);
  });

  test('sends the exact sequence through the wrap of its indices', () => {
    const world = new VirtioWorld({ kind, size, frames: size + 64, eventIdx: true, watchful: size < 8 });
    const tx = world.makeTx();
    const burst = world.burst(32);
    let next = 0;
    for (let sent = 0; next < COUNT; ) {
      const got = world.stack.take(burst.offsets, 0, Math.min(32, COUNT - sent));
      for (let i = 0; i < got; i++) {
        burst.lengths[i] = 60;
        world.view.setUint32(burst.offsets[i], sent + i, true);
      }
      const n = tx.transmit(burst, 0, got);
      sent += n;
      world.stack.give(burst.offsets, n, got);
      tx.kick();
      for (let taken = world.device.take(); taken !== undefined; taken = world.device.take(), next++) {
        if (world.view.getUint32(taken.parts[0].addr + 12, true) !== next) throw new Error(`packet ${next} is another`);
        world.device.use(taken.id, 0);
      }
      tx.reclaim();
    }
    expect(world.device.violations).toEqual([]);
    expect(world.free.free.size).toBe(world.frames);
  });
});
