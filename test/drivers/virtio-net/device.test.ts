/** Rules of virtio 1.2 for the life of a network device, V1 to V13, V47 to V53, V77 to V117, and hostile devices. */
import { afterEach, describe, expect, test, vi } from 'vitest';
import { Gate } from '../../../lib/arena/gate.ts';
import { BLOCK, TROUBLE } from '../../../lib/drivers/virtio-net/block.ts';
import { openVirtioNet, type VirtioNetDevice } from '../../../lib/drivers/virtio-net/device.ts';
import { makeRxQueue } from '../../../lib/drivers/virtio-net/split-queue.ts';
import { Port } from '../../../lib/pktio/port.ts';
import { VirtioWorld } from '../../fakes/virtio-queues.ts';
import { F, type FakeOptions, FakeVirtio } from '../../fakes/virtio-transport.ts';

const LIMITS = { stepMs: 60, commandMs: 60 };
const BASE = F.VERSION_1 | F.MAC | F.STATUS;
const CTRL = F.CTRL_VQ | F.CTRL_RX | F.CTRL_MAC;
const ALL = Object.values(F).reduce((set, feature) => set | feature, 0n) & ~F.PACKED;

const opened: Port[] = [];
afterEach(async () => {
  for (const port of opened.splice(0)) await port.close();
});

async function open(
  options: Partial<FakeOptions> = {},
): Promise<{ fake: FakeVirtio; device: VirtioNetDevice; port: Port }> {
  const fake = new FakeVirtio({ features: BASE, ...options });
  const device = await openVirtioNet('virtio-user:test', fake, LIMITS);
  const port = new Port('virtio-user:test', fake.memory, device);
  opened.push(port);
  return { fake, device, port };
}

async function started(options: Partial<FakeOptions> = {}, settings: Parameters<Port['configure']>[0] = {}) {
  const world = await open(options);
  world.port.configure(settings);
  world.fake.log.length = 0;
  await world.port.start();
  return world;
}

const code = (promise: Promise<unknown>) =>
  promise.then(
    () => 'nothing',
    (error: { code?: string }) => error.code,
  );

/** Words of a queue's block. */
const blockOf = (port: Port, direction: 'rx' | 'tx', fake: FakeVirtio) =>
  new Int32Array(fake.memory, port.queues[direction][0].plan.data.block, BLOCK.first);

