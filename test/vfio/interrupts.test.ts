import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { LOOK_MS } from '../../lib/pci/access.ts';
import type { InterruptKind } from '../../lib/pci/devio.ts';
import { VfioDevice } from '../../lib/vfio/device.ts';
import { thrown } from '../fakes/errors.ts';
import { FakeVfio } from '../fakes/vfio.ts';
import { type FakeDeviceOptions, FakeVfioDevice } from '../fakes/vfio-device.ts';

const ADDRESS = '0000:01:00.0';

function world(options: FakeDeviceOptions = {}) {
  const vfio = new FakeVfio();
  const { kernel } = vfio;
  const fake = vfio.add(ADDRESS, 4, options);
  const fd = kernel.adopt({ ...fake.file('device', () => {}), fd: fake.regions() });
  const device = new VfioDevice(kernel, fd, ADDRESS);
  /** Which of the fds were signalled since the last time it was asked. */
  const watch = (fds: readonly number[]) => {
    const epolls = fds.map((one) => {
      const epoll = kernel.native.epollCreate();
      onTestFinished(() => kernel.native.close(epoll));
      kernel.native.epollAdd(epoll, one);
      return epoll;
    });
    return () => epolls.flatMap((epoll, i) => (kernel.native.epollWait(epoll, 0) > 0 ? [i] : []));
  };
  return { kernel, fake, device, watch };
}

describe('Interrupts', () => {
  it('each signal an fd of their own, until they are turned off', () => {
    for (const [kind, count] of [
      ['msix', 5],
      ['msix', 2],
      ['msi', 1],
      ['intx', 1],
    ] as const) {
      const { kernel, fake, device, watch } = world();
      const interrupts = device.interrupts();
      expect(interrupts.vectors).toEqual({ msix: 5, msi: 1, intx: 1 });
      const on = interrupts.enable(kind, count);
      expect(on.fds).toHaveLength(count);
      expect(fake.irq).toMatchObject({ kind: FakeVfioDevice.KINDS[kind], fds: on.fds });
      const signalled = watch(on.fds);
      for (let vector = 0; vector < count; vector++) {
        expect(fake.interrupt(vector)).toBe(true);
        expect(signalled()).toEqual([vector]);
      }
      interrupts.disable();
      interrupts.disable();
      expect(fake.irq).toBeUndefined();
      expect(kernel.opened).toEqual(['device']);
    }
  });

  it('of the line are masked at each until they are unmasked', () => {
    const { kernel, fake, device, watch } = world();
    const interrupts = device.interrupts();
    const on = interrupts.enable('intx', 1);
    const signalled = watch(on.fds);
    expect([fake.interrupt(), signalled(), fake.interrupt(), signalled()]).toEqual([true, [0], false, []]);
    kernel.native.notify(on.unmask);
    expect([fake.interrupt(), signalled()]).toEqual([true, [0]]);
    expect(on.unmask).toBeGreaterThan(0);
    expect(interrupts.enable('msix', 1).unmask).toBe(-1);
  });

  it('of another kind replace those that are on', () => {
    const { kernel, fake, device } = world();
    const interrupts = device.interrupts();
    const kinds: InterruptKind[] = ['msix', 'intx', 'msi', 'msix'];
    for (const kind of kinds) {
      interrupts.enable(kind, 1);
      expect(fake.irq?.kind).toBe(FakeVfioDevice.KINDS[kind]);
      expect(kernel.opened).toHaveLength(kind === 'intx' ? 3 : 2);
    }
  });

  it('are not turned on as more, fewer or others than there are', () => {
    const { fake, device } = world({ msi: 0 });
    const interrupts = device.interrupts();
    for (const [kind, count] of [
      ['msix', 6],
      ['msix', 0],
      ['msix', 1.5],
      ['msi', 1],
      ['intx', 2],
    ] as const) {
      expect(thrown(() => interrupts.enable(kind, count)).code).toBe('NO_INTERRUPTS');
    }
    expect(fake.irq).toBeUndefined();
  });

  it('that the machine has not left are an error, although the kernel calls them a success', () => {
    const { kernel, fake, device } = world({ available: 2 });
    const interrupts = device.interrupts();
    const error = thrown(() => interrupts.enable('msix', 5));
    expect(error.code).toBe('NO_INTERRUPTS');
    expect(error.message).toBe('5 vectors of 0000:01:00.0: the machine has 2 left for it; ask for fewer');
    expect([fake.irq, kernel.opened]).toEqual([undefined, ['device']]);
    expect(interrupts.enable('msix', 2).fds).toHaveLength(2);
  });

  it('that cannot be turned on leave nothing open, whichever call fails', () => {
    for (let failing = 0; ; failing++) {
      const { kernel, fake, device } = world();
      const interrupts = device.interrupts();
      kernel.restart();
      kernel.fault = (_, index) => (index === failing ? 'ENOSPC' : undefined);
      let error: unknown;
      try {
        interrupts.enable('intx', 1);
      } catch (caught) {
        error = caught;
      }
      if (error === undefined) {
        expect(failing).toBe(4); // two eventfds, and a request for each
        return;
      }
      expect(error).toMatchObject({ code: 'NO_INTERRUPTS' });
      expect([kernel.opened, fake.irq]).toEqual([['device'], undefined]);
      kernel.fault = () => undefined;
      interrupts.enable('intx', 1);
    }
  });

  it('of a device that has gone are off', () => {
    const { kernel, fake, device } = world();
    const interrupts = device.interrupts();
    interrupts.enable('msix', 3);
    fake.gone = 'ENODEV';
    interrupts.disable();
    expect(kernel.opened).toEqual(['device']);
    const other = world();
    const stuck = other.device.interrupts();
    stuck.enable('msix', 5);
    other.kernel.fault = (call) => (call.includes('SET_IRQS') ? 'EIO' : undefined);
    expect(thrown(() => stuck.disable()).code).toBe('VFIO_DEVICE');
    expect(other.kernel.opened).toEqual(['device']);
  });
});

