/** Rules of virtio 1.2 for the driver of a split virtqueue, V14 to V33; the device is `SplitDeviceRing`. */
import { describe, expect, test } from 'vitest';
import { HDR, packetOf, VirtioWorld } from '../../fakes/virtio-queues.ts';
import type { SplitDeviceRing } from '../../fakes/virtio-ring.ts';
import { inSequence, receiveTraffic, sendTraffic } from '../../fakes/virtio-traffic.ts';
import { watchStores } from '../../fakes/watch-stores.ts';

const makeWorld = (options = {}) => {
  const world = new VirtioWorld({ kind: 'split', ...options });
  return { world, device: () => world.device as SplitDeviceRing };
};

/** Flags of all descriptors of the table, from the bytes. */
const flagsOf = ({ view, place }: VirtioWorld): number[] =>
  Array.from({ length: place.size }, (_, id) => view.getUint16(place.desc + 16 * id + 12, true));

describe.each([
  ['rx', (world: VirtioWorld) => receiveTraffic(world, world.makeRx(), 100)],
  ['tx', (world: VirtioWorld) => sendTraffic(world, world.makeTx(), 100)],
] as const)('A split %s queue', (direction, run) => {
  test(`V15: MUST place device-writable parts after readable ones: an ${direction} buffer is all of one kind`, () => {
    const { world } = makeWorld();
    expect(run(world)).toEqual(inSequence(100));
    expect(new Set(flagsOf(world))).toEqual(new Set([direction === 'rx' ? 2 : 0]));
    expect(world.device.violations).toEqual([]);
  });

  test('V16: SHOULD NOT use an excessive number of descriptors per buffer: it is one', () => {
    const { world } = makeWorld();
    run(world);
    expect(flagsOf(world).filter((flags) => (flags & 1) !== 0)).toEqual([]);
  });

  test('V17: MUST NOT add a chain of more than 2^32 bytes, nor a loop', () => {
    const { world } = makeWorld();
    run(world);
    const lengths = Array.from({ length: 16 }, (_, id) => world.view.getUint32(world.place.desc + 16 * id + 8, true));
    expect(Math.max(...lengths)).toBeLessThanOrEqual(2048);
    expect(world.device.violations).toEqual([]);
  });

  test('V18: with IN_ORDER descriptors are used in ring order', () => {
    const { world } = makeWorld({ inOrder: true });
    if (direction === 'rx') world.makeRx();
    else {
      const burst = world.burstOf(...Array(16).fill(60));
      world.makeTx().transmit(burst, 0, 16);
    }
    const ids = Array.from({ length: 16 }, () => world.device.take()!.id);
    expect(ids).toEqual(Array.from({ length: 16 }, (_, i) => i));
  });

  test.each([
    ['V19', 'INDIRECT unless it was negotiated'],
    ['V20', 'INDIRECT within an indirect table'],
    ['V22', 'INDIRECT and NEXT together'],
  ])('%s: MUST NOT set %s: where INDIRECT was not negotiated no descriptor has either', () => {
    const { world } = makeWorld();
    run(world);
    expect(flagsOf(world).filter((flags) => (flags & (4 | 1)) !== 0)).toEqual([]);
  });

  test('V21: MUST NOT make a chain longer than the ring', () => {
    const { world } = makeWorld({ size: 2 });
    expect(run(world)).toEqual(inSequence(100));
    expect(world.device.violations).toEqual([]);
  });

  test('V24: MUST NOT decrement the available index: it goes on, through 65,536, and never beyond the ring', () => {
    const { world, device } = makeWorld({ size: 64 });
    const queue = direction === 'rx' ? world.makeRx() : world.makeTx();
    const seen: number[] = [];
    for (let i = 0; i < 1100; i++) {
      if ('receive' in queue) receiveTraffic(world, queue, 64, 64);
      else sendTraffic(world, queue, 64, 64);
      seen.push(device().availIdx);
    }
    expect(device().violations).toEqual([]);
    expect(seen.filter((idx, i) => i > 0 && idx < seen[i - 1]).length).toBe(1);
  });

  test('V25: without EVENT_IDX the available flags are 0 or 1', () => {
    const { world, device } = makeWorld();
    run(world);
    expect([0, 1]).toContain(device().availFlags);
    expect(device().violations).toEqual([]);
  });

  test('V26: with EVENT_IDX the available flags are 0', () => {
    const { world, device } = makeWorld({ eventIdx: true });
    run(world);
    expect(device().availFlags).toBe(0);
    expect(device().violations).toEqual([]);
  });

  test('V32: descriptors and ring elements are there before the available index says so', () => {
    const { world, device } = makeWorld();
    // A device that looks after each store of the driver sees complete buffers only.
    const order: string[] = [];
    const looked = new Set<number>();
    const look = () => {
      for (let i = looked.size; i < device().availIdx; i++) {
        looked.add(i);
        const id = world.view.getUint16(world.place.driver + 4 + 2 * (i % 16), true);
        order.push(`${world.view.getUint32(world.place.desc + 16 * id, true) !== 0}`);
      }
    };
    watchStores(() => void run(world), look);
    expect(order.length).toBeGreaterThan(0);
    expect(order).not.toContain('false');
  });
});

