import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { loopDriver } from '../../../lib/drivers/loop/device.ts';
import * as queues from '../../../lib/drivers/loop/queue.ts';
import { countFds } from '../../fakes/fds.ts';
import { type Machine, makeMachine, type OpenPort } from '../../fakes/memory-ports.ts';
import { makeBurst } from '../../fakes/queue-world.ts';

let machine: Machine;
const eventfds = countFds('eventfd');

beforeEach(() => {
  machine = makeMachine(loopDriver(), queues);
});

afterEach(() => {
  machine.close();
  expect(countFds('eventfd')).toBe(eventfds);
});

/** Sends `n` frames by a tx queue, which may be one of a worker that dies afterwards. */
function send({ tx }: OpenPort, n: number, queue = tx(0)): number[] {
  const burst = makeBurst(n);
  machine.stack.take(burst.offsets, 0, n);
  expect(queue.transmit(burst, 0, n)).toBe(n);
  return [...burst.offsets];
}

describe('a loop port', () => {
  it('receives what it sends, can interrupt, and says that nobody else feeds it', async () => {
    const open = await machine.open('loop:a,ring=128');
    const { port, rx, close } = open;
    expect(port).toMatchObject({ name: 'loop:a', driver: 'loop' });
    expect(port.capability).toMatchObject({ interrupts: true, internal: true, patient: false, finite: false });
    expect(port.config.txRing).toBe(128);
    await port.start();
    expect(port.queues.rx[0]?.plan.fd).toBeGreaterThan(2);
    expect(port.queues.rx[0]?.plan.fd).toBe(port.queues.tx[0]?.plan.fd);
    expect(existsSync(fileURLToPath(port.queues.rx[0]!.plan.module))).toBe(true);
    const sent = send(open, 10);
    const burst = makeBurst(32);
    rx(0).receive(burst);
    expect([...burst.offsets.subarray(0, burst.count)]).toEqual(sent);
    await close();
  });

  it('has rings of the size that is configured', async () => {
    const open = await machine.open('loop:a');
    open.port.configure({ txRing: 64, txQueues: 2, rxQueues: 3 });
    await open.port.start();
    const burst = makeBurst(100);
    machine.stack.take(burst.offsets, 0, 100);
    expect(open.tx(0).transmit(burst, 0, 100)).toBe(64);
    expect(open.tx(1).transmit(burst, 64, 100)).toBe(36);
    await open.close();
  });

  it('tells what is in its rings, and takes it out when it stops: counted, not lost', async () => {
    const open = await machine.open('loop:a');
    const { port } = open;
    await port.start();
    const tx = open.tx(0);
    const sent = send(open, 10, tx);
    expect([...port.queues.tx[0]!.held()]).toEqual(sent);
    expect([...port.queues.rx[0]!.held()]).toEqual([]);
    const burst = makeBurst(4);
    open.rx(0).receive(burst);
    tx.reclaim();
    expect([...port.queues.tx[0]!.held()]).toEqual(sent.slice(4));
    const handle = port.queues.tx[0]!;
    await port.stop();
    expect([...handle.held()]).toEqual([]);
    expect(port.stats().tx).toEqual({
      packets: 10n,
      bytes: 600n,
      completed: 4n,
      runt: 0n,
      oversize: 0n,
      stopped: 6n,
      extra_frames: 0n,
    });
    await open.close();
  });

  it('brings the completions of a worker that died up to date, as often as it is asked', async () => {
    const open = await machine.open('loop:a');
    const { port } = open;
    await port.start();
    const handle = port.queues.tx[0]!;
    send(open, 10);
    open.rx(0).receive(makeBurst(7));
    expect(port.stats().tx.completed).toBe(0n); // it died before it reclaimed
    handle.settle();
    handle.settle();
    expect(port.stats().tx.completed).toBe(7n);
    // The next worker counts on from there.
    const tx = open.tx(0);
    send(open, 5, tx);
    open.rx(0).receive(makeBurst(2));
    expect(tx.reclaim()).toBe(6);
    expect(port.stats().tx).toMatchObject({ packets: 15n, completed: 9n });
    handle.settle();
    handle.clear();
    expect(port.stats().tx).toMatchObject({ packets: 15n, completed: 9n, stopped: 6n });
    handle.settle();
    expect(port.stats().tx).toMatchObject({ completed: 9n, stopped: 6n });
    // And after a clear too.
    send(open, 3, open.tx(0));
    handle.clear();
    expect(port.stats().tx).toMatchObject({ packets: 18n, completed: 9n, stopped: 9n });
    await open.close();
  });

  it('begins with empty rings each time it starts', async () => {
    const open = await machine.open('loop:a');
    for (let i = 0; i < 3; i++) {
      await open.port.start();
      const burst = makeBurst(8);
      expect(open.rx(0).receive(burst)).toBe(0);
      send(open, 5);
      await open.port.stop();
    }
    expect(open.port.stats().tx).toMatchObject({ packets: 15n, stopped: 15n });
    await open.close();
  });

  it('signals its eventfd for a sleeper', async () => {
    const open = await machine.open('loop:a');
    await open.port.start();
    const { native } = machine.arena;
    const set = native.epollCreate();
    native.epollAdd(set, open.port.queues.rx[0]!.plan.fd);
    const [rx, tx] = [open.rx(0), open.tx(0)] as const;
    send(open, 1, tx);
    tx.kick();
    expect(native.epollWait(set, 0)).toBe(0);
    rx.receive(makeBurst(4));
    expect(rx.arm()).toBe(false);
    send(open, 1, tx);
    tx.kick();
    expect(native.epollWait(set, 1_000_000)).toBe(1);
    native.close(set);
    await open.close();
  });

  it('leaves nothing when it cannot start', async () => {
    const open = await machine.open('loop:a');
    const before = machine.arena.used.dma;
    const { allocate } = open.devio;
    let left = 4;
    Object.assign(open.devio, {
      allocate(bytes: number) {
        if (left-- === 0) throw new Error('no memory');
        return allocate.call(open.devio, bytes);
      },
    });
    open.port.configure({ rxQueues: 8 });
    await expect(open.port.start()).rejects.toThrow('no memory');
    expect(machine.arena.used.dma).toBe(before);
    left = 100;
    await open.port.start();
    await open.close();
  });
});
