/** The control half of gigabit controllers' drivers, against a fake device. */
import { describe, expect, onTestFinished, test, vi } from 'vitest';
import { GATE } from '../../../lib/arena/gate.ts';
import { e1000eDriver } from '../../../lib/drivers/e1000e/device.ts';
import { BLOCK, openBlock } from '../../../lib/drivers/gbe/block.ts';
import { Igb } from '../../../lib/drivers/igb/controller.ts';
import { igbDriver } from '../../../lib/drivers/igb/device.ts';
import { checkDriver } from '../../../lib/framework/validate.ts';
import { FakeGbe } from '../../fakes/gbe.ts';
import { type GbeOptions, GbeWorld, openFake, packetOf } from '../../fakes/gbe-world.ts';

const FAMILIES = [82574, 82576] as const;
/** Limits that a test waits for. */
const SHORT = { masterMs: 30, resetMs: 30, nvmMs: 30, phyMs: 30, queueMs: 30 };

async function start(options: GbeOptions = {}): Promise<GbeWorld> {
  const world = await GbeWorld.start(options);
  onTestFinished(() => world.stop());
  return world;
}

const until = (condition: () => boolean) => vi.waitFor(() => expect(condition()).toBe(true), { timeout: 4000 });
const after = (log: readonly string[], one: string) => log.slice(log.indexOf(one) + 1);

