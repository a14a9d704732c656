import { existsSync, mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Binder } from '../../lib/pci/binding.ts';
import { readRecord } from '../../lib/pci/records.ts';
import { FakeBinderKernel } from '../fakes/binder-kernel.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { rejection } from '../fakes/framework.ts';

const folder = temporaryFolder();
const CARD = '0000:01:00.0';
let made = 0;

function world() {
  const kernel = new FakeBinderKernel();
  const records = folder(`records-${made++}`);
  return { kernel, records, binder: new Binder(kernel, records) };
}

describe('A function that an engine has open', () => {
  it('is neither bound nor given back, forced or not', async () => {
    const { kernel, binder } = world();
    kernel.add(CARD);
    await binder.bind(CARD, 'uio_pci_generic');
    kernel.open.add(CARD);
    const { log } = kernel;
    const before = [...log];
    for (const attempt of [() => binder.unbind(CARD), () => binder.bind(CARD, 'e1000e', { force: true })]) {
      const error = await rejection(attempt());
      expect(error).toMatchObject({ code: 'IN_USE', message: expect.stringContaining('an engine has it open') });
    }
    expect(log).toEqual(before);
    kernel.open.clear();
    await expect(binder.unbind(CARD)).resolves.toMatchObject({ driver: 'e1000e' });
  });
});

describe('bind', () => {
  it('loads the driver, notes what was before, and has the kernel bind this function alone', async () => {
    const { kernel, records, binder } = world();
    kernel.add(CARD);
    await expect(binder.bind(CARD, 'vfio-pci')).resolves.toEqual({
      address: CARD,
      driver: 'vfio-pci',
      before: 'e1000e',
    });
    expect(kernel.log).toEqual([
      'modprobe vfio-pci',
      `bus/pci/devices/${CARD}/driver_override vfio-pci`,
      `bus/pci/devices/${CARD}/driver/unbind ${CARD}`,
      `bus/pci/drivers_probe ${CARD}`,
    ]);
    expect(readRecord(records, CARD)).toEqual({
      ...{ address: CARD, driver: 'e1000e', driverOverride: '' },
      netifs: [{ name: 'eth0', mac: '52:54:00:00:00:01', up: false }],
    });
    expect(binder.recorded()).toEqual([CARD]);
  });

  it('does nothing when the driver has the function already', async () => {
    const { kernel, binder } = world();
    kernel.add(CARD, { driver: 'vfio-pci' });
    await expect(binder.bind(CARD, 'vfio-pci')).resolves.toMatchObject({ before: 'vfio-pci' });
    expect([kernel.log, binder.recorded()]).toEqual([[], []]);
  });

  it('takes a function that no driver has', async () => {
    const { kernel, binder } = world();
    kernel.add(CARD, { driver: '' });
    await binder.bind(CARD, 'vfio-pci');
    expect(kernel.cards.get(CARD)!.driver).toBe('vfio-pci');
    expect(kernel.log.some((line) => line.includes('unbind'))).toBe(false);
  });

  it.each([
    ['a default route', { addresses: [], defaultRoute: true }, false, 'a default route leaves by it'],
    ['addresses', { addresses: ['10.0.0.1/24'], defaultRoute: false }, false, 'it has addresses (10.0.0.1/24)'],
    ['being up', { addresses: [], defaultRoute: false }, true, 'it is up'],
  ])('refuses an interface in use: %s, unless forced', async (_, use, up, why) => {
    const { kernel, binder } = world();
    kernel.add(CARD);
    kernel.used.set('eth0', use);
    kernel.interfaces.get('eth0')!.up = up;
    const error = await rejection(binder.bind(CARD, 'vfio-pci'));
    expect(error).toMatchObject({ code: 'IN_USE' });
    expect(String(error)).toContain(why);
    expect([kernel.log, binder.recorded()]).toEqual([[], []]);
    await binder.bind(CARD, 'vfio-pci', { force: true });
    expect(kernel.cards.get(CARD)!.driver).toBe('vfio-pci');
  });

  it('refuses what is no function, no network controller, no driver', async () => {
    const { kernel, binder } = world();
    kernel.add(CARD);
    kernel.add('0000:02:00.0', { class: 0x010802 });
    expect(await rejection(binder.bind('0000:09:00.0', 'vfio-pci'))).toMatchObject({ code: 'NO_SUCH_FUNCTION' });
    expect(await rejection(binder.bind('0000:02:00.0', 'vfio-pci'))).toMatchObject({ code: 'NOT_NETWORK' });
    expect(await rejection(binder.bind(CARD, 'nothing'))).toMatchObject({ code: 'NO_SUCH_DRIVER' });
    expect(await rejection(binder.bind(CARD, '../x'))).toMatchObject({ code: 'NO_SUCH_DRIVER' });
    expect(kernel.cards.get(CARD)!.driver).toBe('e1000e');
  });

  it('puts everything back when the new driver does not take the function', async () => {
    const { kernel, binder } = world();
    kernel.add(CARD, { iommuGroup: -1 });
    kernel.refusing.add('vfio-pci');
    const error = await rejection(binder.bind(CARD, 'vfio-pci'));
    expect(String(error)).toContain('vfio-pci did not take it; there is no IOMMU in front of it');
    expect(kernel.cards.get(CARD)).toMatchObject({ driver: 'e1000e', driverOverride: '' });
    expect(binder.recorded()).toEqual([]);
  }, 15_000);

  it.each(['driver_override', 'driver/unbind', 'drivers_probe'])(
    'puts everything back when writing %s fails',
    async (part) => {
      const { kernel, binder } = world();
      kernel.add(CARD);
      kernel.failing.set(part, 'EACCES');
      const error = await rejection(binder.bind(CARD, 'vfio-pci'));
      expect(error).toMatchObject({ code: 'NOT_BOUND' });
      expect(String(error)).toContain('run as root');
      if (part !== 'drivers_probe') expect(kernel.cards.get(CARD)!.driver).toBe('e1000e');
    },
  );

  it('switches vfio to no-IOMMU mode only when asked, and says when this kernel cannot', async () => {
    const { kernel, binder } = world();
    kernel.add(CARD);
    kernel.noiommu = 'off';
    await binder.bind(CARD, 'vfio-pci');
    expect(kernel.noiommu).toBe('off');
    await binder.unbind(CARD);
    await binder.bind(CARD, 'vfio-pci', { noiommu: true });
    expect(kernel.noiommu).toBe('on');
    await binder.unbind(CARD);
    kernel.noiommu = 'absent';
    expect(await rejection(binder.bind(CARD, 'vfio-pci', { noiommu: true }))).toMatchObject({ code: 'NO_NOIOMMU' });
    expect(kernel.cards.get(CARD)!.driver).toBe('e1000e');
  });
});