describe('Bringing a device up', () => {
  test('V1: status bits are set step by step', async () => {
    const { fake } = await started();
    expect(fake.log.filter((line) => line.startsWith('status '))).toEqual([
      'status 1',
      'status 3',
      'status 11',
      'status 15',
    ]);
    expect(fake.violations).toEqual([]);
  });

  test('V2: MUST NOT clear a status bit but by a reset', async () => {
    const { fake, port } = await started();
    await port.stop();
    await port.start();
    expect(fake.violations).toEqual([]);
  });

  test('V3: after FAILED the device is reset before it is tried again', async () => {
    const { fake, port } = await open();
    fake.faults.featuresRefused = true;
    expect(await code(port.start())).toBe('FEATURES_REFUSED');
    fake.faults.featuresRefused = false;
    await port.start();
    expect(fake.violations).toEqual([]);
  });

  test('V5: MUST NOT accept a feature that was not offered', async () => {
    const { fake } = await started({ features: BASE | F.MRG_RXBUF });
    expect(fake.accepted & ~fake.offered).toBe(0n);
    expect(fake.violations).toEqual([]);
  });

  test.each([
    ['CTRL_RX', F.CTRL_RX],
    ['MQ', F.MQ],
    ['CTRL_MAC_ADDR', F.CTRL_MAC],
    ['GUEST_ANNOUNCE', F.ANNOUNCE],
    ['RSS', F.RSS],
  ])('V6, V77: %s without CTRL_VQ is not accepted', async (_, feature) => {
    const { fake } = await started({ features: BASE | feature });
    expect(fake.accepted & feature).toBe(0n);
    expect(fake.violations).toEqual([]);
  });

  test('V7: runs without any optional feature', async () => {
    const { fake, port } = await started({ features: F.VERSION_1 });
    expect([port.state, fake.accepted]).toEqual(['started', F.VERSION_1]);
  });

  test('V8: a reset is done when the device says so: a start waits for it, and not for ever', async () => {
    const { fake, port } = await open();
    fake.faults.resetHangs = true;
    expect(await code(port.start())).toBe('DEVICE_TIMEOUT');
    fake.faults.resetHangs = false;
  });

  test('V10: MUST NOT read a field whose feature was not accepted', async () => {
    const reads = async (features: bigint) =>
      (await started({ features })).fake.log.filter((line) => line.startsWith('config'));
    expect(await reads(F.VERSION_1)).toEqual([]);
    expect(await reads(F.VERSION_1 | F.MAC)).toEqual(['config 0+6']);
    expect(await reads(BASE)).toEqual(['config 0+8']);
    expect(await reads(BASE | F.MTU)).toEqual(['config 0+12']);
    expect(await reads(BASE | F.SPEED_DUPLEX)).toEqual(['config 0+17']);
  });

  test('V9, V11: the configuration is read in one piece, of one generation, as long as it is needed', async () => {
    const { fake } = await started({ features: ALL, config: { pairs: 2 } });
    expect(fake.log.filter((line) => line.startsWith('config'))).toEqual(['config 0+24']);
    expect(fake.violations).toEqual([]);
  });

  test('V47: reset, ACKNOWLEDGE, DRIVER, features, FEATURES_OK, status read again, queues, DRIVER_OK: in this order', async () => {
    const { fake } = await started();
    expect(fake.log).toEqual([
      ...['reset', 'status 1', 'status 3', 'features?', 'features', 'status 11', 'status?', 'config 0+8'],
      ...['queue 0', 'queue 1', 'status 15', 'status?'],
    ]);
  });

  test('V48: MUST NOT write the configuration before FEATURES_OK: it is read, and nothing else is done', async () => {
    const { fake } = await started({ features: ALL, config: { pairs: 2 } });
    const before = fake.log.slice(0, fake.log.indexOf('status 11'));
    const allowed = ['reset', 'status 1', 'status 3', 'features?', 'features', 'config 0+24'];
    expect(before.filter((line) => !allowed.includes(line))).toEqual([]);
    expect(fake.violations).toEqual([]);
  });

  test.each([
    ['V14: table, available ring and used ring are aligned to 16, 2 and 4', 0n],
    ['V34: descriptors are aligned to 16, event structures to 4', F.PACKED],
  ])('%s, of rings of any size', async (_, packed) => {
    for (const queueMax of [2, 64, 1024, 32_768]) {
      const { fake, port } = await open({ features: BASE | packed, queueMax });
      port.configure({ rxRing: Math.min(queueMax, 512), txRing: Math.min(queueMax, 128) });
      // A heap that somebody has left at an odd place.
      fake.allocateShared(2, 2);
      await port.start();
      expect(fake.running.size).toBe(2);
      expect(fake.violations).toEqual([]);
    }
  });

  test('V64: a split ring has a power of two for its size, also where there may be fewer than there could at first', async () => {
    const { fake, port } = await open({ queueMax: 256 });
    fake.queueMost = 100;
    await port.start();
    expect([...fake.running.values()].map(({ size }) => size)).toEqual([64, 64]);
    expect(fake.violations).toEqual([]);
  });

  test('V49: MUST NOT accept features after FEATURES_OK', async () => {
    const { fake } = await started({ features: ALL, config: { pairs: 2 } });
    expect(fake.log.filter((line) => line === 'features').length).toBe(1);
    expect(fake.violations).toEqual([]);
  });

  test('V50: a device that takes FEATURES_OK back is not used', async () => {
    const fake = new FakeVirtio({ features: BASE });
    fake.faults.featuresRefused = true;
    expect(await code(openVirtioNet('x', fake, LIMITS))).toBe('FEATURES_REFUSED');
    expect(fake.log.at(-1)).toBe('status 139');
    expect(fake.running.size).toBe(0);
  });

  test('V51: MUST NOT notify before DRIVER_OK: gates of the queues open last', async () => {
    const { fake, port } = await open({ features: BASE | CTRL | F.MQ, config: { pairs: 2 } });
    const opened: string[] = [];
    const { set } = Gate.prototype;
    const spy = vi.spyOn(Gate.prototype, 'set').mockImplementation(function (this: Gate, on) {
      if (on) opened.push(fake.log.at(-1)!);
      set.call(this, on);
    });
    await port.start();
    spy.mockRestore();
    expect(opened.length).toBe(2);
    expect(opened.every((line) => line.startsWith('command'))).toBe(true);
    expect(fake.violations).toEqual([]);
  });

  test.each(['resetHangs', 'statusHangs', 'configThrows', 'needsReset', 'gone'] as const)(
    'V52: when a step fails (%s) it goes no further, sets FAILED, and leaves nothing allocated',
    async (fault) => {
      const { fake, port } = await open();
      const before = fake.allocated.size;
      fake.faults[fault] = true;
      await expect(port.start()).rejects.toThrow();
      expect([port.state, fake.allocated.size]).toEqual(['stopped', before]);
      // Who has gone cannot be told.
      if (fault !== 'gone')
        expect(fake.log.some((line) => line.startsWith('status ') && (Number(line.slice(7)) & 128) !== 0)).toBe(true);
      fake.faults[fault] = false;
      await port.start();
      expect(fake.violations).toEqual([]);
    },
  );

  test('V12, V53: the device is reset before the memory of its queues is given back', async () => {
    const { fake, port } = await started();
    await port.stop();
    expect(fake.log.at(-1)).toBe('reset');
    expect([fake.running.size, fake.allocated.size, fake.violations]).toEqual([0, 0, []]);
  });

  test('H12: a device whose reset never ends is given up in time, when opened and when stopped', async () => {
    const fake = new FakeVirtio({ features: BASE });
    fake.faults.resetHangs = true;
    expect(await code(openVirtioNet('x', fake, LIMITS))).toBe('DEVICE_TIMEOUT');
  });

  test('H10: a configuration that never settles is an error, not a hang', async () => {
    const fake = new FakeVirtio({ features: BASE });
    fake.faults.configThrows = true;
    await expect(openVirtioNet('x', fake, LIMITS)).rejects.toThrow('never settles');
  });

  test.each([0, 1])('H8: a queue of at most %d descriptors is refused by name', async (queueMax) => {
    expect(await code(openVirtioNet('x', new FakeVirtio({ features: BASE, queueMax }), LIMITS))).toBe('BAD_QUEUE');
  });

  test.each([
    [2, 2],
    [100, 64],
    [257, 256],
    [32_768, 256],
    [65_535, 256],
  ])('H8: a queue of at most %d descriptors is used with %d', async (queueMax, size) => {
    const { port, fake } = await started({ queueMax });
    expect(port.queues.rx[0].plan.data.size).toBe(size);
    expect([...fake.running.values()].every((layout) => layout.size === size)).toBe(true);
  });

  test.each([0, 0x8001, 0xffff])('H8: %d queue pairs are not believed: one is used', async (pairs) => {
    const { fake, port } = await started({ features: BASE | CTRL | F.MQ, config: { pairs } });
    expect([fake.accepted & F.MQ, port.capability.rxQueues.max]).toEqual([0n, 1]);
    expect(port.notes().join()).toContain(`${pairs} queue pairs`);
  });

  test.each([0, 67])('H11: an MTU of %d is not believed', async (mtu) => {
    const { fake, port } = await started({ features: BASE | F.MTU, config: { mtu } });
    expect([fake.accepted & F.MTU, port.mtu]).toEqual([0n, 1500]);
    expect(port.notes().join()).toContain(`MTU is ${mtu}`);
  });
});

