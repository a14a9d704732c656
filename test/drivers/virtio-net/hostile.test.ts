/** List H of hostile devices, as far as it is about rings: counted, never thrown, and every frame in one place. */
import { describe, expect, test } from 'vitest';
import { BLOCK, TROUBLE } from '../../../lib/drivers/virtio-net/block.ts';
import { HDR, KINDS, packetOf, VirtioWorld } from '../../fakes/virtio-queues.ts';
import type { PackedDeviceRing, SplitDeviceRing } from '../../fakes/virtio-ring.ts';

/** Frames that are free, in the ring, or in `burst`. */
const accounted = (world: VirtioWorld, others = 0): number => world.free.free.size + world.held.length + others;

/** The queue has stopped, says why, and does nothing more until its gate has been closed and opened. */
function expectStopped(world: VirtioWorld, trouble: number): void {
  expect(world.words[BLOCK.trouble]).toBe(trouble);
}

/** The main thread resets the device. */
function reset(world: VirtioWorld, look: () => void): void {
  world.gate.set(false);
  look();
  expect(world.gate.settled).toBe(true);
  world.resetDevice();
  world.gate.set(true);
  look();
}

describe.each(KINDS)('A hostile device on a %s ring', (kind) => {
  const lie = (world: VirtioWorld, id: number) => {
    world.device.take();
    world.device.use(id, HDR + 60);
  };

  describe.each([
    ['H1: a used id beyond the ring', [16, 17, 255, 32_768, 65_535]],
    ['H1: a used id of more than 16 bits', kind === 'split' ? [65_536, 0x7fff_ffff, 0x8000_0000, 0xffff_ffff] : []],
  ] as const)('%s', (_, ids) => {
    test.each(ids.length === 0 ? [16] : [...ids])('%d stops an rx queue, and after a reset it goes on', (id) => {
      const world = new VirtioWorld({ kind });
      const rx = world.makeRx();
      world.deliver(packetOf(1));
      lie(world, id);
      world.device.take();
      const burst = world.burst();
      expect(rx.receive(burst)).toBe(1);
      expectStopped(world, TROUBLE.id);
      expect([rx.receive(world.burst()), rx.arm()]).toEqual([0, false]);
      rx.disarm();
      expect(accounted(world, 1)).toBe(world.frames);
      reset(world, () => rx.receive(world.burst()));
      expect(accounted(world, 1)).toBe(world.frames);
      world.deliver(packetOf(5));
      expect(rx.receive(burst)).toBe(1);
      expect(world.bytes[burst.offsets[0]]).toBe(35);
    });

    test.each(ids.length === 0 ? [16] : [...ids])('%d stops a tx queue, and after a reset it goes on', (id) => {
      const world = new VirtioWorld({ kind });
      const tx = world.makeTx();
      tx.transmit(world.burstOf(60, 60, 60), 0, 3);
      lie(world, id);
      expect(tx.reclaim()).toBe(3);
      expectStopped(world, TROUBLE.id);
      const burst = world.burstOf(60);
      expect(tx.transmit(burst, 0, 1)).toBe(0);
      tx.kick();
      expect(accounted(world, 1)).toBe(world.frames);
      reset(world, () => tx.reclaim());
      expect(world.counters('tx')).toMatchObject({ packets: 3, completed: 0, lost: 3 });
      expect(tx.transmit(burst, 0, 1)).toBe(1);
      expect(world.collect().length).toBe(1);
      expect(tx.reclaim()).toBe(0);
      expect(accounted(world)).toBe(world.frames);
    });
  });

  test('H2: a buffer that is used twice, or that the device does not have, stops the queue', () => {
    for (const direction of ['rx', 'tx'] as const) {
      const world = new VirtioWorld({ kind });
      const rx = direction === 'rx' ? world.makeRx() : undefined;
      const tx = direction === 'tx' ? world.makeTx() : undefined;
      tx?.transmit(world.burstOf(60, 60, 60, 60), 0, 4);
      const id = world.device.take()!.id;
      world.device.use(id, HDR + 60);
      world.device.take();
      world.device.use(id, HDR + 60);
      const burst = world.burst();
      const got = rx?.receive(burst) ?? 0;
      tx?.reclaim();
      expectStopped(world, TROUBLE.id);
      expect(got).toBe(direction === 'rx' ? 1 : 0);
      expect(accounted(world, got)).toBe(world.frames);
    }
  });

  test('H13: endless notifications without anything new do nothing', () => {
    const world = new VirtioWorld({ kind });
    const rx = world.makeRx();
    const before = accounted(world);
    for (let i = 0; i < 10_000; i++) {
      rx.arm();
      rx.disarm();
      expect(rx.receive(world.burst())).toBe(0);
    }
    expect([accounted(world), world.counters('rx')]).toEqual([
      before,
      expect.objectContaining({ packets: 0, invalid: 0 }),
    ]);
  });
});

