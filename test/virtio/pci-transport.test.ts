/** Rules of virtio 1.2 §4.1 for a PCI device's registers, interrupts and notifications, and devices that break them. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import { virtioNetDriver } from '../../lib/drivers/virtio-net/device.ts';
import { match } from '../../lib/framework/match.ts';
import { devioRecord, driverRecord } from '../../lib/framework/records.ts';
import { IOMMU_API } from '../../lib/pci/devio.ts';
import { NET_CONFIG_FIELDS } from '../../lib/virtio/net.ts';
import { PciTransport } from '../../lib/virtio/pci/transport.ts';
import type { QueueLayout, TransportEvents } from '../../lib/virtio/transport.ts';
import { FakeDevioProvider } from '../fakes/framework.ts';
import { CAPS, FakeVirtioPci, type PciOptions, PLAIN } from '../fakes/virtio-pci.ts';
import { F } from '../fakes/virtio-transport.ts';

const LIMITS = { resetMs: 60, lookMs: 5 };

const made: { fake: FakeVirtioPci; transport: PciTransport }[] = [];
afterEach(async () => {
  for (const { fake, transport } of made.splice(0)) {
    fake.faults.resetMs = 0;
    await transport.reset().catch(() => {}); // it stops looking
    fake.close();
  }
});

function open(options: PciOptions = {}) {
  const fake = new FakeVirtioPci(options);
  const transport = new PciTransport(fake, NET_CONFIG_FIELDS, LIMITS);
  const seen: string[] = [];
  const events: TransportEvents = {
    configChanged: () => seen.push('config'),
    needsReset: (reason) => seen.push(`reset: ${reason}`),
    lost: (reason) => seen.push(`lost: ${reason}`),
    back: () => seen.push('back'),
  };
  transport.watch(events);
  made.push({ fake, transport });
  return { fake, transport, seen };
}

/** As `open`, from the reset to FEATURES_OK. */
async function agreed(options: PciOptions = {}) {
  const world = open(options);
  const { transport } = world;
  await transport.reset();
  await transport.setStatus(1);
  await transport.setStatus(3);
  await transport.setDriverFeatures(await transport.deviceFeatures());
  await transport.setStatus(11);
  return world;
}

function layout(fake: FakeVirtioPci, size = 64, packed = false): QueueLayout {
  const area = (bytes: number) => fake.allocateShared(bytes, 64);
  return { size, packed, desc: area(16 * size), driver: area(8 + 2 * size), device: area(8 + 8 * size) };
}

/** As `agreed`, with `queues` started and the device running. */
async function running(options: PciOptions = {}, queues: readonly number[] = [0]) {
  const world = await agreed(options);
  const { fake, transport } = world;
  const interrupts = transport.interrupts(queues);
  for (const queue of queues) {
    transport.notifier(queue);
    await transport.startQueue(queue, layout(fake));
  }
  await transport.setStatus(15);
  return { ...world, interrupts };
}

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => 'nothing',
    (error: { code?: string }) => error.code,
  );
const codeOf = (call: () => unknown) => code(Promise.resolve().then(call));

describe('Which devices it takes', () => {
  const driver = driverRecord(virtioNetDriver());
  const devio = devioRecord(new FakeDevioProvider({ api: IOMMU_API }));
  const enumerator = { name: '0000', class: 'pci', api: devio.enumeratorApi };
  const taken = (facts: Record<string, number>) => {
    const device = { enumerator, facts: { kind: 'pci', vendor: 0x1af4, ...facts } };
    return match(device, [driver], [devio]).some((verdict) => 'candidate' in verdict);
  };

  test('V54: network devices of virtio, modern (0x1041) and transitional (0x1000), and no others', () => {
    expect([0x1041, 0x1000, 0x1042, 0x1001, 0x1040, 0x1041 + 0x1000].map((device) => taken({ device }))).toEqual([
      ...[true, true, false, false, false, false],
    ]);
    expect(taken({ device: 0x1041, vendor: 0x8086 })).toBe(false);
  });

  test('V55: any revision, and any subsystem', () => {
    for (const revision of [0, 1, 0xff])
      expect(taken({ device: 0x1041, revision, subsystemVendor: 7, subsystemDevice: revision })).toBe(true);
  });
});