describe.each(FAMILIES)('An %i', (family) => {
  test('is reset when it is opened, and has the address of its NVM', async () => {
    const fake = new FakeGbe({ family });
    const device = await openFake(fake);
    expect(device.defaults).toMatchObject({ mac: '52:54:00:12:34:56', rxQueues: 1, mtu: 1500, promiscuous: false });
    // Interrupts off, then rx and tx, then bus mastering, then reset.
    const steps = ['00d8=ffffffff', '0100=0', '0400=8', '0000=4', '0000=4000004'];
    expect(fake.log.filter((line) => steps.includes(line)).slice(0, 5)).toEqual(steps);
    expect(fake.log).not.toContain('bus master');
  });

  test.each([
    ['no valid bit', [0, 0, 0, 0, 0, 0]],
    ['a group address', [1, 0, 0x5e, 0, 0, 1]],
  ])('without an address of its own (%s) gets one', async (_, mac) => {
    const device = await openFake(new FakeGbe({ family, mac }));
    expect(device.defaults.mac).toMatch(/^02:4c:43:/);
  });

  test('may read and write memory only once all its rings are programmed, and runs after that', async () => {
    const { fake } = await start({ family, config: { txQueues: 2 } });
    const log = after(fake.log, 'msix 2');
    const base = family === 82574 ? '28' : 'c0';
    const at = (text: string) => log.findIndex((line) => line.startsWith(text));
    for (const early of [`${base}00=`, `${base}08=400`, `${base}10=0`, `${base}18=0`, '5400=12005452'])
      expect(at(early)).toBeGreaterThanOrEqual(0);
    expect(at(`${base}08=400`)).toBeLessThan(at('bus master'));
    expect(at('bus master')).toBeLessThan(at('0400='));
    expect(at('0400=')).toBeLessThan(at('0100='));
    expect(fake.peek(0x100) & ~0x8000).toBe(0x0400_0012);
    expect(fake.peek(0x400) & 0x0100_000a).toBe(0x0100_000a);
    expect(fake.peek(0x18) & (1 << 28)).not.toBe(0);
  });

  test('lets through what it is told to', async () => {
    const world = await start({ family, wishes: { multicast: '01:00:5e:00:00:01+33:33:00:00:00:02' } });
    const { fake, device } = world;
    world.makeRx();
    const to = (...bytes: number[]) => fake.receive([...bytes, ...packetOf(1).slice(6)]);
    const cases = {
      own: () => to(0x52, 0x54, 0, 0x12, 0x34, 0x56),
      other: () => to(0x52, 0x54, 0, 0x12, 0x34, 0x57),
      broadcast: () => to(0xff, 0xff, 0xff, 0xff, 0xff, 0xff),
      wanted: () => to(0x33, 0x33, 0, 0, 0, 2),
      unwanted: () => to(1, 0, 0x5e, 0, 0, 9),
    };
    const all = () => Object.fromEntries(Object.entries(cases).map(([name, receive]) => [name, receive()]));
    const some = { own: 'taken', other: 'filtered', broadcast: 'taken', wanted: 'taken', unwanted: 'filtered' };
    expect(all()).toEqual(some);
    device.setPromiscuous(true);
    expect(all()).toEqual({ ...some, other: 'taken', unwanted: 'taken' });
    device.setPromiscuous(false);
    expect(all()).toEqual(some);
  });

  test('takes all multicasts unless it is told otherwise, and another address when it is told one', async () => {
    const world = await start({ family, config: { mac: '02:00:00:00:00:09' } });
    world.makeRx();
    const to = (...bytes: number[]) => world.fake.receive([...bytes, ...packetOf(1).slice(6)]);
    expect([to(1, 0, 0x5e, 0, 1, 1), to(2, 0, 0, 0, 0, 9), to(0x52, 0x54, 0, 0x12, 0x34, 0x56)]).toEqual([
      ...['taken', 'taken', 'filtered'],
    ]);
  });

  test('spreads hashes over its rx queues, and has an interrupt for each', async () => {
    const world = await start({ family, config: { rxQueues: 2 } });
    const { fake, queues } = world;
    expect(queues.rx.map(({ plan }) => plan.fd)).toEqual([1000, 1001]);
    expect(fake.peek(0x5c00).toString(16)).toBe(family === 82574 ? '80008000' : '1000100');
    expect(fake.peek(0x5ca4).toString(16)).toBe('5a6d5a6d');
    expect(fake.peek(0x5818)).toBe(family === 82574 ? 0x33_0001 : 0xf3_0002);
    expect(fake.peek(0x5000)).toBe(1 << 13);
    if (family === 82574) expect(fake.peek(0xe4)).toBe(0x000a_0098);
    const rx = [world.makeRx(0), world.makeRx(1)];
    for (const one of rx) one.arm();
    fake.tick();
    fake.receive(packetOf(1), 1);
    expect(fake.interrupts).toEqual([0, 1, 0]);
    expect([rx[0].receive(world.burst()), rx[1].receive(world.burst())]).toEqual([0, 1]);
  });

  test('counts what its registers have counted, each reading once', async () => {
    const world = await start({ family });
    const { fake, device } = world;
    world.makeRx();
    for (let n = 0; n < 5; n++) fake.receive(packetOf(n));
    fake.count(0x4000, 7);
    fake.put(0x40c0, 0xffff_fff0);
    fake.put(0x40c4, 2);
    const first = { gprc: 5n, gorc: 320n, crcerrs: 7n, tor: 0x2_ffff_fff0n };
    expect(device.extraStats()).toMatchObject(first);
    expect(device.extraStats()).toMatchObject(first);
    fake.receive(packetOf(9));
    expect(device.extraStats()).toMatchObject({ gprc: 6n, gorc: 384n, crcerrs: 7n });
    expect(device.extraStats()).toHaveProperty('hung_masters', 0n);
  });

  test('tells of its link', async () => {
    const world = await start({ family });
    expect(world.device.link()).toEqual({ status: 'up', speed: 1000, duplex: 'full', autoneg: true, media: 'copper' });
    world.fake.setLink(false);
    await until(() => world.links.length === 1);
    world.fake.setLink(true);
    await until(() => world.links.length === 2);
    expect(world.links.map(({ status }) => status)).toEqual(['down', 'up']);
  });

  test('gives its PHY power, and has it look for a partner, if a driver before had not', async () => {
    const off = new FakeGbe({ family });
    off.phy = [0x0900, 0x0020];
    const device = await openFake(off);
    await device.setup({ ...device.defaults, rxRing: 64 });
    await device.teardown();
    expect(off.phy[0]).toBe(0x1100);
    const alone = new FakeGbe({ family });
    alone.phy = [0x1140, 0];
    const other = await openFake(alone);
    await other.setup({ ...other.defaults, rxRing: 64 });
    await other.teardown();
    expect(alone.log.filter((line) => line.startsWith('0020='))).toEqual([
      '0020=8200000',
      '0020=8210000',
      '0020=4201340',
    ]);
    const on = await start({ family });
    expect(on.fake.log.filter((line) => line.startsWith('0020='))).toEqual(['0020=8200000', '0020=8210000']);
  });

  test('is stopped in order, and gives everything back', async () => {
    const world = await GbeWorld.start({ family, config: { rxQueues: 2, txQueues: 2 } });
    world.makeRx();
    expect(world.fake.allocated.size).toBe(8);
    world.fake.log.length = 0;
    await world.stop();
    const { log } = world.fake;
    const steps = ['00d8=ffffffff', '0100=0', 'no bus master', 'no interrupts'];
    expect(log.filter((line) => steps.includes(line)).filter((line, i, all) => all.indexOf(line) === i)).toEqual(steps);
    expect([world.fake.allocated.size, world.fake.shared.size]).toEqual([0, 0]);
  });

  test('that is broken is told of within its time limits', async () => {
    const refused = async (prepare: (fake: FakeGbe) => void): Promise<string> => {
      const fake = new FakeGbe({ family });
      prepare(fake);
      const began = performance.now();
      const code = await openFake(fake, SHORT).then(
        async (device) => {
          try {
            await device.setup({ ...device.defaults, rxRing: 64 });
            return 'works';
          } catch (error) {
            return String((error as Error).message);
          } finally {
            await device.teardown();
            expect([fake.allocated.size, fake.shared.size]).toEqual([0, 0]);
          }
        },
        (error: Error) => error.message,
      );
      expect(performance.now() - began).toBeLessThan(1500);
      return code;
    };
    expect(await refused((fake) => Object.assign(fake.faults, { reset: true }))).toMatch(/: reset: the device has not/);
    expect(await refused((fake) => Object.assign(fake.faults, { phy: true }))).toMatch(
      /PHY register 0: the device has/,
    );
    expect(await refused((fake) => Object.assign(fake.faults, { phyError: true }))).toMatch(/PHY register 0/);
    expect(await refused((fake) => Object.assign(fake, { present: false }))).toMatch(/its registers do not answer/);
    // One that goes on to ask for memory is reset all the same.
    expect(await refused((fake) => Object.assign(fake.faults, { master: true }))).toBe('works');
    const nvm = await refused((fake) => {
      fake.faults.nvm = true;
    });
    if (family === 82574) expect(nvm).toMatch(/: NVM: the device has not/);
    else expect(nvm).toBe('works');
    const queue = await refused((fake) => Object.assign(fake.faults, { queue: true }));
    if (family === 82576) expect(queue).toMatch(/enabling tx queue 0/);
  });

  test('that vanishes takes its port down, and nothing of it is touched', async () => {
    const world = await GbeWorld.start({ family });
    const rx = world.makeRx();
    world.fake.present = false;
    world.fake.tick();
    await until(() => world.errors.length > 0);
    expect(world.errors[0]).toMatchObject({ fatal: true, error: { code: 'PORT_LOST' } });
    expect(world.device.link()).toMatchObject({ status: 'down' });
    await until(() => rx.receive(world.burst()) === 0 && [...world.queues.rx[0].held()].length === 0);
    await world.stop();
    expect([world.fake.allocated.size, world.fake.shared.size]).toEqual([0, 0]);
    expect(world.errors.length).toBe(1);
  });

  test('that is pulled takes its port down', async () => {
    const world = await start({ family });
    world.fake.events?.lost('it was unplugged');
    world.fake.events?.lost('it was unplugged');
    expect(world.errors.map(({ fatal }) => fatal)).toEqual([true]);
  });

  test('that reports an error is reset, and goes on with the same queues', async () => {
    const world = await start({ family });
    const rx = world.makeRx();
    const tx = world.makeTx();
    world.fake.faults.send = true;
    tx.transmit(world.burstOf(60, 60), 0, 2);
    tx.kick();
    world.fake.receive(packetOf(1));
    world.fake.events?.failed('DMA read at 0x70000000');
    const burst = world.burst();
    await until(() => {
      rx.receive(burst);
      tx.reclaim();
      world.fake.tick();
      return world.device.link().status === 'up' && world.fake.posted() === 63;
    });
    world.fake.faults.send = false;
    expect(world.errors).toMatchObject([{ fatal: false, error: { code: 'DEVICE_FAULT' } }]);
    expect(world.device.extraStats()).toMatchObject({ faults: 1n, resets: 1n, gprc: 1n });
    expect(world.rxCounters()).toEqual({ lost: 1 });
    expect(world.txCounters()).toMatchObject({ packets: 2, lost: 2 });
    world.fake.receive(packetOf(2));
    expect(rx.receive(burst)).toBe(1);
    expect(world.packets(burst)).toEqual([packetOf(2)]);
    tx.transmit(world.burstOf(60), 0, 1);
    tx.kick();
    world.fake.tick();
    expect([world.fake.sent.length, tx.reclaim()]).toEqual([1, 0]);
    expect(world.links.map(({ status }) => status)).toEqual(['down', 'up']);
  });

  test('that does not send any more is reset', async () => {
    const world = await start({ family });
    const tx = world.makeTx();
    world.fake.faults.send = true;
    tx.transmit(world.burstOf(60), 0, 1);
    tx.kick();
    await vi.waitFor(() => expect(world.errors.length).toBe(1), { timeout: 5000 });
    expect(world.errors).toMatchObject([{ fatal: false, error: { code: 'TX_HUNG' } }]);
    await until(() => {
      tx.reclaim();
      return world.device.extraStats().resets === 1n && world.device.link().status === 'up';
    });
    expect(world.device.extraStats()).toMatchObject({ tx_hangs: 1n });
    expect(world.txCounters()).toMatchObject({ packets: 1, lost: 1 });
  });

  test('goes on under a later release of its driver, which touches nothing but its rings', async () => {
    const before = await start({ family });
    const { fake } = before;
    const rx = before.makeRx();
    const tx = before.makeTx();
    for (let n = 1; n <= 3; n++) fake.receive(packetOf(n));
    const burst = before.burst(2);
    expect(rx.receive(burst)).toBe(2);
    expect(before.packets(burst)).toEqual([packetOf(1), packetOf(2)]);
    fake.faults.send = true;
    tx.transmit(before.burstOf(60, 60), 0, 2);
    tx.kick();
    before.device.setPromiscuous(true);
    const wrote = fake.log.length;
    const held = before.queues.rx[0].held();

    const after = before.successor();
    onTestFinished(() => after.stop());
    expect(fake.log.slice(wrote)).toEqual([]);
    expect(after.queues.rx[0].held()).toEqual(held);
    expect(after.device.link()).toMatchObject({ status: 'up' });
    const next = { rx: after.makeRx(), tx: after.makeTx() };
    fake.receive(packetOf(4));
    expect(next.rx.receive(burst)).toBe(2);
    expect(after.packets(burst)).toEqual([packetOf(3), packetOf(4)]);
    fake.faults.send = false;
    next.tx.transmit(after.burstOf(60), 0, 1);
    next.tx.kick();
    fake.tick();
    expect([next.tx.reclaim(), fake.sent.length]).toEqual([0, 3]);
    expect(after.rxCounters()).toEqual({ packets: 4, bytes: 240 });
    expect(after.txCounters()).toMatchObject({ packets: 3, completed: 3 });
    // It is still promiscuous once another filter is set, and what its registers counted goes on.
    after.device.setPromiscuous(false);
    expect(fake.peek(0x100) & 0x0400_0002).toBe(0x0400_0002);
    expect(after.device.extraStats()).toMatchObject({ gprc: 4n });
  });

  test('is looked after by the later release: reset when it reports an error, told of when it goes', async () => {
    const before = await start({ family });
    before.makeRx();
    const world = before.successor();
    const rx = world.makeRx();
    world.fake.events?.failed('DMA read at 0x70000000');
    const burst = world.burst();
    await until(() => {
      rx.receive(burst);
      world.fake.tick();
      return world.device.extraStats().resets === 1n && world.device.link().status === 'up';
    });
    expect(world.device.handOver()).toBeDefined();
    await world.device.teardown();
  });

  test('that has gone, or is being brought back, hands nothing over', async () => {
    const broken = await start({ family });
    broken.makeRx(); // whose worker does not step back
    broken.fake.events?.failed('something');
    expect(broken.device.handOver()).toBeUndefined();
    const gone = await start({ family });
    gone.fake.present = false;
    expect(gone.device.handOver()).toBeUndefined();
  });

  test('is left alone by a reset while a worker does not step back', async () => {
    const world = await start({ family });
    world.makeRx();
    const { words } = openBlock(world.fake.memory, world.queues.rx[0].plan.data.block, 64);
    world.fake.events?.failed('something');
    await new Promise((resolve) => setTimeout(resolve, 200));
    expect(world.device.extraStats().resets).toBe(0n);
    expect(words[BLOCK.gate + GATE.seen]).not.toBe(words[BLOCK.gate + GATE.wanted]);
  });
});

