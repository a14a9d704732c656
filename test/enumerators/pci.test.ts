import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { PCI_ENUMERATOR_API, PciTable, pciClass } from '../../lib/enumerators/pci.ts';
import { Framework } from '../../lib/framework/framework.ts';
import { FRAMEWORK_API } from '../../lib/framework/types.ts';
import { parseUevent } from '../../lib/pci/uevents.ts';
import type { Pktio } from '../../lib/pktio/types.ts';
import { loadNative } from '../../native/index.ts';
import { FakeSysfs } from '../fakes/sysfs.ts';
import { FakeUevents, ueventBytes } from '../fakes/uevents.ts';

async function start(sysfs = new FakeSysfs(), kernel = new FakeUevents()) {
  const failures: Error[] = [];
  const table = new PciTable({ native: kernel.native, sysfs: sysfs.root }, (error) => failures.push(error));
  const framework = new Framework();
  framework.registerClass(pciClass(table));
  await framework.start();
  onTestFinished(() => framework.stop());
  const addresses = () => framework.devices().map(({ address }) => address);
  return { sysfs, kernel, table, framework, addresses, failures };
}

async function until(condition: () => boolean): Promise<void> {
  for (let i = 0; i < 200 && !condition(); i++) await sleep(5);
  expect(condition()).toBe(true);
}

describe('The pci enumerators', () => {
  it('are one per domain, with its network controllers as devices', async () => {
    const sysfs = new FakeSysfs();
    sysfs.add('0000:01:00.0', {
      vendor: '0x8086',
      device: '0x10d3',
      driver: 'e1000e',
      group: 3,
      netif: { name: 'eth1', flags: '0x1003' },
    });
    sysfs.add('0000:02:00.0', { class: '0x010802' });
    sysfs.add('10000:01:00.0', { node: 1 });
    const { framework } = await start(sysfs);
    expect(framework.enumerators().map(({ name }) => name)).toEqual(['0000', '10000']);
    const [first, second] = framework.devices();
    expect(first!.facts).toEqual({
      ...{
        kind: 'pci',
        vendor: 0x8086,
        device: 0x10d3,
        subsystemVendor: 0x1af4,
        subsystemDevice: 0x1100,
        class: 0x020000,
      },
      ...{ kernelDriver: 'e1000e', iommuGroup: 3, numaNode: -1, netif: 'eth1 (up)' },
    });
    expect([second!.id, second!.facts.numaNode]).toEqual(['pci/10000/10000:01:00.0', 1]);
  });

  it('follow what is plugged in, bound to another driver, and pulled', async () => {
    const { sysfs, kernel, framework, addresses } = await start();
    sysfs.add('0000:03:00.0', { driver: 'virtio-pci' });
    kernel.queue.push(ueventBytes('add', '0000:03:00.0'));
    await until(() => addresses().join() === '0000:03:00.0');
    sysfs.unlink('devices/pci0000:00/0000:03:00.0/driver');
    sysfs.link('devices/pci0000:00/0000:03:00.0/driver', '../../../bus/pci/drivers/vfio-pci');
    kernel.queue.push(ueventBytes('unbind', '0000:03:00.0'), ueventBytes('bind', '0000:03:00.0'));
    await until(() => framework.devices()[0]?.facts.kernelDriver === 'vfio-pci');
    sysfs.remove('0000:03:00.0');
    kernel.queue.push(ueventBytes('remove', '0000:03:00.0'));
    await until(() => addresses().length === 0);
  });

  it('say nothing of a device about which nothing changed', async () => {
    const sysfs = new FakeSysfs();
    sysfs.add('0000:03:00.0');
    const { kernel, table, framework } = await start(sysfs);
    const heard: string[] = [];
    framework.on(({ type }) => heard.push(type));
    kernel.queue.push(ueventBytes('change', '0000:03:00.0'));
    table.look();
    await sleep(20);
    expect([heard, kernel.queue.length]).toEqual([[], 0]);
  });

  it('read everything again when events were lost', async () => {
    const sysfs = new FakeSysfs();
    sysfs.add('0000:03:00.0');
    const { kernel, addresses } = await start(sysfs);
    sysfs.remove('0000:03:00.0');
    sysfs.add('0000:04:00.0');
    kernel.queue.push(105); // ENOBUFS
    await until(() => addresses().join() === '0000:04:00.0');
  });

  it('read sysfs now and then when events cannot be had, with a word to whoever listens', async () => {
    const { sysfs, kernel, failures, table, addresses } = await start();
    kernel.queue.push(5); // EIO
    table.look();
    expect(String(failures[0])).toContain("reading the kernel's device events");
    expect(kernel.open.size).toBe(0);
    sysfs.add('0000:05:00.0');
    for (let look = 0; look < 20; look++) table.look();
    await until(() => addresses().join() === '0000:05:00.0');
    expect(failures.length).toBe(1);
  });

  it('do without the right to hear of events', async () => {
    const sysfs = new FakeSysfs();
    sysfs.add('0000:03:00.0');
    const kernel = new FakeUevents();
    kernel.bindError = 1;
    const { failures, addresses } = await start(sysfs, kernel);
    expect([addresses(), kernel.open.size, failures.length]).toEqual([['0000:03:00.0'], 0, 1]);
  });

  it('are one without devices, which looks for nothing, on a machine without PCI', async () => {
    const sysfs = new FakeSysfs();
    rmSync(join(sysfs.root, 'bus'), { recursive: true });
    const { framework, kernel } = await start(sysfs);
    expect([framework.enumerators().map(({ name }) => name), framework.devices(), kernel.open.size]).toEqual([
      ['0000'],
      [],
      0,
    ]);
  });

  it('give back their socket, and can be started again', async () => {
    const sysfs = new FakeSysfs();
    sysfs.add('0000:03:00.0');
    const { kernel, framework, addresses } = await start(sysfs);
    await framework.stop();
    expect([kernel.open.size, addresses()]).toEqual([0, []]);
    await framework.start();
    expect([kernel.open.size, addresses()]).toEqual([1, ['0000:03:00.0']]);
  });

  it('work with this machine’s kernel', async () => {
    const table = new PciTable({ native: loadNative() });
    const framework = new Framework();
    framework.registerClass(pciClass(table));
    await framework.start();
    await framework.stop();
  });
});

