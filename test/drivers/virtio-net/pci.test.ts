/** The virtio-net driver on a PCI function, with and without an IOMMU: the whole of it but the threads. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import { openVirtioNet, virtioNetDriver } from '../../../lib/drivers/virtio-net/device.ts';
import type { Device } from '../../../lib/framework/types.ts';
import { Port } from '../../../lib/pktio/port.ts';
import type { QueueModule, RxQueue, TxQueue } from '../../../lib/queue.ts';
import { NET_CONFIG_FIELDS } from '../../../lib/virtio/net.ts';
import { virtioOverPci } from '../../../lib/virtio/pci/devio.ts';
import { CONTROLLED, FakeVirtioPci, type PciOptions, PLAIN } from '../../fakes/virtio-pci.ts';
import { packetOf, VirtioWorld } from '../../fakes/virtio-queues.ts';
import { F } from '../../fakes/virtio-transport.ts';

const LIMITS = { stepMs: 200, commandMs: 60 };

const opened: { port: Port; fake: FakeVirtioPci }[] = [];
afterEach(async () => {
  for (const { port, fake } of opened.splice(0)) {
    await port.close();
    fake.close();
  }
});

async function open(options: PciOptions = {}): Promise<{ fake: FakeVirtioPci; port: Port }> {
  const fake = new FakeVirtioPci(options);
  const devio = virtioOverPci(fake, NET_CONFIG_FIELDS, { resetMs: 100, lookMs: 5 });
  const port = new Port('pci:test', fake.memory, await openVirtioNet('pci:test', devio, LIMITS));
  opened.push({ fake, port });
  return { fake, port };
}

/** A started port, and queues on it as a worker has them. */
async function started(options: PciOptions = {}, settings: Parameters<Port['configure']>[0] = {}) {
  const { fake, port } = await open(options);
  port.configure({ rxRing: 64, txRing: 64, ...settings });
  await port.start();
  return { fake, port, ...(await worker(fake, port)) };
}

async function worker(fake: FakeVirtioPci, port: Port) {
  const world = new VirtioWorld({ frames: 1024 });
  const kicks: number[] = [];
  const unmask = port.queues.rx[0].plan.data.unmask;
  const kick = (fd: number) => {
    kicks.push(fd);
    if (fd === unmask && fd >= 0) fake.unmasked();
  };
  const context = { ...world.context, memory: fake.memory, kick };
  const module = (await import(port.queues.rx[0].plan.module)) as QueueModule;
  const rx: RxQueue[] = port.queues.rx.map(({ plan }) => module.makeRxQueue(plan, context));
  const tx: TxQueue[] = port.queues.tx.map(({ plan }) => module.makeTxQueue(plan, context));
  return { world, kicks, rx, tx, bytes: new Uint8Array(fake.memory) };
}

type Started = Awaited<ReturnType<typeof started>>;

/** What `queue` has received. */
function received({ world, bytes, rx }: Started, queue = 0): number[][] {
  const burst = world.burst();
  rx[queue].receive(burst);
  const packets = Array.from({ length: burst.count }, (_, i) => [
    ...bytes.slice(burst.offsets[i], burst.offsets[i] + burst.lengths[i]),
  ]);
  world.stack.give(burst.offsets, 0, burst.count);
  return packets;
}

/** Sends `packets` on `queue`. */
function send({ world, bytes, tx }: Started, packets: readonly number[][], queue = 0): number {
  const burst = world.burst(packets.length);
  world.stack.take(burst.offsets, 0, packets.length);
  for (const [i, packet] of packets.entries()) {
    bytes.set(packet, burst.offsets[i]);
    burst.lengths[i] = packet.length;
  }
  const sent = tx[queue].transmit(burst, 0, packets.length);
  tx[queue].kick();
  return sent;
}

