import { describe, expect, it } from 'vitest';
import { fullAddress, isNetwork, readFunction, readFunctions } from '../../lib/pci/device.ts';
import { FakeSysfs } from '../fakes/sysfs.ts';

describe('A PCI function', () => {
  it('is read from sysfs whole', () => {
    const sysfs = new FakeSysfs();
    sysfs.add('0000:01:00.0', {
      ...{ vendor: '0x8086', device: '0x10d3', driver: 'e1000e', group: 7, node: 1 },
      resource: [
        '0x00000000febc0000 0x00000000febdffff 0x0000000000040200',
        '0x0000000000000000 0x0000000000000000 0x0000000000000000',
        '0x000000000000c040 0x000000000000c05f 0x0000000000040101',
        '0x000000fffe000000 0x000000fffe003fff 0x000000000014220c',
      ],
      netif: { name: 'eth1', flags: '0x1003' },
    });
    expect(readFunction(sysfs.root, '0000:01:00.0')).toEqual({
      ...{ address: '0000:01:00.0', domain: '0000', vendor: 0x8086, device: 0x10d3 },
      ...{ subsystemVendor: 0x1af4, subsystemDevice: 0x1100, class: 0x020000, revision: 1 },
      ...{ numaNode: 1, iommuGroup: 7, driver: 'e1000e', driverOverride: '' },
      bars: [
        { number: 0, bytes: 0x20000, kind: 'memory', prefetchable: false },
        { number: 2, bytes: 0x20, kind: 'io', prefetchable: false },
        { number: 3, bytes: 0x4000, kind: 'memory', prefetchable: true },
      ],
      netifs: [{ name: 'eth1', mac: '52:54:00:00:00:01', up: true }],
    });
  });

  it('may have no driver, no group, no node and no interface', () => {
    const sysfs = new FakeSysfs();
    sysfs.add('0000:02:00.0');
    expect(readFunction(sysfs.root, '0000:02:00.0')).toMatchObject({
      ...{ driver: '', iommuGroup: -1, numaNode: -1, bars: [], netifs: [] },
    });
  });

  it('has the interface of the virtio device that it carries', () => {
    const sysfs = new FakeSysfs();
    sysfs.add('0000:03:00.0', { driver: 'virtio-pci', netif: { name: 'eth0', below: 'virtio2' } });
    expect(readFunction(sysfs.root, '0000:03:00.0')?.netifs).toEqual([
      { name: 'eth0', mac: '52:54:00:00:00:01', up: false },
    ]);
  });

  it('is not there when nothing is, or half of it, or the name is no address', () => {
    const sysfs = new FakeSysfs();
    sysfs.write('devices/pci0000:00/0000:05:00.0/vendor', '0x1af4');
    sysfs.link('bus/pci/devices/0000:05:00.0', '../../../devices/pci0000:00/0000:05:00.0');
    for (const address of ['0000:04:00.0', '0000:05:00.0', '../0000:05:00.0', '']) {
      expect(readFunction(sysfs.root, address), address).toBeUndefined();
    }
    expect(readFunctions(sysfs.root)).toEqual([]);
  });

  it('is listed with the others, in the order of addresses, and told from what is no network controller', () => {
    const sysfs = new FakeSysfs();
    sysfs.add('0000:02:00.0');
    sysfs.add('0000:01:00.0', { class: '0x010802' });
    sysfs.add('0000:03:00.0', { class: '0x028000' });
    const all = readFunctions(sysfs.root);
    expect(all.map(({ address }) => address)).toEqual(['0000:01:00.0', '0000:02:00.0', '0000:03:00.0']);
    expect(all.map(isNetwork)).toEqual([false, true, true]);
    expect(readFunctions('/nowhere')).toEqual([]);
  });
});

it.each([
  ['0000:01:00.0', '0000:01:00.0'],
  ['01:00.0', '0000:01:00.0'],
  ['0000:0A:1F.7', '0000:0a:1f.7'],
  ['10000:e1:00.0', '10000:e1:00.0'],
  ['01:00.8', undefined],
  ['1:00.0', undefined],
  ['eth0', undefined],
  ['', undefined],
  ['../01:00.0', undefined],
])('The address %s is %s', (text, address) => {
  expect(fullAddress(text)).toBe(address);
});
