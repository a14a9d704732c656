import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { pairDriver } from '../../../lib/drivers/pair/device.ts';
import * as queues from '../../../lib/drivers/pair/queue.ts';
import type { TxQueue } from '../../../lib/queue.ts';
import { countFds } from '../../fakes/fds.ts';
import { rejection } from '../../fakes/framework.ts';
import { type Machine, makeMachine, type OpenPort } from '../../fakes/memory-ports.ts';
import { makeBurst } from '../../fakes/queue-world.ts';

let machine: Machine;
const eventfds = countFds('eventfd');

beforeEach(() => {
  machine = makeMachine(pairDriver(), queues);
});

afterEach(() => {
  machine.close();
  expect(countFds('eventfd')).toBe(eventfds);
});

async function openPair(options = ''): Promise<[OpenPort, OpenPort]> {
  return [await machine.open(`pair:wire/0${options}`), await machine.open(`pair:wire/1${options}`)];
}

function send(tx: TxQueue, n: number): number[] {
  const burst = makeBurst(n);
  machine.stack.take(burst.offsets, 0, n);
  expect(tx.transmit(burst, 0, n)).toBe(n);
  return [...burst.offsets];
}

function receive(end: OpenPort, queue = 0): number[] {
  const burst = makeBurst(64);
  end.rx(queue).receive(burst);
  return [...burst.offsets.subarray(0, burst.count)];
}

/** Notes link events of `end`. */
function links({ port }: OpenPort): string[] {
  const heard: string[] = [];
  port.on('link', ({ status, reason }) => heard.push(reason === undefined ? status : `${status}: ${reason}`));
  return heard;
}

const DOWN = 'down: the other end is not started';