describe('A split ring', () => {
  test('V27: MUST handle spurious notifications: a wake-up without packets is an empty burst', () => {
    const { world } = makeWorld();
    const rx = world.makeRx();
    for (let i = 0; i < 10; i++) {
      expect(rx.arm()).toBe(false);
      rx.disarm();
      expect(rx.receive(world.burst())).toBe(0);
    }
    expect(world.counters('rx').packets).toBe(0);
  });

  test('V28: MUST NOT assume anything about bytes beyond the used length', () => {
    const { world } = makeWorld();
    const rx = world.makeRx();
    const taken = world.device.take()!;
    world.fill(taken, packetOf(1, 200));
    world.device.use(taken.id, HDR + 64);
    const burst = world.burst();
    expect(rx.receive(burst)).toBe(1);
    expect(burst.lengths[0]).toBe(64);
  });

  test('V30: without EVENT_IDX MUST notify while the used flags are 0, whatever avail_event says, and SHOULD NOT while they are 1', () => {
    const { world } = makeWorld();
    const tx = world.makeTx();
    const send = () => {
      tx.transmit(world.burstOf(60), 0, 1);
      tx.kick();
      world.collect();
      return world.kicks.splice(0).length;
    };
    send();
    for (const event of [0, 5, 0xffff]) {
      world.view.setUint16(world.place.device + 4 + 8 * 16, event, true);
      world.view.setUint16(world.place.device, 1, true);
      expect(send()).toBe(0);
      world.view.setUint16(world.place.device, 0, true);
      expect(send()).toBe(1);
    }
  });

  test('V31: with EVENT_IDX MUST notify when avail_event lies in what was just published, whatever the flags say, and SHOULD NOT otherwise', () => {
    const { world, device } = makeWorld({ eventIdx: true });
    const tx = world.makeTx();
    const send = (n: number) => {
      tx.transmit(world.burstOf(...Array(n).fill(60)), 0, n);
      tx.kick();
      world.collect();
      tx.reclaim();
      return world.kicks.splice(0).length;
    };
    send(1);
    for (let round = 0; round < 300; round++) {
      const n = 1 + (round % 5);
      const ahead = round % 8;
      const at = device().availIdx;
      world.view.setUint16(world.place.device, round & 1, true);
      world.view.setUint16(world.place.device + 4 + 8 * 16, (at + ahead) & 0xffff, true);
      expect([round, send(n)]).toEqual([round, ahead < n ? 1 : 0]);
    }
  });

  test('V31: an rx queue notifies of its buffers by the same rule', () => {
    const { world, device } = makeWorld({ eventIdx: true });
    const rx = world.makeRx();
    world.kicks.length = 0;
    const burst = world.burst();
    for (const asked of [true, false, true]) {
      device().ask(asked ? 'next' : 'never');
      for (let i = 0; i < 8; i++) world.deliver(packetOf(i));
      world.stack.give(burst.offsets, 0, rx.receive(burst));
      rx.receive(burst);
      expect(world.kicks.splice(0).length).toBe(asked ? 1 : 0);
    }
  });

  test('V33: the wish of the device is read after the index is there: a fence lies between', () => {
    const { world, device } = makeWorld();
    const tx = world.makeTx();
    const fenced: number[] = [];
    world.view.setUint16(world.place.device, 1, true);
    watchStores(
      () => {
        tx.transmit(world.burstOf(60, 60), 0, 2);
        tx.kick();
      },
      () => {
        fenced.push(device().availIdx);
        // The device asks at the last moment that the fence allows.
        world.view.setUint16(world.place.device, 0, true);
      },
    );
    expect(fenced.at(-1)).toBe(2);
    expect(world.kicks).toEqual([9]);
  });

  test('Interrupts are asked for by arm and not otherwise, with flags and with event indices', () => {
    for (const eventIdx of [false, true]) {
      const { world } = makeWorld({ eventIdx });
      const rx = world.makeRx();
      const burst = world.burst();
      const arrive = () => {
        world.deliver(packetOf(1));
        const interrupt = world.device.interrupts();
        world.stack.give(burst.offsets, 0, rx.receive(burst));
        return interrupt;
      };
      expect([arrive(), arrive()]).toEqual([false, false]);
      expect(rx.arm()).toBe(false);
      expect(arrive()).toBe(true);
      rx.disarm();
      expect(arrive()).toBe(false);
      world.deliver(packetOf(1));
      expect(rx.arm()).toBe(true);
    }
  });
});