describe('A port name of a PCI function', () => {
  const ADDRESS = '0000:03:00.0';
  const API = { name: 'devio-x', version: 1 };

  /** A framework with a driver and a devio that take what was asked for; what they were given is noted. */
  async function withDriver(sysfs: FakeSysfs) {
    const made = await start(sysfs);
    const given: unknown[] = [];
    const info = { version: '1.0.0', frameworkApi: FRAMEWORK_API };
    const { table, framework } = made;
    framework.registerDevio({
      ...info,
      ...{ name: 'x', api: API, backend: 'x', enumeratorApi: PCI_ENUMERATOR_API },
      usable: ({ address }) => table.wanted(address) !== undefined || 'nobody asked for it',
      open({ address }) {
        given.push(table.take(address));
        return { api: API, backend: 'x', close: () => table.unwant(address) };
      },
    });
    framework.registerDriver({
      ...info,
      ...{ name: 'd', enumeratorClass: 'pci', ids: [{ kernelDriver: 'vfio-pci' }], devios: [API] },
      probe: () => ({ close() {} }) as unknown as Pktio,
    });
    return { ...made, given };
  }

  it('gives the function to a driver, with its options, until it is released', async () => {
    const sysfs = new FakeSysfs();
    sysfs.add(ADDRESS, { driver: 'vfio-pci' });
    const { framework, table, given } = await withDriver(sysfs);
    await until(() => framework.devices().map(({ state }) => state)[0] === 'unbound');
    const device = await framework.request('pci:03:00.0,queues=4,packed=1,mergeable=0');
    expect([device.address, device.state]).toEqual([ADDRESS, 'bound']);
    expect(given).toEqual([{ queues: 4, packed: true, mergeable: false }]);
    expect(await framework.request(`pci:${ADDRESS}`).catch(({ code }) => code)).toBe('PORT_TAKEN');
    await framework.release(device);
    expect(table.wanted(ADDRESS)).toBeUndefined();
    await until(() => framework.devices().map(({ state }) => state)[0] === 'unbound');
    await framework.request(`pci:${ADDRESS}`);
    expect(given[1]).toEqual({});
  });

  it('finds a function that was bound, or plugged in, a moment ago, and keeps it afterwards', async () => {
    const sysfs = new FakeSysfs();
    const { framework } = await withDriver(sysfs);
    sysfs.add(ADDRESS, { driver: 'e1000e' });
    const refused = framework.request(`pci:${ADDRESS}`);
    await expect(refused).rejects.toThrow('none of its 1 device ids');
    sysfs.unlink(`devices/pci0000:00/${ADDRESS}/driver`);
    sysfs.link(`devices/pci0000:00/${ADDRESS}/driver`, '../../../bus/pci/drivers/vfio-pci');
    const device = await framework.request(`pci:${ADDRESS}`);
    await framework.release(device);
    await until(() => framework.devices().map(({ state }) => state)[0] === 'unbound');
  });

  it('that is wrong, or nobody’s, gets an error that says what there is', async () => {
    const sysfs = new FakeSysfs();
    sysfs.add(ADDRESS);
    sysfs.add('0000:04:00.0', { class: '0x010802' });
    sysfs.add('10000:01:00.0');
    const { framework } = await start(sysfs);
    const answer = (name: string) => framework.request(name).catch((error: Error) => error.message);
    expect(await answer('pci:eth0')).toContain('it has no PCI address; write pci:');
    expect(await answer('pci:03:00.0,queues=0')).toContain('queues=0 is not a whole number from 1 to 128');
    expect(await answer('pci:03:00.0,colour=red')).toContain('it has no option "colour=red"');
    expect(await answer('pci:04:00.0')).toContain('0000:04:00.0 is no network controller; there are 0000:03:00.0');
    expect(await answer('pci:20000:04:00.0')).toContain('there is no PCI function at 20000:04:00.0');
    expect(await answer('pci:10000:01:00.0')).toContain('no driver is registered');
  });

  it('ends when the function is going: it is taken back, and its wish forgotten', async () => {
    const sysfs = new FakeSysfs();
    sysfs.add(ADDRESS, { driver: 'vfio-pci' });
    const { framework, table } = await withDriver(sysfs);
    const device = await framework.request(`pci:${ADDRESS}`);
    sysfs.remove(ADDRESS);
    table.recall(ADDRESS);
    await until(() => device.state === 'removed' && framework.devices().length === 0);
    expect(table.wanted(ADDRESS)).toBeUndefined();
  });

  it('describes the function as it is now', async () => {
    const sysfs = new FakeSysfs();
    sysfs.add(ADDRESS, {
      driver: 'e1000e',
      netif: { name: 'eth1', flags: '0x1003' },
      resource: ['0x00000000fe000000 0x00000000fe01ffff 0x0000000000040200'],
    });
    const { framework } = await start(sysfs);
    expect(await framework.details(framework.devices()[0]!)).toEqual({
      kernelDriver: 'e1000e',
      interfaces: ['eth1 52:54:00:00:00:01 up'],
      bars: ['0: 131072 bytes of memory'],
    });
  });
});

describe('A uevent', () => {
  it('says what happened to which function', () => {
    expect(parseUevent(ueventBytes('add', '0000:03:00.0'))).toEqual({
      action: 'add',
      subsystem: 'pci',
      address: '0000:03:00.0',
    });
  });

  it('is about something else, or none at all', () => {
    expect(parseUevent(Buffer.from('add@/devices/virtual/net/lo\0ACTION=add\0SUBSYSTEM=net\0'))?.address).toBe('');
    expect(parseUevent(Buffer.from('libudev\0'))).toBeUndefined();
    expect(parseUevent(new Uint8Array(0))).toBeUndefined();
  });
});
