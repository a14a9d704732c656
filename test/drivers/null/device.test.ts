import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { nullDriver } from '../../../lib/drivers/null/device.ts';
import * as queues from '../../../lib/drivers/null/queue.ts';
import { macOf } from '../../../lib/pktio/memory-port.ts';
import { countFds } from '../../fakes/fds.ts';
import { type Machine, makeMachine } from '../../fakes/memory-ports.ts';
import { makeBurst } from '../../fakes/queue-world.ts';

let machine: Machine;
const eventfds = countFds('eventfd');

beforeEach(() => {
  machine = makeMachine(nullDriver(), queues);
});

afterEach(() => {
  machine.close();
  expect(countFds('eventfd')).toBe(eventfds);
});

describe('a null port', () => {
  it('is a patient source without end, and a sink', async () => {
    const { port, close } = await machine.open('null:a,size=100');
    expect(port).toMatchObject({ name: 'null:a', driver: 'null', state: 'stopped', finished: false });
    expect(port.capability).toMatchObject({ patient: true, finite: false, internal: false, interrupts: false });
    expect(port.config).toEqual({
      rxQueues: 1,
      txQueues: 1,
      rxRing: 0,
      txRing: 1024,
      mtu: 1500,
      promiscuous: true,
      mac: macOf('null:a'),
    });
    expect(port.link()).toEqual({ status: 'up', speed: 0, duplex: 'full', autoneg: false, media: 'memory' });
    await close();
  });

  it('plans as many queues as it is configured for, of the module beside it', async () => {
    const { port, close } = await machine.open('null:a,size=100');
    port.configure({ rxQueues: 8, txQueues: 3, mtu: 9000 });
    await port.start();
    expect([port.queues.rx.length, port.queues.tx.length]).toEqual([8, 3]);
    const { plan } = port.queues.rx[7]!;
    expect(plan).toMatchObject({
      direction: 'rx',
      port: 'null:a',
      queue: 7,
      fd: -1,
      maxLength: 9018,
      data: { size: 100 },
    });
    expect(existsSync(fileURLToPath(plan.module))).toBe(true);
    await close();
  });

  it('receives and sends by its plans, and counts', async () => {
    const { port, rx, tx, close } = await machine.open('null:a,size=100');
    await port.start();
    const burst = makeBurst(32, 0);
    expect(rx(0).receive(burst)).toBe(32);
    expect(tx(0).transmit(burst, 0, 32)).toBe(32);
    expect(port.stats()).toEqual({
      rx: { packets: 32n, bytes: 3200n, extra_frames: 0n },
      tx: { packets: 32n, bytes: 3200n, completed: 32n, runt: 0n, oversize: 0n, stopped: 0n, extra_frames: 0n },
    });
    for (const handle of [...port.queues.rx, ...port.queues.tx]) expect([...handle.held()]).toEqual([]);
    await port.stop();
    expect(port.stats().tx.completed).toBe(32n);
    await close();
  });

  it('releases its counters when it stops, and when it cannot start', async () => {
    const { port, devio, close } = await machine.open('null:a');
    const mapped = machine.arena.mapped().length;
    for (let i = 0; i < 3; i++) {
      await port.start();
      await port.stop();
      expect(machine.arena.mapped()).toHaveLength(mapped);
    }
    const { allocate } = devio;
    let left = 3;
    Object.assign(devio, {
      allocate(bytes: number) {
        if (left-- === 0) throw new Error('no memory');
        return allocate.call(devio, bytes);
      },
    });
    port.configure({ rxQueues: 8 });
    await expect(port.start()).rejects.toThrow('no memory');
    expect(machine.arena.mapped()).toHaveLength(mapped);
    await close();
  });
});