describe('unbind', () => {
  it('gives the function back as it was: driver, override, address and state of its interface', async () => {
    const { kernel, records, binder } = world();
    kernel.add(CARD);
    Object.assign(kernel.interfaces.get('eth0')!, { mac: '02:00:00:00:00:99', up: true });
    await binder.bind(CARD, 'vfio-pci', { force: true });
    await expect(binder.unbind(CARD)).resolves.toEqual({ address: CARD, driver: 'e1000e', before: 'vfio-pci' });
    expect(kernel.cards.get(CARD)).toMatchObject({ driver: 'e1000e', driverOverride: '' });
    expect(kernel.interfaces.get('eth0')).toEqual({ mac: '02:00:00:00:00:99', up: true });
    expect(readdirSync(records)).toEqual([]);
  });

  it('gives an interface that had been renamed its name back', async () => {
    const { kernel, binder } = world();
    kernel.add(CARD);
    kernel.rename('eth0', 'lan7');
    await binder.bind(CARD, 'vfio-pci');
    await binder.unbind(CARD);
    expect([...kernel.interfaces.keys()]).toEqual(['lan7']);
  });

  it('leads to what was before the first of several bindings', async () => {
    const { kernel, binder } = world();
    kernel.add(CARD);
    await binder.bind(CARD, 'vfio-pci');
    await binder.bind(CARD, 'uio_pci_generic');
    await binder.unbind(CARD);
    expect(kernel.cards.get(CARD)!.driver).toBe('e1000e');
  });

  it('leaves a function without a driver that had none', async () => {
    const { kernel, binder } = world();
    kernel.add(CARD, { driver: '' });
    await binder.bind(CARD, 'vfio-pci');
    await binder.unbind(CARD);
    expect(kernel.cards.get(CARD)).toMatchObject({ driver: '', driverOverride: '' });
  });

  it('refuses a function that was not bound by us, and a record that is none', async () => {
    const { kernel, records, binder } = world();
    kernel.add(CARD);
    expect(await rejection(binder.unbind(CARD))).toMatchObject({ code: 'NOT_RECORDED' });
    mkdirSync(records, { recursive: true });
    for (const text of [
      '',
      '{}',
      '[]',
      'null',
      `{"version":1,"address":"${CARD}","driver":"../x","driverOverride":"","netifs":[]}`,
    ]) {
      writeFileSync(join(records, `${CARD}.json`), text);
      expect(await rejection(binder.unbind(CARD)), text).toMatchObject({ code: 'BAD_RECORD' });
      expect(existsSync(join(records, `${CARD}.json`))).toBe(true);
    }
    expect(kernel.log).toEqual([]);
  });

  it('can be repeated when it failed half way: the record stays until all is as before', async () => {
    const { kernel, binder } = world();
    kernel.add(CARD);
    await binder.bind(CARD, 'vfio-pci');
    kernel.failing.set('drivers_probe', 'EIO');
    expect(await rejection(binder.unbind(CARD))).toMatchObject({ code: 'NOT_BOUND' });
    expect(binder.recorded()).toEqual([CARD]);
    kernel.failing.clear();
    await binder.unbind(CARD);
    expect(kernel.cards.get(CARD)!.driver).toBe('e1000e');
  });
});