describe('Registers', () => {
  test('V56: accesses are as wide as the field, and aligned; 64 bits are two of 32', async () => {
    const { fake, transport } = await running({ features: PLAIN | F.MTU | F.MQ | F.SPEED_DUPLEX | F.RSS | F.CTRL_VQ });
    const bytes = await transport.readConfig(0, 24);
    expect([...bytes.slice(0, 8)]).toEqual([2, 0, 0, 0, 0, 9, 1, 0]);
    expect(bytes).toEqual(fake.netConfig);
    expect(fake.queues[0].desc).toBeGreaterThan(0n);
    expect(fake.violations).toEqual([]);
  });

  test('a part of the configuration is read by the fields that lie in it', async () => {
    const { transport } = await agreed({ config: { mtu: 9000, status: 3 } });
    expect([...(await transport.readConfig(6, 6))]).toEqual([3, 0, 1, 0, 9000 & 0xff, 9000 >> 8]);
  });

  test('features are told and accepted in two halves', async () => {
    const { fake, transport } = await agreed({ features: PLAIN | F.RSS });
    expect(await transport.deviceFeatures()).toBe(PLAIN | F.RSS);
    expect(fake.accepted).toBe(PLAIN | F.RSS);
  });

  test('V63: MUST NOT write to what only the device writes', async () => {
    const { fake, transport } = await running({ features: PLAIN | F.NOTIF_CONFIG_DATA }, [0, 1]);
    await transport.readConfig(0, 8);
    expect(fake.violations).toEqual([]);
  });

  test.each([
    ['a split ring is started with the size that it is given', 0n],
    ['V64: a packed ring may have any size', F.PACKED],
  ])('%s', async (_, packed) => {
    const { fake, transport } = await agreed({ features: PLAIN | packed });
    await transport.startQueue(0, layout(fake, packed === 0n ? 128 : 100, packed !== 0n));
    expect([fake.queues[0].size, fake.violations]).toEqual([packed === 0n ? 128 : 100, []]);
  });

  test('V65: everything about a queue is written before queue_enable', async () => {
    const { fake, transport } = await agreed();
    transport.interrupts([0]);
    const place = layout(fake);
    await transport.startQueue(0, place);
    const { desc, driver, device, vector, size, enable } = fake.queues[0];
    expect([desc, driver, device].map(Number)).toEqual([place.desc, place.driver, place.device]);
    expect([vector, size, enable]).toEqual([1, 64, 1]);
    expect(fake.violations).toEqual([]);
  });

  test('addresses are those by which the device knows memory', async () => {
    const { fake, transport } = await agreed({ nommu: true, features: PLAIN & ~F.ACCESS_PLATFORM });
    const place = layout(fake);
    await transport.startQueue(0, place);
    expect(fake.queues[0].desc).toBe(fake.addressOf(place.desc));
    expect(fake.queues[0].desc).toBeGreaterThan(0xffff_ffffn);
  });

  test('V67: MUST NOT write 0 to queue_enable, not when it stops either', async () => {
    const { fake, transport } = await running({ features: PLAIN | F.RING_RESET });
    await transport.resetQueue(0);
    await transport.reset();
    expect(fake.violations).toEqual([]);
  });
});