describe('A network device', () => {
  test('V78: MAC is accepted and used; without it the address is a locally administered one', async () => {
    expect((await open({ config: { mac: [2, 1, 2, 3, 4, 5] } })).port.config.mac).toBe('02:01:02:03:04:05');
    const { port } = await open({ features: F.VERSION_1 });
    expect(port.mac[0] & 3).toBe(2);
  });

  test('V79: without STATUS the link is up, with it as its bit says', async () => {
    expect((await started({ features: F.VERSION_1, config: { status: 0 } })).port.link().status).toBe('up');
    expect((await started({ config: { status: 0 } })).port.link().status).toBe('down');
    expect((await started({ config: { status: 1 } })).port.link().status).toBe('up');
  });

  test('V80: MTU is accepted; nothing larger is sent, and buffers hold as much', async () => {
    const { port } = await started({ features: BASE | F.MTU, config: { mtu: 1400 } });
    expect([port.mtu, port.capability.mtu.max, port.queues.tx[0].plan.maxLength]).toEqual([1400, 1400, 1418]);
    const { port: jumbo } = await open({ features: BASE | F.MTU, config: { mtu: 9000 } });
    expect(await code(jumbo.start())).toBe('MTU_TOO_LARGE');
  });

  test('V80: an MTU beyond a frame takes mergeable buffers and indirect tables', async () => {
    const features = BASE | F.MTU | F.MRG_RXBUF | F.INDIRECT;
    const { port, fake } = await started({ features, config: { mtu: 9000 } });
    expect([port.mtu, port.capability.segments, port.queues.tx[0].plan.maxLength]).toEqual([9000, 64, 9018]);
    expect(port.queues.tx[0].plan.data.tables).toBeGreaterThan(0);
    expect(fake.accepted & (F.MRG_RXBUF | F.INDIRECT)).toBe(F.MRG_RXBUF | F.INDIRECT);
    const { port: ordinary } = await started({ features, config: { mtu: 1500 } });
    expect(ordinary.queues.tx[0].plan.data.tables).toBe(0);
  });

  test('IN_ORDER is taken unless it is not wanted', async () => {
    const features = BASE | F.MRG_RXBUF | F.IN_ORDER;
    const { fake } = await started({ features });
    expect(fake.accepted & (F.MRG_RXBUF | F.IN_ORDER)).toBe(F.MRG_RXBUF | F.IN_ORDER);
    const { fake: without } = await started({ features, wishes: { 'in-order': false } });
    expect(without.accepted & (F.MRG_RXBUF | F.IN_ORDER)).toBe(F.MRG_RXBUF);
  });

  test.each([
    ['V81: STANDBY is declined', F.STANDBY],
    ['V116: SR_IOV is declined', F.SR_IOV],
    ['HASH_REPORT is declined', F.HASH_REPORT],
    ['V99: CTRL_RX_EXTRA, whose commands are not used, is declined', F.CTRL_RX_EXTRA],
    [
      'V111: offloads that nobody asked for are declined',
      F.GUEST_TSO4 | F.HOST_TSO4 | F.CSUM | F.GUEST_CSUM | F.RSC_EXT,
    ],
  ])('%s', async (_, feature) => {
    const { fake } = await started({ features: ALL, config: { pairs: 2 } });
    expect(fake.accepted & feature).toBe(0n);
  });

  test.each([
    ['V90: GUEST_HDRLEN', F.GUEST_HDRLEN],
    ['V112: VERSION_1', F.VERSION_1],
    ['V113: ACCESS_PLATFORM', F.ACCESS_PLATFORM],
    ['V114: RING_PACKED', F.PACKED],
    ['V115: ORDER_PLATFORM', F.ORDER_PLATFORM],
    ['V117: NOTIF_CONFIG_DATA', F.NOTIF_CONFIG_DATA],
  ])('%s is accepted when it is offered', async (_, feature) => {
    const { fake } = await started({ features: BASE | feature });
    expect(fake.accepted & feature).toBe(feature);
  });

  test('V112: a device without VERSION_1 is refused', async () => {
    expect(await code(openVirtioNet('x', new FakeVirtio({ features: F.MAC }), LIMITS))).toBe('NO_VERSION_1');
  });

  test('Wishes: packed rings that are not there, features that are turned off, checksums that are asked for', async () => {
    const features = BASE | F.PACKED | F.MRG_RXBUF | F.CSUM | F.GUEST_CSUM;
    expect(await code(openVirtioNet('x', new FakeVirtio({ features: BASE, wishes: { packed: true } }), LIMITS))).toBe(
      'NO_PACKED_RING',
    );
    const off = await started({ features, wishes: { packed: false, mergeable: false } });
    expect(off.fake.accepted).toBe(BASE);
    const on = await started({ features, wishes: { csum: true } });
    expect(on.fake.accepted).toBe(features);
    expect(on.port.queues.rx[0].plan.data).toMatchObject({ checksum: 1, mergeable: 1 });
    expect(on.port.queues.rx[0].plan.module).toContain('packed-queue');
  });

  test('V82: speed and duplex are as the device says, within bounds, and read again when it says that they change', async () => {
    const { fake, port } = await started({
      features: BASE | F.SPEED_DUPLEX,
      config: { speed: 0x8000_0000, duplex: 2 },
    });
    expect(port.link()).toMatchObject({ speed: 0, duplex: 'unknown' });
    const view = new DataView(fake.config.buffer);
    view.setUint32(12, 25_000, true);
    view.setUint8(16, 1);
    fake.events!.configChanged();
    await vi.waitFor(() => expect(port.link()).toMatchObject({ speed: 25_000, duplex: 'full' }));
  });

  test('The link goes down and up as the configuration says, with an event each time', async () => {
    const { fake, port } = await started();
    const seen: string[] = [];
    port.on('link', ({ status }) => seen.push(status));
    for (const status of [0, 1]) {
      fake.config[6] = status;
      fake.events!.configChanged();
      await vi.waitFor(() => expect(seen.at(-1)).toBe(status === 1 ? 'up' : 'down'));
    }
    expect(seen).toEqual(['down', 'up']);
  });

  test('H13: endless configuration changes are read one after the other, with pauses', async () => {
    const { fake } = await started();
    fake.log.length = 0;
    const end = performance.now() + 150;
    while (performance.now() < end) {
      for (let i = 0; i < 100; i++) fake.events!.configChanged();
      await new Promise((resolve) => setImmediate(resolve));
    }
    expect(fake.log.length).toBeLessThan(12);
    expect(fake.log.length).toBeGreaterThan(1);
  });
});

