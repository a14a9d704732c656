import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { PciTable, pciClass } from '../../lib/enumerators/pci.ts';
import { Framework } from '../../lib/framework/framework.ts';
import { parseUevent } from '../../lib/pci/uevents.ts';
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

  it('end when events cannot be had: at once, or with a word to whoever listens', async () => {
    const { kernel, failures, table } = await start();
    kernel.queue.push(5); // EIO
    table.look();
    expect(String(failures[0])).toContain("reading the kernel's device events");
    const refused = new FakeUevents();
    refused.bindError = 1;
    const { framework } = await start(new FakeSysfs(), refused);
    expect([framework.enumerators(), refused.open.size]).toEqual([[], 0]);
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