describe('a pair of ports', () => {
  it('is two ports, each of which receives what the other sends', async () => {
    const [a, b] = await openPair(',ring=64');
    expect([a.port.name, b.port.name]).toEqual(['pair:wire/0', 'pair:wire/1']);
    expect(a.port.capability).toMatchObject({ interrupts: true, internal: true, txRing: { min: 0, max: 0 } });
    expect(a.port.config.mac).not.toBe(b.port.config.mac);
    for (const { port } of [a, b]) await port.start();
    const [there, back] = [send(a.tx(0), 5), send(b.tx(0), 7)] as const;
    expect(receive(b)).toEqual(there);
    expect(receive(a)).toEqual(back);
    expect(receive(a)).toEqual([]);
    for (const end of [a, b]) await end.close();
  });

  it('has an eventfd for each direction: what one end signals, the other waits for', async () => {
    const [a, b] = await openPair();
    for (const { port } of [a, b]) await port.start();
    const fd = (end: OpenPort, direction: 'rx' | 'tx') => end.port.queues[direction][0]!.plan.fd;
    expect(fd(a, 'tx')).toBe(fd(b, 'rx'));
    expect(fd(b, 'tx')).toBe(fd(a, 'rx'));
    expect(fd(a, 'rx')).not.toBe(fd(a, 'tx'));
    for (const end of [a, b]) await end.close();
  });

  it('has a link that is up while both are started; each end hears of changes, and only of those', async () => {
    const [a, b] = await openPair();
    const [heardByA, heardByB] = [links(a), links(b)] as const;
    expect(a.port.link()).toMatchObject({ status: 'down', reason: 'the other end is not started' });
    await a.port.start();
    expect([heardByA, heardByB]).toEqual([[], []]);
    await b.port.start();
    expect([heardByA, heardByB]).toEqual([['up'], ['up']]);
    expect([a.port.link().status, b.port.link().status]).toEqual(['up', 'up']);
    await b.port.stop();
    expect([heardByA, heardByB]).toEqual([['up', DOWN], ['up', DOWN]]); // biome-ignore format: pairs
    await a.port.stop();
    await a.port.start();
    expect(heardByA).toEqual(['up', DOWN]);
    await b.port.start();
    await b.close();
    expect(heardByA).toEqual(['up', DOWN, 'up', DOWN]);
    await a.close();
    expect(heardByA).toHaveLength(4);
  });

  it('lets one end restart, with more queues, while the other goes on', async () => {
    const [a, b] = await openPair();
    for (const { port } of [a, b]) await port.start();
    const [rx, tx] = [b.rx(0), b.tx(0)] as const; // the worker at b stays as it is
    const burst = makeBurst(64);
    send(a.tx(0), 5);
    expect(rx.receive(burst)).toBe(5);
    send(tx, 4);
    await a.port.stop();
    expect(rx.receive(burst)).toBe(0);
    // What b sends meanwhile waits in the ring; b's frames are b's to count.
    send(tx, 3);
    expect(tx.reclaim()).toBe(7);
    a.port.configure({ txQueues: 3, rxQueues: 2 });
    await a.port.start();
    expect(receive(a)).toHaveLength(7);
    expect(receive(a, 1)).toEqual([]);
    const sent = [...send(a.tx(0), 2), ...send(a.tx(1), 2), ...send(a.tx(2), 2)];
    const got: number[] = [];
    while (rx.receive(burst) > 0) got.push(...burst.offsets.subarray(0, burst.count));
    expect(got.sort((x, y) => x - y)).toEqual(sent.sort((x, y) => x - y));
    expect(tx.reclaim()).toBe(0);
    expect(b.port.stats().tx).toMatchObject({ packets: 7n, completed: 7n, stopped: 0n });
    expect(b.port.stats().rx).toMatchObject({ packets: 11n });
    for (const { port } of [a, b]) await port.stop();
    expect(a.port.stats().tx).toMatchObject({ packets: 11n, completed: 11n, stopped: 0n });
    for (const end of [a, b]) await end.close();
  });

  it('counts as stopped what its own end still had in the ring', async () => {
    const [a, b] = await openPair();
    for (const { port } of [a, b]) await port.start();
    send(a.tx(0), 9);
    receive(b);
    send(a.tx(0), 4);
    await a.port.stop();
    expect(a.port.stats().tx).toEqual({
      packets: 13n,
      bytes: 780n,
      completed: 9n,
      runt: 0n,
      oversize: 0n,
      stopped: 4n,
      extra_frames: 0n,
    });
    expect(receive(b)).toEqual([]);
    for (const end of [a, b]) await end.close();
  });

  it('has rings of one size at both ends', async () => {
    const a = await machine.open('pair:wire/0,ring=64');
    const error = await rejection(machine.open('pair:wire/1,ring=128'));
    expect(error).toMatchObject({ code: 'PAIR_MISMATCH' });
    expect(error.message).toBe(
      'port pair:wire/1: it has ring=128, but the other end has ring=64; give both ends the same ring',
    );
    await a.close();
    // When neither end is open any more, the next may have what it wants.
    const again = await machine.open('pair:wire/1,ring=128');
    expect(again.port.config.txRing).toBe(128);
    await again.close();
  });

  it('is not another pair', async () => {
    const [a, b] = await openPair();
    const other = await machine.open('pair:other/1');
    for (const { port } of [a, b, other]) await port.start();
    send(a.tx(0), 3);
    expect(receive(other)).toEqual([]);
    expect(other.port.link().status).toBe('down');
    expect(receive(b)).toHaveLength(3);
    for (const end of [a, b, other]) await end.close();
  });

  it('keeps its rings while one end is open, and releases them with the last', async () => {
    const [a, b] = await openPair();
    await a.port.start();
    send(a.tx(0), 2);
    await b.close();
    expect(countFds('eventfd')).toBe(eventfds + 2);
    const again = await machine.open('pair:wire/1');
    await again.port.start();
    expect(receive(again)).toHaveLength(2);
    await again.close();
    await a.close();
    expect(countFds('eventfd')).toBe(eventfds);
  });
});