describe.each([
  ['by the transport', false, 0n],
  ['over a split control queue', true, 0n],
  ['over a packed control queue', true, F.PACKED],
])('Commands %s', (_, controlQueue, packed) => {
  const features = BASE | CTRL | F.MQ | packed;

  test('V99, V100: promiscuous, all multicast and the address are commands of CTRL_RX and CTRL_MAC_ADDR', async () => {
    const { fake, port } = await started({ features, controlQueue }, { promiscuous: true, mac: '02:00:00:00:00:77' });
    expect(fake.told).toEqual([
      { class: 4, command: 0, data: [1, 0] },
      { class: 0, command: 0, data: [1] },
      { class: 0, command: 1, data: [1] },
      { class: 1, command: 1, data: [2, 0, 0, 0, 0, 0x77] },
    ]);
    port.setPromiscuous(false);
    await vi.waitFor(() => expect(fake.told.at(-1)).toEqual({ class: 0, command: 0, data: [0] }));
    for (let i = 0; i < 9; i++) port.setPromiscuous(i % 2 === 0);
    await vi.waitFor(() => expect(fake.told.length).toBe(14));
    expect(fake.violations).toEqual([]);
  });

  test('V100: without CTRL_MAC_ADDR an address of our own goes into the MAC table', async () => {
    const { fake } = await started(
      { features: BASE | F.CTRL_VQ | F.CTRL_RX | packed, controlQueue },
      { mac: '02:00:00:00:00:77' },
    );
    expect(fake.told.at(-1)).toEqual({ class: 1, command: 0, data: [1, 0, 0, 0, 2, 0, 0, 0, 0, 0x77, 0, 0, 0, 0] });
  });

  test('V99, V100: without CTRL_RX none of them is sent', async () => {
    const { fake, port } = await started({ features: BASE | F.CTRL_VQ | packed, controlQueue });
    expect(fake.told).toEqual([]);
    expect(() => port.setPromiscuous(false)).toThrow('promiscuous');
  });

  test('V101: an announcement that the device wants is asked of the worker, and acknowledged', async () => {
    const { fake, port } = await started({
      features: features | F.ANNOUNCE | F.MAC,
      controlQueue,
      config: { mac: [2, 1, 2, 3, 4, 5] },
    });
    expect(blockOf(port, 'tx', fake)[BLOCK.announce]).toBe(0);
    fake.config[6] = 3;
    fake.events!.configChanged();
    await vi.waitFor(() => expect(fake.told.at(-1)).toEqual({ class: 3, command: 0, data: [] }));
    expect(blockOf(port, 'tx', fake)[BLOCK.announce]).toBe(1);
    // A reverse ARP about itself, to all, behind a header of zeros.
    const mac = [2, 1, 2, 3, 4, 5];
    const arp = [0, 1, 8, 0, 6, 4, 0, 3, ...mac, 0, 0, 0, 0, ...mac, 0, 0, 0, 0];
    const packet = [...Array(12).fill(0), ...Array(6).fill(255), ...mac, 0x80, 0x35, ...arp, ...Array(18).fill(0)];
    const at = port.queues.tx[0].plan.data.announceLow;
    expect([...new Uint8Array(fake.memory).slice(at, at + 72)]).toEqual(packet);
  });

  test('As many pairs as were asked for are used, unless the device has fewer', async () => {
    for (const [queues, pairs] of [
      [2, 2],
      [8, 4],
    ]) {
      const { port } = await open({ features, controlQueue, config: { pairs: 4 }, wishes: { queues } });
      expect([port.config.rxQueues, port.config.txQueues]).toEqual([pairs, pairs]);
    }
  });

  test('V102, V104: queues are there before VQ_PAIRS_SET, and none but the first sends before it is answered', async () => {
    const { fake } = await started({ features, controlQueue, config: { pairs: 4 } }, { rxQueues: 3, txQueues: 3 });
    const at = fake.log.indexOf('command 4/0');
    for (let queue = 0; queue < 6; queue++) expect(fake.log.indexOf(`queue ${queue}`)).toBeLessThan(at);
    expect(fake.told[0]).toEqual({ class: 4, command: 0, data: [3, 0] });
  });

  test('V103, V105: there are never more queues than the device has pairs', async () => {
    const { port } = await open({ features, controlQueue, config: { pairs: 4 } });
    expect(port.capability).toMatchObject({ rxQueues: { min: 1, max: 4 }, txQueues: { min: 1, max: 4 } });
    expect(() => port.configure({ txQueues: 5 })).toThrow('txQueues');
  });

  test('V106 to V110: RSS_CONFIG names queues that are there, in a table of 2^n entries, with hash types of the device', async () => {
    const config = { pairs: 4, table: 100, key: 40, types: 0x1ff };
    const { fake } = await started({ features: features | F.RSS, controlQueue, config }, { rxQueues: 3, txQueues: 3 });
    const { class: group, command, data } = fake.told[0];
    const view = new DataView(Uint8Array.from(data).buffer);
    expect([group, command, view.getUint32(0, true)]).toEqual([4, 1, 0x1ff]);
    const mask = view.getUint16(4, true);
    expect(mask).toBe(63);
    const table = Array.from({ length: mask + 1 }, (__, i) => view.getUint16(8 + 2 * i, true));
    expect(new Set(table)).toEqual(new Set([0, 1, 2]));
    expect([view.getUint16(8 + 128, true), data[138], data.length]).toEqual([3, 40, 139 + 40]);
    const { fake: without } = await started({ features, controlQueue, config }, { rxQueues: 3, txQueues: 3 });
    expect(without.told[0].command).toBe(0);
  });

  test('H7: a command that is never answered fails in time, and the device is reset', async () => {
    const { fake, port } = await started({ features, controlQueue });
    const errors: string[] = [];
    port.on('error', (error) => errors.push((error as { code?: string }).code ?? ''));
    fake.faults.silent = true;
    fake.log.length = 0;
    port.setPromiscuous(true);
    await vi.waitFor(() => expect(fake.log).toContain('reset'));
    fake.faults.silent = false;
    await vi.waitFor(() => expect(port.link().status).toBe('up'), 3000);
    expect(errors[0]).toBe('DEVICE_TIMEOUT');
    expect(fake.violations).toEqual([]);
  });

  test.each([1, 2, 77, 255])('H7: %d for an answer is a refusal that the port survives', async (answer) => {
    const { fake, port } = await started({ features, controlQueue });
    const errors: string[] = [];
    port.on('error', (error) => errors.push((error as { code?: string }).code ?? ''));
    fake.faults.answer = answer;
    port.setPromiscuous(true);
    await vi.waitFor(() => expect(errors).toEqual(['COMMAND_REFUSED']));
    expect(port.link().status).toBe('up');
  });
});