describe('A hostile device on a split ring', () => {
  test.each([17, 100, 0x7fff, 0x8000, 0xffff])('H4: a used index that jumps by %d stops the queue', (by) => {
    for (const direction of ['rx', 'tx'] as const) {
      const world = new VirtioWorld({ kind: 'split' });
      const rx = direction === 'rx' ? world.makeRx() : undefined;
      const tx = direction === 'tx' ? world.makeTx() : undefined;
      tx?.transmit(world.burstOf(60, 60), 0, 2);
      (world.device as SplitDeviceRing).advance(by);
      const burst = world.burst();
      expect(rx?.receive(burst) ?? 0).toBe(0);
      expect(tx?.reclaim() ?? 2).toBe(2);
      expectStopped(world, TROUBLE.index);
      expect(accounted(world)).toBe(world.frames);
      reset(world, () => void (rx?.receive(burst) ?? tx?.reclaim()));
      expect(world.words[BLOCK.trouble]).toBe(0);
      expect(accounted(world)).toBe(world.frames);
    }
  });

  test('H4: a used index that goes backwards stops the queue', () => {
    const world = new VirtioWorld({ kind: 'split' });
    const rx = world.makeRx();
    for (let i = 0; i < 5; i++) world.deliver(packetOf(i));
    expect(rx.receive(world.burst())).toBe(5);
    (world.device as SplitDeviceRing).advance(-1);
    expect(rx.receive(world.burst())).toBe(0);
    expectStopped(world, TROUBLE.index);
  });
});

describe('A hostile device on a packed ring', () => {
  test('H5: a wrong wrap bit is no used descriptor', () => {
    const world = new VirtioWorld({ kind: 'packed' });
    const rx = world.makeRx();
    const device = world.device as PackedDeviceRing;
    const taken = device.take()!;
    const { slot, wrap } = device.nextUse;
    device.put(slot, taken.id, HDR + 60, wrap ^ 1);
    expect(rx.receive(world.burst())).toBe(0);
    expect(accounted(world)).toBe(world.frames);
    device.put(slot, taken.id, HDR + 60, wrap);
    expect(rx.receive(world.burst())).toBe(1);
  });

  test('H5: the id of a buffer that is free stops the queue', () => {
    const world = new VirtioWorld({ kind: 'packed' });
    const tx = world.makeTx();
    tx.transmit(world.burstOf(60, 60), 0, 2);
    world.device.take();
    world.device.use(9, 0);
    expect(tx.reclaim()).toBe(2);
    expectStopped(world, TROUBLE.id);
    expect(accounted(world)).toBe(world.frames);
  });

  test('H5: flags that flicker never give a buffer twice', () => {
    const world = new VirtioWorld({ kind: 'packed', size: 4 });
    const rx = world.makeRx();
    const burst = world.burst();
    let random = 1;
    for (let i = 0; i < 5000; i++) {
      random = Math.imul(random, 1103515245) + 12345;
      const slot = (random >>> 16) & 3;
      const at = world.place.desc + 16 * slot + 14;
      world.view.setUint16(at, world.view.getUint16(at, true) ^ ((random & 1) === 0 ? 0x80 : 0x8000), true);
      world.stack.give(burst.offsets, 0, rx.receive(burst));
      expect(accounted(world)).toBe(world.frames);
      if (world.words[BLOCK.trouble] !== 0) reset(world, () => world.stack.give(burst.offsets, 0, rx.receive(burst)));
    }
  });
});
