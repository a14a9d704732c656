/** Queues and their gates: stepping back, beginning anew, and taking over from a worker that was ended anywhere. */
import { describe, expect, test } from 'vitest';
import { GATE } from '../../../lib/arena/gate.ts';
import { BLOCK } from '../../../lib/drivers/virtio-net/block.ts';
import { KINDS, packetOf, VirtioWorld } from '../../fakes/virtio-queues.ts';
import { inSequence, receiveTraffic, sendTraffic } from '../../fakes/virtio-traffic.ts';

describe.each(KINDS)('A queue over a %s ring', (kind) => {
  test('behind a closed gate makes nothing available, and starts when the gate opens', () => {
    const world = new VirtioWorld({ kind, closed: true });
    const rx = world.makeRx();
    const burst = world.burst();
    expect([rx.receive(burst), rx.arm(), world.device.waiting]).toEqual([0, false, 0]);
    rx.disarm();
    expect(world.gate.settled).toBe(true);
    world.gate.set(true);
    expect(world.gate.settled).toBe(false);
    expect(rx.receive(burst)).toBe(0);
    expect([world.gate.settled, world.device.waiting]).toEqual([true, 16]);
  });

  test('V53: keeps its buffers with the device when the gate closes, and takes them back once it has let go', () => {
    const world = new VirtioWorld({ kind });
    const rx = world.makeRx();
    world.deliver(packetOf(1));
    world.deliver(packetOf(2));
    world.gate.set(false);
    expect(rx.receive(world.burst())).toBe(0);
    expect([world.gate.settled, world.held.length]).toEqual([true, 16]);
    world.release();
    expect(rx.receive(world.burst())).toBe(0);
    expect([world.held.length, world.free.free.size]).toEqual([0, world.frames]);
    expect(world.counters('rx')).toMatchObject({ packets: 0, lost: 2 });
  });

  test('counts as completed what the device had sent when the gate closed, and as lost what it had not', () => {
    const world = new VirtioWorld({ kind });
    const tx = world.makeTx();
    tx.transmit(world.burstOf(60, 60, 60, 60, 60), 0, 5);
    world.collect(2);
    world.gate.set(false);
    const burst = world.burstOf(60);
    expect(tx.transmit(burst, 0, 1)).toBe(0);
    expect(world.held.length).toBe(3);
    world.release();
    expect(tx.reclaim()).toBe(0);
    expect(world.counters('tx')).toMatchObject({ packets: 5, completed: 2, lost: 3 });
    expect(world.free.free.size + 1).toBe(world.frames);
    world.resetDevice();
    world.gate.set(true);
    expect(tx.transmit(burst, 0, 1)).toBe(1);
    expect(world.collect().length).toBe(1);
    expect(tx.reclaim()).toBe(0);
    expect(world.device.violations).toEqual([]);
  });

  test('V13, CVE-2022-28199: after a reset is as new: indices from the start, the device served as at first', () => {
    const world = new VirtioWorld({ kind, size: 8 });
    const rx = world.makeRx();
    receiveTraffic(world, rx, 37);
    for (let i = 0; i < 3; i++) {
      world.gate.set(false);
      rx.receive(world.burst());
      world.resetDevice();
      world.gate.set(true);
      expect(receiveTraffic(world, rx, 45)).toEqual(inSequence(45));
      expect(world.device.violations).toEqual([]);
    }
    expect(world.free.free.size + world.held.length).toBe(world.frames);
  });

  test('goes on where the worker before it stopped', () => {
    const world = new VirtioWorld({ kind, size: 8 });
    expect(receiveTraffic(world, world.makeRx(), 29)).toEqual(inSequence(29));
    expect(receiveTraffic(world, world.makeRx(), 29)).toEqual(inSequence(29));
    const other = new VirtioWorld({ kind, size: 8 });
    expect(sendTraffic(other, other.makeTx(), 29)).toEqual(inSequence(29));
    expect(sendTraffic(other, other.makeTx(), 29)).toEqual(inSequence(29));
    expect([...world.device.violations, ...other.device.violations]).toEqual([]);
  });

  test('a gate that closed and opened while nobody worked begins the ring anew', () => {
    const world = new VirtioWorld({ kind });
    receiveTraffic(world, world.makeRx(), 20);
    world.words[BLOCK.gate + GATE.seen] = -1;
    world.gate.set(false);
    world.resetDevice();
    world.gate.set(true);
    expect(receiveTraffic(world, world.makeRx(), 40)).toEqual(inSequence(40));
    expect(world.free.free.size + world.held.length).toBe(world.frames);
  });

  /** Runs until the worker is ended. */
  const dying = (run: () => void): void => {
    try {
      run();
    } catch (error) {
      if ((error as Error).message !== 'ended') throw error;
    }
  };

  test.each([false, true])(
    'a worker that is ended while it takes or gives frames leaves none with two owners, and the next goes on (IN_ORDER %s)',
    (inOrder) => {
      for (let at = 1; at < 120; at++) {
        const world = new VirtioWorld({ kind, size: 8, frames: 32, inOrder });
        let calls = 0;
        const guard = () => {
          if (++calls === at) throw new Error('ended');
        };
        // Each call out of the queue's code is a place where it may end: frames taken and given, counters, notifications.
        const { context } = world;
        const stack = {
          ...context.stack,
          take: (offsets: Int32Array, from: number, count: number) => {
            guard();
            return context.stack.take(offsets, from, count);
          },
          give: (offsets: Int32Array, from: number, to: number) => {
            guard();
            context.stack.give(offsets, from, to);
          },
        };
        const kick = (fd: number) => {
          guard();
          context.kick(fd);
        };
        const queues = world.module;
        dying(() => {
          const tx = queues.makeTxQueue(world.plan('tx'), { ...context, stack, kick });
          for (let i = 0; i < 20; i++) {
            const burst = world.burstOf(60, 61, 62);
            tx.transmit(burst, 0, 3);
            tx.kick();
            if (i % 2 === 0) world.collect();
            tx.reclaim();
          }
        });
        const held = world.held;
        expect(new Set(held).size).toBe(held.length);
        for (const offset of held) expect(world.free.free.has(offset & ~2047)).toBe(false);
        const tx = world.makeTx();
        const more = world.burst(1);
        world.collect();
        tx.reclaim();
        expect(world.held).toEqual([]);
        if (world.stack.take(more.offsets, 0, 1) === 1) {
          more.lengths[0] = 77;
          expect(tx.transmit(more, 0, 1)).toBe(1);
          expect(world.collect().map(({ packet }) => packet.length)).toEqual([77]);
        }
        expect(world.device.violations).toEqual([]);
      }
    },
  );
});