describe('A device that breaks', () => {
  /** A worker on the rx queue: attached, and looking as a polling one does. */
  function worker(port: Port, fake: FakeVirtio) {
    const { plan } = port.queues.rx[0];
    const world = new VirtioWorld();
    const context = { ...world.context, memory: fake.memory, kick: () => {} };
    const queue = makeRxQueue(plan, context);
    const burst = world.burst();
    const timer = setInterval(() => queue.receive(burst), 1);
    return { queue, world, stop: () => clearInterval(timer) };
  }

  test('V4: when it needs a reset it gets one, comes up with the same features, and the link tells', async () => {
    const { fake, port } = await started({ features: BASE | CTRL | F.MRG_RXBUF });
    const { world, stop } = worker(port, fake);
    const seen: string[] = [];
    port.on('link', ({ status }) => seen.push(status));
    const before = fake.accepted;
    fake.log.length = 0;
    fake.offered |= F.EVENT_IDX;
    const errors: string[] = [];
    port.on('error', (error, fatal) => errors.push(`${error.message} ${fatal}`));
    fake.events!.needsReset('it said so');
    expect(seen).toEqual(['down']);
    expect(errors).toEqual([expect.stringMatching(/it said so.* false$/)]);
    await vi.waitFor(() => expect(seen).toEqual(['down', 'up']), 3000);
    expect([fake.log[0], fake.accepted]).toEqual(['reset', before]);
    expect(port.extraStats()).toMatchObject({ faults: 1n, resets: 1n, losses: 0n });
    stop();
    expect(world.free.free.size + [...port.queues.rx[0].held()].length).toBe(world.frames);
    expect(fake.violations).toEqual([]);
  });

  test('A ring that a queue has found broken is repaired by a reset', async () => {
    const { fake, port } = await started();
    const { stop } = worker(port, fake);
    const words = blockOf(port, 'rx', fake);
    const used = new DataView(fake.memory, port.queues.rx[0].plan.data.device);
    fake.log.length = 0;
    used.setUint16(2, 9999, true);
    await vi.waitFor(() => expect(fake.log).toContain('reset'));
    await vi.waitFor(() => expect(port.link().status).toBe('up'), 3000);
    await vi.waitFor(() => expect([words[BLOCK.trouble], words[BLOCK.available]]).toEqual([TROUBLE.none, 64]));
    expect(port.extraStats()).toMatchObject({ broken_rings: 1n });
    stop();
  });

  test('When it goes the link is down at once; when it is back it runs again, with what was in flight taken back', async () => {
    const { fake, port } = await started({ features: BASE | CTRL });
    const { world, stop } = worker(port, fake);
    const seen: string[] = [];
    port.on('link', ({ status, reason }) => seen.push(`${status} ${reason ?? ''}`.trim()));
    for (let i = 0; i < 3; i++) {
      seen.length = 0;
      fake.faults.gone = true;
      fake.running.clear();
      fake.events!.lost('it hung up', false);
      expect(seen).toEqual(['down it hung up']);
      await vi.waitFor(() => expect(world.free.free.size).toBe(world.frames));
      fake.faults.gone = false;
      await fake.reset();
      fake.events!.back();
      await vi.waitFor(() => expect(seen.at(-1)).toBe('up'), 3000);
    }
    stop();
    expect(fake.violations).toEqual([]);
  });

  test('One that is there again with fewer features is not driven, and the port says why', async () => {
    const { fake, port } = await started({ features: BASE | F.MRG_RXBUF });
    const errors: string[] = [];
    port.on('error', (error, fatal) => errors.push(`${(error as { code?: string }).code} ${fatal}`));
    fake.offered = BASE;
    fake.events!.needsReset('x');
    await vi.waitFor(() => expect(errors).toEqual(['DEVICE_FAULT false', 'FEATURES_CHANGED true']));
    expect(port.link().status).toBe('down');
  });

  test('One that cannot be brought up is tried again, at growing intervals, until it can', async () => {
    const { fake, port } = await started();
    const errors: string[] = [];
    port.on('error', (error) => errors.push((error as { code?: string }).code ?? ''));
    fake.faults.featuresRefused = true;
    fake.events!.needsReset('x');
    await vi.waitFor(() => expect(errors.length).toBeGreaterThan(2), 3000);
    fake.faults.featuresRefused = false;
    await vi.waitFor(() => expect(port.link().status).toBe('up'), 3000);
    expect(new Set(errors)).toEqual(new Set(['DEVICE_FAULT', 'FEATURES_REFUSED']));
  });

  test('Nothing is changed behind a worker that has not stepped back', async () => {
    const { fake, port } = await started();
    const { queue, stop } = worker(port, fake);
    stop();
    fake.log.length = 0;
    fake.events!.needsReset('x');
    await new Promise((resolve) => setTimeout(resolve, 100));
    expect(fake.log).toEqual([]);
    queue.receive(new VirtioWorld().burst());
    await vi.waitFor(() => expect(fake.log).toContain('reset'));
  });

  test('A stop in the middle of a recovery waits for it, and leaves nothing', async () => {
    const { fake, port } = await started();
    fake.events!.needsReset('x');
    await port.stop();
    expect([fake.allocated.size, fake.violations]).toEqual([0, []]);
  });
});