describe('Resets', () => {
  test.each([0, 1, 40])('V66: of the device: it waits until the status reads 0, here for %d ms', async (resetMs) => {
    const { fake, transport } = await running();
    fake.faults.resetMs = resetMs;
    await transport.reset();
    expect([fake.status, fake.busMaster]).toEqual([0, false]);
    await transport.setStatus(1);
    expect(fake.violations).toEqual([]);
  });

  test('V66, H12: one that never ends is given up in time, and the device reaches no memory any more', async () => {
    const { fake, transport } = await running();
    fake.faults.resetMs = 1e9;
    const begin = performance.now();
    expect(await code(transport.reset())).toBe('DEVICE_TIMEOUT');
    expect(performance.now() - begin).toBeLessThan(1000);
    expect([fake.busMaster, fake.log.at(-1)]).toEqual([false, 'bus master off']);
  });

  test('H12: one that never ends when the device is opened is made up for by a reset of the function, if it has one', async () => {
    const hung = async (noReset: boolean) => {
      const { fake, transport } = open();
      fake.faults.resetMs = 1e9;
      fake.faults.noReset = noReset;
      return { fake, result: await code(transport.reset()) };
    };
    expect(await hung(false)).toMatchObject({ result: 'nothing', fake: { status: 0, busMaster: false } });
    expect(await hung(true)).toMatchObject({ result: 'DEVICE_TIMEOUT', fake: { busMaster: false } });
  });

  test('The device is a master of the bus from just before DRIVER_OK to the end of its reset', async () => {
    const { fake, transport } = await running();
    await transport.reset();
    const about = fake.log.filter((line) => line.startsWith('bus master') || line.startsWith('status'));
    expect(about).toEqual([
      ...['status 0', 'bus master off', 'status 1', 'status 3', 'status 11', 'bus master on', 'status 15'],
      ...['status 0', 'bus master off'],
    ]);
  });

  test('A device that has FAILED does not become a master of the bus', async () => {
    const { fake, transport } = await agreed();
    await transport.setStatus(11 | 128);
    await transport.setStatus(15 | 128);
    expect(fake.busMaster).toBe(false);
  });

  test.each([0, 30])('V68: of a queue: it waits until queue_reset reads 0, here for %d ms', async (queueResetMs) => {
    const { fake, transport } = await running({ features: PLAIN | F.RING_RESET }, [0, 1]);
    fake.faults.queueResetMs = queueResetMs;
    const begin = performance.now();
    await transport.resetQueue(1);
    expect(performance.now() - begin).toBeGreaterThanOrEqual(queueResetMs);
    expect([fake.queues[0].enable, fake.queues[1].enable]).toEqual([1, 0]);
    await transport.startQueue(1, layout(fake));
    expect([fake.queues[1].enable, fake.violations]).toEqual([1, []]);
  });

  test('V68: a queue whose reset never ends is an error in time; without RING_RESET there is none', async () => {
    const { fake, transport } = await running({ features: PLAIN | F.RING_RESET });
    fake.faults.queueResetMs = 1e9;
    expect(await code(transport.resetQueue(0))).toBe('DEVICE_TIMEOUT');
    const without = await running();
    expect(await code(without.transport.resetQueue(0))).toBe('NO_RING_RESET');
  });
});

describe('Features', () => {
  test('V113: behind an IOMMU a device that would go past it is refused', async () => {
    const { transport } = open({ features: PLAIN & ~F.ACCESS_PLATFORM });
    await transport.reset();
    await expect(transport.deviceFeatures()).rejects.toMatchObject({ code: 'NO_ACCESS_PLATFORM' });
  });

  test('V113: without one ACCESS_PLATFORM is not accepted, and a device that demands it is refused by name', async () => {
    const { fake, transport } = await agreed({ nommu: true });
    expect(fake.accepted & F.ACCESS_PLATFORM).toBe(0n);
    expect(await transport.status()).toBe(11);
    const demanding = open({ nommu: true });
    demanding.fake.faults.demanding = true;
    await demanding.transport.setStatus(3);
    await demanding.transport.setDriverFeatures(await demanding.transport.deviceFeatures());
    expect(await code(demanding.transport.setStatus(11))).toBe('NEEDS_IOMMU');
  });

  test('A device that refuses features for another reason says so by its status alone', async () => {
    const { fake, transport } = open({ nommu: true, features: PLAIN & ~F.ACCESS_PLATFORM });
    fake.faults.demanding = true;
    await transport.setStatus(3);
    await transport.setStatus(11);
    expect(await transport.status()).toBe(3);
  });

  test.each([
    ['NOTIF_CONFIG_DATA', F.NOTIF_CONFIG_DATA, { common: { ...CAPS.common, length: 56 } }],
    ['RING_RESET', F.RING_RESET, { common: { ...CAPS.common, length: 58 } }],
    ['NOTIFICATION_DATA', F.NOTIFICATION_DATA, { notify: { ...CAPS.notify, offset: 0x3002, length: 0x100 } }],
    ['NOTIFICATION_DATA', F.NOTIFICATION_DATA, { notify: { ...CAPS.notify, multiplier: 2 } }],
    ['NOTIFICATION_DATA', F.NOTIFICATION_DATA, { notify: { ...CAPS.notify, length: 3 } }],
  ])('H9: %s is not used when its structure has no room for it', async (_, feature, caps) => {
    const options = { features: PLAIN | feature, caps: Object.values({ ...CAPS, ...caps }) };
    const { fake } = await agreed(options);
    expect(fake.accepted & feature).toBe(0n);
  });
});

