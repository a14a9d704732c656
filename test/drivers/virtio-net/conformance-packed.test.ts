/** Rules of virtio 1.2 for the driver of a packed virtqueue, V34 to V46; the device is `PackedDeviceRing`. */
import { describe, expect, test } from 'vitest';
import { packetOf, VirtioWorld } from '../../fakes/virtio-queues.ts';
import type { PackedDeviceRing } from '../../fakes/virtio-ring.ts';
import { inSequence, receiveTraffic, sendTraffic } from '../../fakes/virtio-traffic.ts';
import { watchStores } from '../../fakes/watch-stores.ts';

const makeWorld = (options = {}) => {
  const world = new VirtioWorld({ kind: 'packed', ...options });
  return { world, device: () => world.device as PackedDeviceRing };
};

const flagsOf = ({ view, place }: VirtioWorld): number[] =>
  Array.from({ length: place.size }, (_, slot) => view.getUint16(place.desc + 16 * slot + 14, true));

describe.each([
  ['rx', (world: VirtioWorld) => receiveTraffic(world, world.makeRx(), 200)],
  ['tx', (world: VirtioWorld) => sendTraffic(world, world.makeTx(), 200)],
] as const)('A packed %s queue', (direction, run) => {
  test.each([
    ['V35', 'change a descriptor unless it saw its USED bit change'],
    ['V36', 'change a descriptor after it flipped its AVAIL bit'],
  ])('%s: MUST NOT %s: available descriptors stay as they are, lap after lap', () => {
    const { world } = makeWorld({ size: 5 });
    expect(run(world)).toEqual(inSequence(200));
    expect(world.device.violations).toEqual([]);
  });

  test('V38: a list is no longer than the ring, and has no loop: it is one descriptor', () => {
    const { world } = makeWorld({ size: 2 });
    expect(run(world)).toEqual(inSequence(200));
    expect(flagsOf(world).filter((flags) => (flags & 1) !== 0)).toEqual([]);
  });

  test(`V39: MUST place writable parts after readable ones: an ${direction} buffer is all of one kind`, () => {
    const { world } = makeWorld();
    if (direction === 'rx') world.makeRx();
    else world.makeTx().transmit(world.burstOf(...Array(16).fill(60)), 0, 16);
    expect(new Set(flagsOf(world).map((flags) => flags & 2))).toEqual(new Set([direction === 'rx' ? 2 : 0]));
  });

  test('V40: MUST NOT depend on descriptors that the device has not used: no more are written than are free', () => {
    const { world } = makeWorld({ size: 3, frames: 64 });
    if (direction === 'rx') {
      const rx = world.makeRx();
      for (let i = 0; i < 5; i++) rx.receive(world.burst());
    } else {
      const tx = world.makeTx();
      expect(tx.transmit(world.burstOf(60, 60, 60, 60, 60), 0, 5)).toBe(3);
      expect(tx.transmit(world.burstOf(60), 0, 1)).toBe(0);
    }
    expect(world.device.waiting).toBe(3);
    expect(world.device.violations).toEqual([]);
  });

  test('V41: the first descriptor of a batch is made available last', () => {
    const { world } = makeWorld();
    const { place, view } = world;
    const available = (slot: number) => (view.getUint16(place.desc + 16 * slot + 14, true) & 0x80) !== 0;
    const states: string[] = [];
    const look = () => {
      const ready = Array.from({ length: 16 }, (_, slot) => available(slot));
      if (ready[0]) states.push(ready.every(Boolean) ? 'all' : 'some');
    };
    watchStores(() => {
      if (direction === 'rx') world.makeRx();
      else {
        const tx = world.makeTx();
        tx.transmit(world.burstOf(...Array(16).fill(60)), 0, 16);
        tx.kick();
      }
    }, look);
    expect(states.length).toBeGreaterThan(0);
    expect(new Set(states)).toEqual(new Set(['all']));
  });

  test.each([
    ['V42', 'INDIRECT unless it was negotiated'],
    ['V43', 'a chain longer than the device allows'],
    ['V44', 'INDIRECT descriptors within a list'],
  ])('%s: MUST NOT use %s: where INDIRECT was not negotiated there are neither chains nor tables', () => {
    const { world } = makeWorld();
    run(world);
    expect(flagsOf(world).filter((flags) => (flags & (1 | 4)) !== 0)).toEqual([]);
    expect(world.device.violations).toEqual([]);
  });

  test('V45: address, length and id are there before the flags that make them available', () => {
    const { world } = makeWorld();
    const { place, view } = world;
    const seen: boolean[] = [];
    watchStores(
      () => run(world),
      () => {
        if ((view.getUint16(place.desc + 14, true) & 0x8080) !== 0x80) return;
        seen.push(view.getUint32(place.desc, true) !== 0 && view.getUint32(place.desc + 8, true) >= 14);
      },
    );
    expect(seen).not.toContain(false);
    expect(seen).toContain(true);
  });
});