describe('The drivers', () => {
  test('take the devices that they are for, behind either kind of devio, and nothing else', async () => {
    expect(e1000eDriver()).toMatchObject({
      ...{ name: 'e1000e', enumeratorClass: 'pci', ids: [{ vendor: 0x8086, device: 0x10d3 }] },
      devios: [{ name: 'devio-iommu' }, { name: 'devio-nommu' }],
    });
    for (const driver of [e1000eDriver(), igbDriver()]) expect(() => checkDriver(driver)).not.toThrow();
    expect(igbDriver()).toMatchObject({ name: 'igb', ids: [{ vendor: 0x8086, device: 0x10c9 }] });
    const device = { address: '0000:01:00.0' } as Parameters<ReturnType<typeof igbDriver>['probe']>[0];
    for (const [family, driver] of [
      [82574, e1000eDriver()],
      [82576, igbDriver()],
    ] as const) {
      const port = await driver.probe(device, new FakeGbe({ family, nommu: true }), 1);
      expect([port.name, port.driver]).toEqual(['pci:0000:01:00.0', driver.name]);
      expect(port.capability.rxQueues.max).toBe(family === 82574 ? 2 : 8);
      expect(port.capability.mtu.max).toBe(family === 82574 ? 9212 : 9706);
      await expect(driver.probe(device, new FakeGbe({ family, barBytes: 4096 }), 0)).rejects.toMatchObject({
        code: 'BAD_BAR',
      });
      await expect(
        driver.probe(device, { api: { name: 'x', version: 1 }, backend: '', close() {} }, 0),
      ).rejects.toThrow();
    }
  });

  test.each(['', 'some', '52:54:00:00:00:01', '01:00:5e:00:00:01,all', '01:00:5e:00:00:01+'])(
    'refuse to let through "%s"',
    async (multicast) => {
      await expect(openFake(new FakeGbe({ wishes: { multicast } }))).rejects.toMatchObject({ code: 'BAD_WISH' });
    },
  );

  test('take the number of queues that was wished for, as far as there are', async () => {
    expect((await openFake(new FakeGbe({ wishes: { queues: 8 } }))).defaults.rxQueues).toBe(2);
    expect((await openFake(new FakeGbe({ family: 82576, wishes: { queues: 6 } }))).defaults.rxQueues).toBe(6);
    const legacy = await openFake(new FakeGbe({ wishes: { queues: 2, legacy: true } }));
    expect([legacy.defaults.rxQueues, legacy.capability.rxQueues.max]).toEqual([1, 1]);
  });

  test('of an 82576 have it drop what is longer than a frame has room for', async () => {
    const world = await start({ family: 82576, config: { mtu: 1700 } });
    const rx = world.makeRx();
    expect([world.fake.receive(packetOf(1, 1718)), world.fake.receive(packetOf(1, 1719))]).toEqual(['taken', 'long']);
    expect([rx.segments, rx.receive(world.burst())]).toEqual([false, 1]);
    expect(new Igb('x', new FakeGbe({ family: 82576 }), SHORT).traits.limitsLength).toBe(true);
  });
});