describe('Queues', () => {
  test('H8: there are as many as num_queues says, and of the sizes that queue_size says', async () => {
    for (const numQueues of [0, 1, 3, 65_535]) {
      const { transport } = await agreed({ numQueues, queueMax: 100 });
      expect(await transport.queueMax(0)).toBe(numQueues > 0 ? 100 : 0);
      expect(await transport.queueMax(numQueues)).toBe(0);
    }
  });

  test.each([0, 1, 63])('H8: a queue of at most %d descriptors is not started with 64', async (queueMax) => {
    const { fake, transport } = await agreed({ queueMax });
    expect(await code(transport.startQueue(0, layout(fake)))).toBe('BAD_QUEUE');
    expect(await code(transport.startQueue(7, layout(fake)))).toBe('BAD_QUEUE');
    expect(fake.queues.every(({ enable }) => enable === 0)).toBe(true);
  });

  test('V75: a notification is the queue’s number, or with NOTIF_CONFIG_DATA what the device says', async () => {
    const plain = await running({}, [0, 2]);
    expect(plain.transport.notifier(2)).toMatchObject({ fd: -1, value: 2, width: 2 });
    plain.transport.notify(2, 77);
    const told = await running({ features: PLAIN | F.NOTIF_CONFIG_DATA }, [0, 2]);
    expect(told.transport.notifier(2)).toMatchObject({ value: 0x42, width: 2 });
    told.transport.notify(2, 77);
    const data = await running({ features: PLAIN | F.NOTIF_CONFIG_DATA | F.NOTIFICATION_DATA }, [0, 2]);
    expect(data.transport.notifier(2)).toMatchObject({ value: 0x42, width: 4 });
    data.transport.notify(2, 0x8005);
    expect([plain, told, data].map(({ fake }) => fake.log.at(-1))).toEqual([
      ...['notify 2', 'notify 2', `notify 2 at ${0x8005}`],
    ]);
    for (const { fake } of [plain, told, data]) expect(fake.violations).toEqual([]);
  });

  test('a notification goes to where queue_notify_off and the multiplier say, and with a multiplier of 0 to one place', async () => {
    const places = async (multiplier: number) => {
      const notify = { ...CAPS.notify, multiplier };
      const { transport } = await agreed({ caps: Object.values({ ...CAPS, notify }), queueNotifyOff: (n) => 5 - n });
      return [0, 1].map((n) => transport.notifier(n).register & 0x3fff);
    };
    expect(await places(4)).toEqual([0x3000 + 20, 0x3000 + 16]);
    expect(await places(0)).toEqual([0x3000, 0x3000]);
    expect(await places(64)).toEqual([0x3000 + 320, 0x3000 + 256]);
  });

  test.each([
    ['behind the structure', { length: 0x1000, multiplier: 0x1000 }, 1],
    ['with its last byte behind it', { length: 0x11, multiplier: 0x10 }, 1],
    ['far beyond 2^32', { multiplier: 0xffff_fffc }, 0xffff],
    ['in the common configuration', { offset: 0, length: 0x4000, multiplier: 4 }, 5],
    ['in the ISR status', { offset: 0, length: 0x4000, multiplier: 0x1000 }, 1],
    ['at an odd place', { multiplier: 3 }, 1],
  ])('H9: a queue that is to be notified %s is refused', async (_, wrong, off) => {
    const caps = Object.values({ ...CAPS, notify: { ...CAPS.notify, ...wrong } });
    const { transport } = await agreed({ caps, queueNotifyOff: () => off });
    expect(await codeOf(() => transport.notifier(0))).toBe('BAD_NOTIFY');
  });

  test('a device that wants to be notified elsewhere after a reset is refused: workers know the old place', async () => {
    let off = 1;
    const { fake, transport } = await agreed({ queueNotifyOff: () => off });
    transport.notifier(0);
    off = 2;
    expect(await code(transport.startQueue(0, layout(fake)))).toBe('BAD_NOTIFY');
  });
});

