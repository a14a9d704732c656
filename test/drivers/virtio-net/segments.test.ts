import { describe, expect, test } from 'vitest';
import { MORE } from '../../../lib/queue.ts';
import { KINDS, VirtioWorld } from '../../fakes/virtio-queues.ts';

describe.each(KINDS)('A packet of several frames at a tx queue over a %s ring', (kind) => {
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
