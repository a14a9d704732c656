/**
 * Both drivers at the two ends of rings of every size, each asleep unless the other wakes it: the exact sequence through
 * the wrap of the indices, and nobody sleeps for ever.
 */
import { describe, expect, test } from 'vitest';
import { JoinedQueues, type Way } from '../../fakes/joined-queues.ts';
import { KINDS } from '../../fakes/virtio-queues.ts';

const POWERS = Array.from({ length: 15 }, (_, i) => 2 ** (i + 1));
const ODD = [3, 5, 7, 31, 100, 255, 257, 1000, 4095, 32_767];
const WAYS: readonly Way[] = ['to device', 'to driver'];
// Each size one way with EVENT_IDX and the other way without; every other pair of sizes with IN_ORDER.
const cases = KINDS.flatMap((kind) =>
  [...POWERS, ...(kind === 'packed' ? ODD : [])].flatMap((size, i) =>
    WAYS.map((way, j) => [kind, size, way, (i + j) % 2 === 0, (i & 2) !== 0] as const),
  ),
);
const COUNT = 65_536 + 2500;

/** 0 … n − 1, always the same sequence. */
function numbers(): (n: number) => number {
  let state = 12_345;
  return (n) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % n;
  };
}

describe.each(cases)('A %s ring of %i, %s, EVENT_IDX %s, IN_ORDER %s', (kind, size, way, eventIdx, inOrder) => {
  test('brings all in order, and a queue that sleeps is woken when there is something for it', () => {
    const joined = new JoinedQueues(way, { kind, size, eventIdx, inOrder, frames: size + 128, watchful: false });
    const { world, tx, rx } = joined;
    const random = numbers();
    const out = world.burst(32);
    const burst = world.burst(32);
    let sent = 0;
    let got = 0;
    let asleep = false;
    const receive = () => {
      const n = rx.receive(burst);
      for (let i = 0; i < n; i++, got++) {
        const number = world.view.getUint32(burst.offsets[i], true);
        if (number !== got) throw new Error(`packet ${number} comes instead of ${got}`);
      }
      world.stack.give(burst.offsets, 0, n);
      return n;
    };
    for (let idle = 0; got < COUNT; idle++) {
      if (idle > 10) throw new Error(`both wait: ${sent} sent, ${got} received`);
      const n = world.stack.take(out.offsets, 0, Math.min(1 + random(32), COUNT - sent));
      for (let i = 0; i < n; i++) {
        out.lengths[i] = 20;
        world.view.setUint32(out.offsets[i], sent + i, true);
      }
      const accepted = tx.transmit(out, 0, n);
      sent += accepted;
      world.stack.give(out.offsets, accepted, n);
      if (accepted > 0) idle = 0;
      tx.kick();
      tx.reclaim();
      if (asleep) {
        if (!joined.signalled('rx')) continue;
        asleep = false;
        rx.disarm();
      }
      for (let turns = random(4); turns > 0; turns--) if (receive() > 0) idle = 0;
      // As the worker does it: arm, look again, sleep.
      if (random(2) === 0) continue;
      asleep = !rx.arm();
      if (!asleep) rx.disarm();
    }
    expect(tx.reclaim()).toBe(0);
    expect(joined.counted.rx).toEqual({ packets: COUNT, bytes: 20 * COUNT });
    expect(joined.counted.tx).toEqual({ packets: COUNT, bytes: 20 * COUNT, completed: COUNT });
    expect(world.free.free.size + world.held.length).toBe(world.frames);
  });
});