describe('The configuration', () => {
  test('H10: one that never settles is an error, not a hang', async () => {
    const { fake, transport } = await agreed();
    fake.faults.unsettled = true;
    expect(await code(transport.readConfig(0, 24))).toBe('BAD_CONFIG');
  });

  test('V9: one that changes while it is read is read again', async () => {
    const { fake, transport } = await agreed();
    const access = fake.access.bind(fake);
    let changes = 3;
    fake.access = (bar, offset, width, value) => {
      if (offset === 0x2006 && changes-- > 0) fake.change({ mtu: 2000 + changes }, false);
      return access(bar, offset, width, value);
    };
    const bytes = await transport.readConfig(0, 24);
    expect(new DataView(bytes.buffer).getUint16(10, true)).toBe(2000);
  });

  test('V11: its length is not limited, only looked at whether it is enough', async () => {
    const caps = (length: number) => Object.values({ ...CAPS, device: { ...CAPS.device, length } });
    const small = await agreed({ caps: caps(12) });
    expect((await small.transport.readConfig(0, 12)).length).toBe(12);
    expect(await code(small.transport.readConfig(0, 17))).toBe('BAD_CONFIG');
    const large = await agreed({ caps: caps(0x2000) });
    expect((await large.transport.readConfig(0, 24)).length).toBe(24);
    const none = await agreed({ caps: [CAPS.common, CAPS.notify, CAPS.isr] });
    expect(await code(none.transport.readConfig(0, 6))).toBe('BAD_CONFIG');
  });
});