describe.each([
  ['split rings behind an IOMMU', PLAIN, false],
  ['packed rings behind an IOMMU', PLAIN | F.PACKED | F.EVENT_IDX, false],
  ['split rings without one', PLAIN | F.EVENT_IDX, true],
  ['packed rings without one', PLAIN | F.PACKED, true],
] as const)('A port over %s', (_, features, nommu) => {
  test('receives and sends, in order, each packet as it is', async () => {
    const world = await started({ features, nommu });
    const { fake, tx } = world;
    const packets = Array.from({ length: 20 }, (__, i) => packetOf(i, 60 + i));
    for (let round = 0; round < 10; round++) {
      received(world); // buffers for the device
      for (const packet of packets) expect(fake.deliver(packet)).toBe(true);
      expect(received(world)).toEqual(packets);
      expect(send(world, packets)).toBe(20);
      expect(fake.collect()).toEqual(packets);
      expect(tx[0].reclaim()).toBe(0);
    }
    expect(fake.violations).toEqual([]);
  });

  test('notifies the device by a plain store to the queue’s register', async () => {
    const world = await started({ features, nommu });
    const { fake, port } = world;
    const { kickRegister, kickWidth, kickFd } = port.queues.tx[0].plan.data;
    const register = new Uint16Array(fake.memory, kickRegister, 1);
    expect([kickWidth, kickFd, kickRegister % 0x4000]).toEqual([2, -1, 0x3004]);
    register[0] = 0xffff;
    send(world, [packetOf(1)]);
    expect(register[0]).toBe(1);
  });

  test('interrupts by the vector of its queue when the worker has armed it', async () => {
    const world = await started({ features, nommu });
    const { fake, port, rx } = world;
    received(world);
    fake.deliver(packetOf(0));
    expect(fake.fired(1)).toBe(false);
    received(world);
    expect(rx[0].arm()).toBe(false);
    fake.deliver(packetOf(1));
    expect(fake.fired(1)).toBe(true);
    rx[0].disarm();
    expect(received(world)).toEqual([packetOf(1)]);
    expect(port.queues.rx[0].plan.fd).toBeGreaterThan(0);
    expect(port.queues.tx[0].plan.fd).toBe(-1);
  });

  test('stops, and gives everything back; starts again, and is another time the same', async () => {
    const { fake, port } = await started({ features: features | CONTROLLED, nommu });
    await port.stop();
    expect([fake.allocated.size, fake.busMaster, fake.status]).toEqual([0, false, 0]);
    await port.start();
    const again = { fake, port, ...(await worker(fake, port)) };
    received(again);
    fake.deliver(packetOf(7));
    expect(received(again)).toEqual([packetOf(7)]);
    expect(fake.violations).toEqual([]);
  });

  test('is brought back when it asks to be reset, with every frame accounted for', async () => {
    const world = await started({ features, nommu });
    const { fake, port } = world;
    received(world);
    send(world, [packetOf(1), packetOf(2)]);
    const seen: string[] = [];
    port.on('link', ({ status }) => seen.push(status));
    fake.needReset();
    // A worker that polls both of its queues.
    await vi.waitFor(() => {
      received(world);
      world.tx[0].reclaim();
      expect(seen).toEqual(['down', 'up']);
    }, 3000);
    received(world);
    fake.deliver(packetOf(3));
    expect(received(world)).toEqual([packetOf(3)]);
    expect(port.stats().tx).toMatchObject({ packets: 2n, completed: 0n, lost: 2n });
    expect(fake.violations).toEqual([]);
  });
});

