/** The control half of a vhost port: link, configuration, what its session tells it, and what it gives back. */
import { afterEach, describe, expect, it, vi } from 'vitest';
import { BLOCK } from '../../../lib/drivers/vhost/block.ts';
import { vhostDriver } from '../../../lib/drivers/vhost/device.ts';
import { makeRxQueue } from '../../../lib/drivers/vhost/queue.ts';
import type { Device } from '../../../lib/framework/types.ts';
import type { Port } from '../../../lib/pktio/port.ts';
import type { RingSetup } from '../../../lib/vhost-user/types.ts';
import { FakeVhostDevio, setupOf } from '../../fakes/back-end-process.ts';
import { GuestMemory } from '../../fakes/guest-memory.ts';
import { VhostWorld } from '../../fakes/vhost-world.ts';
import { SplitDriver } from '../../fakes/virtio-driver.ts';

afterEach(() => vi.useRealTimers());

function open(wishes: Record<string, string | number | boolean> = {}) {
  const guest = new GuestMemory([{ gpa: 0x10_0000, bytes: 1 << 20, window: 0, offset: 0x1_0000 }], 2 << 20);
  const memory = new SharedArrayBuffer(1 << 20);
  const devio = new FakeVhostDevio(memory, guest.windows, wishes);
  const device = { address: 'vhost-user:/run/x', facts: {} } as unknown as Device;
  const port = vhostDriver().probe(device, devio.asDevio, 0) as Port;
  const links: string[] = [];
  const errors: string[] = [];
  port.on('link', ({ status }) => links.push(status));
  port.on('error', (error) => errors.push((error as { code?: string }).code ?? error.message));
  const setup = (index: number, changes: Partial<RingSetup> = {}) =>
    setupOf(guest, new SplitDriver(guest, { size: 8 }), false, { index, kick: 70 + index, ...changes });
  const block = (index: number) => {
    const queue = index % 2 === 1 ? port.queues.rx[index >> 1] : port.queues.tx[index >> 1];
    return new Int32Array(memory, queue.plan.data.block, BLOCK.words);
  };
  return { port, devio, links, errors, setup, block, guest, owner: devio.owner! };
}

const PEER = { pid: 1, uid: 0 };

describe('The link of a vhost port', () => {
  it('is up while a front end has a pair of rings that run and are enabled', async () => {
    const { port, owner, setup, links } = open();
    await port.start();
    expect(port.link()).toMatchObject({ status: 'down', reason: 'no front end has connected yet' });
    owner.connected(PEER);
    expect(port.link().reason).toContain('has not started a pair');
    await owner.startRing(setup(0));
    expect(links).toEqual([]);
    await owner.startRing(setup(1, { enabled: false }));
    await owner.enableRing(1, true);
    expect(links).toEqual(['up']);
    await owner.stopRing(0);
    owner.disconnected('it has hung up');
    expect(links).toEqual(['up', 'down']);
    expect(port.link()).toMatchObject({ status: 'down', reason: 'it has hung up' });
    await port.close();
  });

  it('of two pairs is up with either', async () => {
    const { port, owner, setup } = open({ queues: 2 });
    owner.connected(PEER);
    for (const index of [2, 3]) await owner.startRing(setup(index));
    expect(port.link().status).toBe('up');
    expect(port.capability.rxQueues).toEqual({ min: 2, max: 2 });
    owner.disconnected('');
    await port.close();
  });
});

describe('The configuration of a vhost port', () => {
  it('says that the link is up while the port is started, and that it has changed', async () => {
    const { port, owner, devio } = open({ mac: '02:01:02:03:04:05', mtu: 9000, queues: 3 });
    const status = () => owner.config()[6];
    expect([...owner.config().slice(0, 6)]).toEqual([2, 1, 2, 3, 4, 5]);
    expect([owner.config()[8], owner.config()[10] | (owner.config()[11] << 8)]).toEqual([3, 9000]);
    expect(status()).toBe(0);
    await port.start();
    expect([status(), devio.said]).toEqual([1, ['config changed']]);
    await port.stop();
    expect([status(), devio.said]).toEqual([0, ['config changed', 'config changed']]);
    await port.close();
  });

  it('of a front end that sets an MTU: it is that of the next start', async () => {
    const { port, owner } = open();
    owner.mtu(1400);
    await port.start();
    expect([port.mtu, port.queues.rx[0].plan.maxLength]).toEqual([1400, 1418]);
    await port.close();
  });
});

describe('SEND_RARP', () => {
  it('brings a packet as if the guest had sent it: to all, about itself', async () => {
    const { port, owner, block } = open();
    await port.start();
    owner.rarp(Uint8Array.of(2, 1, 2, 3, 4, 5));
    expect(block(1)[BLOCK.rarp]).toBe(1);
    await port.close();
    // The worker's part, with frames of its own.
    const world = new VhostWorld('rx');
    const rx = makeRxQueue(world.plan, world.context);
    const mac = [2, 1, 2, 3, 4, 5];
    world.block.set([0x0302_0102, 0x0504], BLOCK.rarpMac);
    world.block[BLOCK.rarp] = 1;
    const arp = [0, 1, 8, 0, 6, 4, 0, 3, ...mac, 0, 0, 0, 0, ...mac, 0, 0, 0, 0];
    const [packet, ...more] = world.receiveAll(rx);
    expect([...packet]).toEqual([...Array(6).fill(255), ...mac, 0x80, 0x35, ...arp, ...Array(18).fill(0)]);
    expect(more).toEqual([]);
    expect(world.counted).toEqual({ packets: 1, bytes: 60 });
    expect(world.framesFree).toBe(true);
  });
});

describe('A ring that its worker has stopped', () => {
  it('is reported once, to the front end and to the user, and takes the link down', async () => {
    vi.useFakeTimers();
    const { port, owner, setup, block, devio, errors, links } = open();
    await port.start();
    owner.connected(PEER);
    for (const index of [0, 1]) await owner.startRing(setup(index));
    block(1)[BLOCK.broken] = 1;
    await vi.advanceTimersByTimeAsync(250);
    expect(devio.said.filter((line) => line.startsWith('ring'))).toEqual([
      'ring 1: its avail index is ahead by more than its size',
    ]);
    expect([errors, links]).toEqual([['RING_BROKEN'], ['up', 'down']]);
    owner.disconnected('');
    vi.useRealTimers();
    await port.close();
  });
});

describe('A vhost port that is closed', () => {
  it('has given everything back: blocks, counters, epoll sets', async () => {
    const { port, devio, owner, setup } = open({ queues: 2 });
    await port.start();
    owner.connected(PEER);
    for (const index of [0, 1, 2, 3]) await owner.startRing(setup(index));
    for (const index of [0, 1, 2, 3]) await owner.stopRing(index);
    owner.disconnected('');
    await port.stop();
    expect(devio.allocated.size).toBe(0);
    await port.close();
    expect([devio.closed.length, devio.polled.size, devio.said.at(-1)]).toEqual([2, 0, 'retired']);
  });
});
