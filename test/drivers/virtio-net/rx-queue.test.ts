import { describe, expect, test } from 'vitest';
import { BLOCK } from '../../../lib/drivers/virtio-net/block.ts';
import { KINDS, POOL, packetOf, VirtioWorld } from '../../fakes/virtio-queues.ts';

describe.each(KINDS)('An rx queue over a %s ring', (kind) => {
  test('makes a buffer available for each descriptor, every one writable and with room for a frame', () => {
    const world = new VirtioWorld({ kind });
    world.makeRx();
    expect(world.device.waiting).toBe(16);
    const taken = Array.from({ length: 16 }, () => world.device.take()!);
    expect(new Set(taken.map(({ parts: [part] }) => part.addr)).size).toBe(16);
    expect(taken.every(({ parts: [part] }) => part.write && part.len === 1792)).toBe(true);
    expect(world.held.length).toBe(16);
  });

  test('gives packets in the order and with the bytes that the device wrote, and new buffers in their place', () => {
    const world = new VirtioWorld({ kind });
    const rx = world.makeRx();
    const burst = world.burst();
    for (let i = 0; i < 100; i++) {
      expect(world.deliver(packetOf(i, 60 + i))).toBe(true);
      expect(rx.receive(burst)).toBe(1);
      const at = burst.offsets[0];
      expect([...world.bytes.slice(at, at + burst.lengths[0])]).toEqual(packetOf(i, 60 + i));
      expect(at % 4).toBe(0);
      world.stack.give(burst.offsets, 0, 1);
      rx.receive(burst);
    }
    expect(world.device.violations).toEqual([]);
    expect(world.free.free.size + world.held.length).toBe(world.frames);
    expect(world.counters('rx')).toMatchObject({ packets: 100, bytes: 60 * 100 + (99 * 100) / 2 });
    expect(POOL.headroom).toBe(256);
  });

  test('says that there is nothing to wait for while the device has no buffers, until it has some again', () => {
    const world = new VirtioWorld({ kind, frames: 16 });
    const rx = world.makeRx();
    expect(rx.fd).toBe(7);
    const burst = world.burst();
    for (let i = 0; i < 16; i++) world.deliver(packetOf(i));
    expect(rx.receive(burst)).toBe(16);
    expect([rx.receive(world.burst()), rx.arm(), rx.fd]).toEqual([0, false, -1]);
    world.stack.give(burst.offsets, 0, 1);
    expect([rx.receive(world.burst()), rx.fd, world.device.waiting]).toEqual([0, 7, 1]);
  });

  test('reads the ISR status and unmasks the line when it arms, before its last look at the ring, and at no other time', () => {
    const world = new VirtioWorld({ kind, line: true });
    const rx = world.makeRx();
    const before = world.kicks.length;
    world.bytes[world.isr] = 3;
    rx.receive(world.burst());
    expect(rx.arm()).toBe(false);
    expect([world.kicks.slice(before), world.words[BLOCK.isr]]).toEqual([[11], 3]);
    rx.disarm();
    // What comes as the line rises again is seen by the look at the ring.
    const { kick } = world.context;
    const late = world.module.makeRxQueue(world.plan('rx'), {
      ...world.context,
      kick(fd) {
        kick(fd);
        if (fd === 11) world.deliver(packetOf(1));
      },
    });
    expect(late.arm()).toBe(true);
    const without = new VirtioWorld({ kind });
    without.makeRx().arm();
    expect(without.kicks).not.toContain(11);
  });

  test('leaves the line alone while its gate is closed', () => {
    const world = new VirtioWorld({ kind, line: true });
    const rx = world.makeRx();
    world.gate.set(false);
    rx.arm();
    expect(world.kicks).not.toContain(11);
  });
});

describe('tx', () => {
  test('sends', () => {
    const world = new VirtioWorld();
    const tx = world.makeTx();
    for (let i = 0; i < 50; i++) {
      const burst = world.burstOf(60, 61, 62);
      expect(tx.transmit(burst, 0, 3)).toBe(3);
      const sent = world.collect();
      expect(sent.map(({ packet }) => packet.length)).toEqual([60, 61, 62]);
      expect(sent[0].header).toEqual(Array(12).fill(0));
      expect(tx.reclaim()).toBe(0);
    }
    expect(world.device.violations).toEqual([]);
    expect(world.free.free.size).toBe(world.frames);
  });
});