describe('Interrupts', () => {
  test('each queue has a vector of its own, the configuration another; read back, each time', async () => {
    const { fake, transport, interrupts } = await running({ numQueues: 5, msix: 8 }, [0, 2]);
    expect([fake.enabled, fake.configVector]).toEqual([['msix 3'], 0]);
    expect([0, 2].map((queue) => fake.queues[queue].vector)).toEqual([1, 2]);
    expect(new Set([...interrupts.values()].map(({ fd }) => fd)).size).toBe(2);
    expect(interrupts.get(0)).toMatchObject({ isr: 0, unmask: -1 });
    await transport.reset();
    expect(fake.queues[0].vector).toBe(0xffff);
    await transport.setStatus(11);
    await transport.startQueue(0, layout(fake));
    await transport.setStatus(15);
    expect([fake.queues[0].vector, fake.configVector, fake.enabled]).toEqual([1, 0, ['msix 3']]);
    expect(fake.violations).toEqual([]);
  });

  test.each([
    [0, ['intx 1'], 0xffff, 0xffff],
    [1, ['msix 1'], 0xffff, 0],
    [2, ['msix 2'], 0, 1],
    [3, ['msix 2'], 0, 1],
    [0x800, ['msix 2'], 0, 1],
  ])(
    'V72, V73: a table of %d vectors is enough, and no vector outside of it is used',
    async (msix, enabled, config, queue) => {
      const { fake } = await running({ msix });
      expect([fake.enabled, fake.configVector, fake.queues[0].vector]).toEqual([enabled, config, queue]);
      expect(fake.violations).toEqual([]);
    },
  );

  test.each([
    [4, [1, 2, 3]],
    [3, [1, 2, 1]],
    [2, [1, 1, 1]],
    [1, [0, 0, 0]],
    [0, [0xffff, 0xffff, 0xffff]],
  ])('V72: three queues with a table of %d share vectors', async (msix, vectors) => {
    const { fake, interrupts } = await running({ msix, numQueues: 7 }, [0, 2, 4]);
    expect([0, 2, 4].map((queue) => fake.queues[queue].vector)).toEqual(vectors);
    const fds = [...interrupts.values()].map(({ fd }) => fd);
    expect(new Set(fds).size).toBe(new Set(vectors).size);
    // A line for several workers would lose wake-ups: they look every millisecond instead.
    expect(fds.every((fd) => (msix === 0 ? fd === -1 : fd >= 0))).toBe(true);
    expect(fake.violations).toEqual([]);
  });

  test('V74: a vector that reads back as NO_VECTOR is refused: fewer are tried, then one, then the line, then none', async () => {
    const tried = async (refused: (vector: number) => boolean, intx = 1, queues: readonly number[] = [0, 2]) => {
      const { fake, transport } = await agreed({ msix: 8, numQueues: 5, intx });
      fake.faults.refused = refused;
      const interrupts = transport.interrupts(queues);
      expect(fake.violations).toEqual([]);
      const kinds = [...interrupts.values()].map(({ fd, isr }) => (fd < 0 ? 'none' : isr > 0 ? 'line' : 'vector'));
      return [fake.enabled, queues.map((queue) => fake.queues[queue].vector), [...new Set(kinds)]];
    };
    const no = 0xffff;
    expect(await tried((v) => v === 2)).toEqual([['msix 3', 'msix 2'], [1, 1], ['vector']]);
    expect(await tried((v) => v > 0)).toEqual([['msix 3', 'msix 2', 'msix 1'], [0, 0], ['vector']]);
    expect(await tried(() => true)).toEqual([['msix 3', 'msix 2', 'msix 1'], [no, no], ['none']]);
    expect(await tried(() => true, 1, [0])).toEqual([['msix 2', 'msix 1', 'intx 1'], [no], ['line']]);
    expect(await tried(() => true, 0, [0])).toEqual([['msix 2', 'msix 1'], [no], ['none']]);
  });

  test('V74: a configuration without a vector is looked at instead', async () => {
    const { fake, transport, seen } = await agreed({ msix: 8 });
    fake.faults.refused = (vector) => vector === 0;
    transport.interrupts([0]);
    expect([fake.queues[0].vector, fake.configVector]).toEqual([1, 0xffff]);
    await transport.readConfig(0, 8);
    await transport.startQueue(0, layout(fake));
    await transport.setStatus(15);
    fake.change({ status: 0 });
    await vi.waitFor(() => expect(seen).toContain('config'));
  });

  test('V74: a device that no longer accepts what it accepted is refused', async () => {
    const { fake, transport } = await agreed();
    transport.interrupts([0]);
    fake.faults.refused = () => true;
    expect(await code(transport.startQueue(0, layout(fake)))).toBe('VECTOR_REFUSED');
    expect(await code(transport.setStatus(15))).toBe('VECTOR_REFUSED');
    expect([fake.queues[0].enable, fake.busMaster]).toEqual([0, false]);
  });

  test.each([
    [2, ['msix 4', 'msix 2'], 'vector'],
    [1, ['msix 4', 'msix 2', 'msix 1'], 'vector'],
    [0, ['msix 4', 'msix 2', 'msix 1'], 'none'],
  ])('when the kernel has %d vectors to give, that many are used', async (most, enabled, kind) => {
    const { fake, transport } = await agreed({ msix: 8, numQueues: 7 });
    fake.faults.most = most;
    const interrupts = transport.interrupts([0, 2, 4]);
    expect([fake.enabled, [...interrupts.values()].map(({ fd }) => (fd < 0 ? 'none' : 'vector'))]).toEqual([
      ...[enabled, [kind, kind, kind]],
    ]);
  });

  test('what else goes wrong with them is not taken for too few', async () => {
    const { fake, transport } = await agreed();
    fake.enableInterrupts = () => {
      throw new Error('it burns');
    };
    expect(() => transport.interrupts([0])).toThrow('it burns');
  });

  test('V69: with MSI-X the ISR status is not read, whatever comes', async () => {
    const { fake, transport, seen } = await running();
    await transport.readConfig(0, 8);
    fake.change({ status: 0 });
    await vi.waitFor(() => expect(seen).toEqual(['config']));
    expect(fake.violations).toEqual([]);
  });

  test('V76: one interrupt for a queue and for the configuration: the queue is looked at, and the configuration', async () => {
    for (const msix of [0, 1]) {
      const { fake, transport, seen } = await running({ msix });
      await transport.readConfig(0, 8);
      fake.change({ status: 0 });
      expect(fake.fired(0)).toBe(msix === 0);
      await vi.waitFor(() => expect(seen).toContain('config'));
      expect(fake.violations).toEqual([]);
    }
  });

  test('H13: endless configuration interrupts are one event per look', async () => {
    const { fake, seen } = await running();
    const start = performance.now();
    let changes = 0;
    while (seen.length < 5 && performance.now() - start < 10_000) {
      for (let i = 0; i < 100; i++) fake.change({ status: changes++ & 1 });
      await new Promise((resolve) => setImmediate(resolve));
    }
    const looks = (performance.now() - start) / LIMITS.lookMs + 1;
    expect(seen.length).toBeGreaterThanOrEqual(5);
    expect(seen.length).toBeLessThanOrEqual(looks);
    expect(changes).toBeGreaterThan(20 * seen.length);
  });
});