describe('A port on a PCI function', () => {
  test.each([
    ['split', 0n],
    ['packed', F.PACKED],
  ])('V37: notifications with data name the next entry, %s rings', async (_, packed) => {
    const world = await started({ features: CONTROLLED | packed | F.NOTIFICATION_DATA | F.NOTIF_CONFIG_DATA });
    const { fake, port } = world;
    const register = new Uint32Array(fake.memory, port.queues.tx[0].plan.data.kickRegister, 1);
    const wrap = packed === 0n ? 0 : 0x8000;
    for (let round = 1; round <= 3; round++) {
      send(world, [packetOf(1), packetOf(2)]);
      expect(register[0]).toBe((0x41 | ((wrap | (round * 2)) << 16)) >>> 0);
      fake.collect();
    }
    // The control queue, of four descriptors, has had three commands at the start: two descriptors each.
    const control = fake.log.filter((line) => line.startsWith('notify 2'));
    const split = [1, 2].map((n) => `notify 2 at ${n}`);
    expect(control).toEqual(packed === 0n ? split : [`notify 2 at ${0x8002}`, 'notify 2 at 0']);
    expect(fake.violations).toEqual([]);
  });

  test('No element of a used ring lies across a line', async () => {
    const { port } = await started();
    for (const { plan } of [...port.queues.rx, ...port.queues.tx]) expect((plan.data.device + 4) % 8).toBe(0);
  });

  test('V26: drives its control queue in memory that the device sees', async () => {
    const { fake, port } = await started({
      features: CONTROLLED | F.MQ | F.EVENT_IDX,
      config: { pairs: 2 },
      numQueues: 5,
      nommu: true,
    });
    expect(fake.told).toEqual([
      { class: 4, command: 0, data: [1, 0] },
      { class: 0, command: 0, data: [0] },
      { class: 0, command: 1, data: [1] },
    ]);
    port.setPromiscuous(true);
    await vi.waitFor(() => expect(fake.told.at(-1)).toEqual({ class: 0, command: 0, data: [1] }));
    expect(fake.violations).toEqual([]);
  });

  test('H7: is reset when it does not answer a command', async () => {
    const { fake, port } = await started({ features: CONTROLLED });
    const errors: string[] = [];
    port.on('error', (error) => errors.push((error as { code?: string }).code ?? ''));
    fake.faults.silent = true;
    port.setPromiscuous(true);
    await vi.waitFor(() => expect(errors[0]).toBe('DEVICE_TIMEOUT'));
    await vi.waitFor(() => expect(fake.log.filter((line) => line === 'status 0').length).toBeGreaterThan(1), 3000);
  });

  test('V102: has several queues, each with its vector', async () => {
    const world = await started(
      { features: CONTROLLED | F.MQ, config: { pairs: 4 }, numQueues: 9, msix: 10 },
      { rxQueues: 3, txQueues: 3 },
    );
    const { fake } = world;
    const running = fake.log.filter((line) => line.startsWith('queue '));
    expect(running.sort()).toEqual([...[0, 1, 2, 3, 4, 5].map((n) => `queue ${n} of 64`), 'queue 8 of 4']);
    for (const queue of [0, 1, 2]) {
      received(world, queue);
      world.rx[queue].arm();
      fake.deliver(packetOf(queue), queue * 2);
      expect([1, 2, 3].map((vector) => fake.fired(vector))).toEqual([0, 1, 2].map((n) => n === queue));
      expect(received(world, queue)).toEqual([packetOf(queue)]);
      send(world, [packetOf(9)], queue);
      expect(fake.collect(queue * 2 + 1)).toEqual([packetOf(9)]);
    }
    expect(fake.violations).toEqual([]);
  });

  test('The link follows the configuration, told by a vector or looked at without', async () => {
    for (const options of [{}, { msix: 0 }, { msix: 0, intx: 0 }]) {
      const { fake, port } = await started(options);
      const seen: string[] = [];
      port.on('link', ({ status }) => seen.push(status));
      fake.change({ status: 0 });
      await vi.waitFor(() => expect(seen).toEqual(['down']));
      fake.change({ status: 1 });
      await vi.waitFor(() => expect(seen).toEqual(['down', 'up']));
    }
  });

  test('When the function goes the link is down at once, and the workers have their frames back', async () => {
    const world = await started();
    const { fake, port } = world;
    received(world);
    fake.vanish();
    await vi.waitFor(() => expect(port.link()).toMatchObject({ status: 'down', reason: 'its registers read as ones' }));
    await vi.waitFor(() => {
      received(world);
      world.tx[0].reclaim();
      expect(world.world.free.free.size).toBe(1024);
    });
    await port.stop();
    expect(fake.allocated.size).toBe(0);
  });

  test('H8, H12: what cannot be opened is refused, and left alone', async () => {
    const refused = async (options: PciOptions, change: (fake: FakeVirtioPci) => void = () => {}) => {
      const fake = new FakeVirtioPci(options);
      change(fake);
      try {
        const devio = virtioOverPci(fake, NET_CONFIG_FIELDS, { resetMs: 30, lookMs: 5 });
        await openVirtioNet('pci:test', devio, LIMITS);
        return 'nothing';
      } catch (error) {
        expect([fake.busMaster, fake.allocated.size]).toEqual([false, 0]);
        return (error as { code?: string }).code;
      } finally {
        fake.close();
      }
    };
    expect(await refused({ numQueues: 0 })).toBe('BAD_QUEUE');
    expect(await refused({ queueMax: 1 })).toBe('BAD_QUEUE');
    expect(await refused({ caps: [] })).toBe('LEGACY_DEVICE');
    expect(await refused({ features: PLAIN & ~F.ACCESS_PLATFORM })).toBe('NO_ACCESS_PLATFORM');
    expect(await refused({ features: F.MAC })).toBe('NO_VERSION_1');
    expect(await refused({}, (fake) => fake.vanish())).toBe('BAD_CAPABILITIES');
    const hung = (fake: FakeVirtioPci) => {
      fake.faults.resetMs = 1e9;
      fake.faults.noReset = true;
    };
    expect(await refused({}, hung)).toBe('DEVICE_TIMEOUT');
  });

  test.each([0, 0xffff])('H8: %d queue pairs are not believed', async (pairs) => {
    const { port, fake } = await started({ features: CONTROLLED | F.MQ, config: { pairs } });
    expect([port.capability.rxQueues.max, fake.accepted & F.MQ]).toEqual([1, 0n]);
  });

  test('H8: a control queue that is not there is refused when the port starts, with nothing left', async () => {
    const { fake, port } = await open({ features: CONTROLLED, numQueues: 2 });
    await expect(port.start()).rejects.toMatchObject({ code: 'BAD_QUEUE' });
    expect([fake.allocated.size, fake.busMaster]).toEqual([0, false]);
  });
});