describe('What the kernel says of a device', () => {
  const watched = (options: FakeDeviceOptions = {}) => {
    const made = world(options);
    const heard: string[] = [];
    let looks = 0;
    const news = { lost: (reason: string) => heard.push(`lost: ${reason}`), failed: (why: string) => heard.push(why) };
    const watch = made.device.watch(news, () => looks++);
    onTestFinished(() => watch.close());
    return { ...made, watch, heard, looks: () => looks };
  };

  it('is told once for each time that it says so', async () => {
    const { kernel, fake, heard, watch, looks } = watched();
    expect(fake.tell('error')).toBe(true);
    await sleep(3 * LOOK_MS);
    expect(heard).toEqual(['it reported an error that it could not correct (PCI Express AER)']);
    fake.tell('request');
    await sleep(3 * LOOK_MS);
    expect(heard.slice(1)).toEqual(['lost: the kernel wants it back: it is being removed, or bound to another driver']);
    expect(looks()).toBeGreaterThan(1);
    watch.close();
    watch.close();
    expect(kernel.opened).toEqual(['device']);
    const before = looks();
    await sleep(2 * LOOK_MS);
    expect(looks()).toBe(before);
  });

  it('is not watched for what the kernel does not know', () => {
    const { kernel, fake } = watched({ pcie: false });
    expect(kernel.opened).toEqual(['device', 'epoll', 'eventfd']);
    expect(fake.tell('error')).toBe(false);
    expect(fake.tell('request')).toBe(true);
  });

  it('is an error, and nothing is left open, when it cannot be watched', () => {
    for (let failing = 0; ; failing++) {
      const { kernel, device } = world();
      kernel.restart();
      kernel.fault = (_, index) => (index === failing ? 'EMFILE' : undefined);
      let watch: { close(): void };
      try {
        watch = device.watch({ lost: () => {}, failed: () => {} }, () => {});
      } catch (error) {
        expect(error).toMatchObject({ code: 'VFIO_DEVICE' });
        expect(kernel.opened).toEqual(['device']);
        continue;
      }
      kernel.fault = () => undefined;
      expect(failing).toBe(10); // for each of two: count, epoll, eventfd, add, request
      watch.close();
      return;
    }
  });
});