describe('A device that runs', () => {
  test('asks to be reset: that is told once, until it has been', async () => {
    const { fake, transport, seen } = await running();
    fake.needReset();
    await vi.waitFor(() => expect(seen).toEqual(['reset: it says so']));
    await new Promise((resolve) => setTimeout(resolve, 30));
    expect(seen.length).toBe(1);
    await transport.reset();
    await transport.setStatus(11);
    await transport.setStatus(15);
    fake.needReset();
    await vi.waitFor(() => expect(seen.length).toBe(2));
  });

  test('has been reset by somebody else', async () => {
    const { fake, seen } = await running();
    await fake.reset();
    await vi.waitFor(() => expect(seen).toEqual(['reset: somebody else has reset it']));
  });

  test('reports a failure by its devio: it is to be reset', async () => {
    const { fake, seen } = await running();
    fake.say('failed', 'DMA fault at 0x1000');
    expect(seen).toEqual(['reset: DMA fault at 0x1000']);
  });

  test('has a configuration that cannot be read any more: it is to be reset', async () => {
    const { fake, transport, seen } = await running({ msix: 0 });
    await transport.readConfig(0, 8);
    fake.faults.unsettled = true;
    await vi.waitFor(() => expect(seen[0]).toContain('changed while it was read'));
  });

  test.each([
    ['H12: is pulled: every read gives ones, and it is given up at once', (fake: FakeVirtioPci) => fake.vanish()],
    ['H12: is asked back', (fake: FakeVirtioPci) => fake.say('lost', 'it is asked back')],
  ])('%s', async (_, lose) => {
    const { fake, transport, seen } = await running();
    lose(fake);
    await vi.waitFor(() => expect(seen.length).toBe(1));
    expect(seen[0]).toMatch(/^lost: /);
    expect(fake.log.at(-1)).toBe('bus master off');
    const all: (() => Promise<unknown>)[] = [
      () => transport.status(),
      () => transport.setStatus(0),
      () => transport.reset(),
      () => transport.deviceFeatures(),
      () => transport.setDriverFeatures(0n),
      () => transport.readConfig(0, 8),
      () => transport.queueMax(0),
      () => transport.startQueue(0, layout(fake)),
      () => transport.resetQueue(0),
      async () => transport.notifier(0),
      async () => transport.interrupts([0]),
    ];
    for (const call of all) expect(await code(call())).toBe('DEVICE_LOST');
    fake.say('failed', 'and more');
    fake.say('lost', 'again');
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(seen.length).toBe(1);
  });

  test('H12: is pulled during its reset', async () => {
    const { fake, transport, seen } = await running();
    fake.faults.resetMs = 1e9;
    const reset = code(transport.reset());
    fake.gone = true;
    expect(await reset).toBe('DEVICE_LOST');
    expect(seen.length).toBe(1);
  });

  test('is not looked at before it runs, nor after its reset', async () => {
    const { fake, transport, seen } = await agreed();
    fake.needReset();
    await new Promise((resolve) => setTimeout(resolve, 20));
    await transport.reset();
    fake.gone = true;
    await new Promise((resolve) => setTimeout(resolve, 20));
    expect(seen).toEqual([]);
    fake.gone = false;
  });
});