describe('A line', () => {
  test('V76: rises again for each interrupt once the worker has read the ISR status and unmasked it', async () => {
    const world = await started({ msix: 0 });
    const { fake, port, rx, kicks } = world;
    const { isr, unmask } = port.queues.rx[0].plan.data;
    expect([isr % 0x4000, unmask >= 0]).toEqual([0x1000, true]);
    received(world);
    for (let i = 0; i < 5; i++) {
      expect(rx[0].arm()).toBe(false);
      expect(kicks.filter((fd) => fd === unmask).length).toBe(i + 1);
      fake.deliver(packetOf(i));
      expect(fake.fired(0)).toBe(true);
      rx[0].disarm();
      expect(received(world)).toEqual([packetOf(i)]);
    }
    expect(fake.violations).toEqual([]);
  });

  test('that is masked hides nothing: what came before is seen when the worker arms', async () => {
    const world = await started({ msix: 0 });
    const { fake, rx } = world;
    received(world);
    rx[0].arm();
    fake.deliver(packetOf(0));
    rx[0].disarm();
    received(world);
    // The line is masked: the device's next interrupt is not heard, and need not be.
    fake.deliver(packetOf(1));
    expect(rx[0].arm()).toBe(true);
    expect(received(world)).toEqual([packetOf(1)]);
  });
});

describe('The driver', () => {
  const driver = virtioNetDriver();
  const device = (kind: string) => ({ address: '0000:01:00.0', facts: { kind } }) as unknown as Device;

  test.each([false, true])('makes a port of a PCI function, without an IOMMU: %s', async (nommu) => {
    const fake = new FakeVirtioPci({ nommu, features: PLAIN });
    const port = await driver.probe(device('pci'), fake, nommu ? 1 : 0);
    expect([port.name, port.driver]).toEqual(['pci:0000:01:00.0', 'virtio-net']);
    await port.close();
    fake.close();
  });

  test('refuses a devio of another kind', async () => {
    const other = { api: { name: 'devio-xsk', version: 1 }, backend: 'x', close: () => {} };
    await expect(async () => driver.probe(device('pci'), other, 0)).rejects.toMatchObject({ code: 'WRONG_DEVIO' });
  });
});