describe('A packed ring', () => {
  test('V37: when it notifies with data, that names the next descriptor not yet made available, and its wrap counter', () => {
    const { world } = makeWorld({ size: 5, notifier: { register: 'u32', position: true } });
    const tx = world.makeTx();
    let [slot, wrap] = [0, 1];
    for (let round = 0; round < 40; round++) {
      const n = 1 + (round % 3);
      tx.transmit(world.burstOf(...Array(n).fill(60)), 0, n);
      tx.kick();
      slot += n;
      if (slot >= 5) [slot, wrap] = [slot - 5, wrap ^ 1];
      const written = world.view.getUint32(world.register, true);
      expect([written & 0xffff, (written >>> 16) & 0x7fff, written >>> 31]).toEqual([5, slot, wrap]);
      world.collect();
      tx.reclaim();
    }
  });

  test('V46: the wish of the device is read after the descriptors are there: a fence lies between', () => {
    const { world } = makeWorld();
    const tx = world.makeTx();
    const area = world.place.device;
    let waiting = 0;
    world.view.setUint16(area + 2, 1, true);
    watchStores(
      () => {
        tx.transmit(world.burstOf(60, 60), 0, 2);
        tx.kick();
      },
      () => {
        waiting = Math.max(waiting, world.device.waiting);
        // The device asks at the last moment that the fence allows.
        if (waiting === 2) world.view.setUint16(area + 2, 0, true);
      },
    );
    expect([waiting, world.kicks]).toEqual([2, [9]]);
  });

  test('The device is notified as its event structure asks: always, never, or at a descriptor, in either lap', () => {
    const { world, device } = makeWorld({ size: 5, eventIdx: true });
    const tx = world.makeTx();
    const send = (n: number) => {
      tx.transmit(world.burstOf(...Array(n).fill(60)), 0, n);
      tx.kick();
      world.collect();
      tx.reclaim();
      return world.kicks.splice(0).length;
    };
    send(1);
    let at = 1;
    for (let round = 0; round < 300; round++) {
      const n = 1 + (round % 4);
      const ahead = Math.floor(round / 4) % 5;
      const event = (at + ahead) % 10;
      world.view.setUint16(world.place.device, (event % 5) | (event < 5 ? 0x8000 : 0), true);
      world.view.setUint16(world.place.device + 2, 2, true);
      expect([round, send(n)]).toEqual([round, ahead < n ? 1 : 0]);
      at = (at + n) % 10;
    }
    device().ask('never');
    expect(send(3)).toBe(0);
    device().ask('always');
    expect(send(1)).toBe(1);
  });

  test('A device that asks for a descriptor which it has used, and does not ask anew, is told of what comes, in either lap', () => {
    const { world, device } = makeWorld({ size: 5, eventIdx: true });
    const tx = world.makeTx();
    const send = (n: number) => {
      tx.transmit(world.burstOf(...Array(n).fill(60)), 0, n);
      tx.kick();
      return world.kicks.splice(0).length;
    };
    const reclaim = () => {
      tx.reclaim();
      return world.kicks.splice(0).length;
    };
    /** Asks for what it takes next, takes all, and does not ask again: as QEMU does when its receiver has room again. */
    const goOn = (at: number) => {
      world.view.setUint16(world.place.device, (at % 5) | (at < 5 ? 0x8000 : 0), true);
      world.view.setUint16(world.place.device + 2, 2, true);
      world.collect();
    };
    for (let round = 0, at = 0; round < 40; round++, at = (at + 3) % 10) {
      device().ask('never');
      expect([round, send(2)]).toEqual([round, 0]);
      goOn(at);
      // Half the time it is known what it has used when more comes, else only afterwards; it is told once.
      const known = round % 2 === 0;
      expect([round, known ? reclaim() : 0, send(1)]).toEqual([round, 0, known ? 1 : 0]);
      expect([round, reclaim(), reclaim()]).toEqual([round, known ? 0 : 1, 0]);
      world.collect();
      expect([round, reclaim()]).toEqual([round, 0]);
    }
    expect(world.device.violations).toEqual([]);
  });

  test('Interrupts are asked for by arm and not otherwise, with and without EVENT_IDX', () => {
    for (const eventIdx of [false, true]) {
      const { world } = makeWorld({ size: 5, eventIdx });
      const rx = world.makeRx();
      const burst = world.burst();
      const arrive = () => {
        world.deliver(packetOf(1));
        const interrupt = world.device.interrupts();
        world.stack.give(burst.offsets, 0, rx.receive(burst));
        rx.receive(burst);
        return interrupt;
      };
      for (let lap = 0; lap < 4; lap++) {
        expect([arrive(), arrive()]).toEqual([false, false]);
        expect(rx.arm()).toBe(false);
        expect(arrive()).toBe(true);
        rx.disarm();
        expect(arrive()).toBe(false);
      }
      world.deliver(packetOf(1));
      expect(rx.arm()).toBe(true);
      expect(world.device.violations).toEqual([]);
    }
  });
});
