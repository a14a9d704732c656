import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { UioFunction } from '../../lib/uio/function.ts';
import { loadNative } from '../../native/index.ts';
import { thrown } from '../fakes/errors.ts';
import { countFds } from '../fakes/fds.ts';
import { FakeUio } from '../fakes/uio.ts';

function opened(uio: FakeUio): UioFunction {
  const made = new UioFunction(uio.place, uio.address);
  onTestFinished(() => made.close());
  return made;
}

describe('A function that uio_pci_generic has', () => {
  it('has its configuration space, and memory BARs as files that can be mapped', () => {
    const uio = new FakeUio();
    const made = opened(uio);
    expect([made.config.size, made.config.read(0, 32), made.config.read(0, 16)]).toEqual([4096, 0x10d3_8086, 0x8086]);
    made.config.write(4, 16, 6);
    expect(uio.command).toBe(6);
    expect(made.region(0)).toMatchObject({ bytes: 0x2_0000, areas: [{ at: 0, length: 0x2_0000, fdOffset: 0 }] });
    // None; ports; less than a page, which may hold the registers of others.
    expect(made.region(1)).toMatchObject({ bytes: 0, areas: [] });
    expect(made.region(2)).toMatchObject({ bytes: 32, areas: [] });
    expect(made.region(3)).toMatchObject({ bytes: 512, areas: [] });
  });

  it('is opened once, and closes what it opened', () => {
    const uio = new FakeUio();
    const before = countFds('linecard-sysfs-');
    const made = new UioFunction(uio.place, uio.address);
    expect(thrown(() => new UioFunction(uio.place, uio.address))).toMatchObject({
      code: 'UIO_BUSY',
      message: 'device 0000:01:00.0: another engine has it; end that one first',
    });
    made.region(0);
    made.close();
    made.close();
    expect(countFds('linecard-sysfs-')).toBe(before);
    opened(uio);
  });

  it('says what is missing, and leaves nothing open then', () => {
    const before = countFds('linecard-sysfs-');
    const unbound = new FakeUio().without('uio');
    expect(thrown(() => new UioFunction(unbound.place, unbound.address))).toMatchObject({
      code: 'UIO_OPEN',
      message: 'device 0000:01:00.0: it has no UIO device; bind it: linecard bind 0000:01:00.0 uio_pci_generic',
    });
    const deviceless = new FakeUio();
    rmSync(join(deviceless.place.dev, 'uio3'));
    expect(thrown(() => new UioFunction(deviceless.place, deviceless.address)).message).toMatch(/uio3: .*ENOENT/);
    const gone = new FakeUio().without('config');
    expect(thrown(() => new UioFunction(gone.place, gone.address)).code).toBe('UIO_OPEN');
    expect(countFds('linecard-sysfs-')).toBe(before);
  });

  it('is reset when the kernel has a way', () => {
    const uio = new FakeUio();
    opened(uio).reset();
    expect(uio.resets).toBe('1');
    const other = new FakeUio().without('reset');
    const made = opened(other);
    expect(made.resettable).toBe(false);
    expect(thrown(() => made.reset()).code).toBe('NO_RESET');
  });

  it('interrupts by its line alone, which one byte lets rise again', () => {
    const uio = new FakeUio();
    const made = opened(uio);
    const interrupts = made.interrupts();
    expect(interrupts.vectors).toEqual({ msix: 0, msi: 0, intx: 1 });
    uio.command = 0x0506;
    const on = interrupts.enable('intx', 1);
    expect(on).toMatchObject({ kind: 'intx', fds: [made.fd] });
    expect(uio.command).toBe(0x0106);
    // The kernel masks it at an interrupt; meanwhile somebody has switched bus master.
    uio.command = 0x0502;
    loadNative().notify(on.unmask);
    expect(uio.command).toBe(0x0102);
    interrupts.disable();
    interrupts.disable();
    expect(uio.command).toBe(0x0502);
    for (const [kind, count] of [
      ['msix', 1],
      ['msi', 1],
      ['intx', 2],
      ['intx', 0],
    ] as const) {
      expect(thrown(() => interrupts.enable(kind, count)).code).toBe('NO_INTERRUPTS');
    }
  });

  it('has no line when the kernel serves none', () => {
    const uio = new FakeUio();
    uio.sysfs.write(`devices/pci0000:00/${uio.address}/irq`, '0');
    expect(opened(uio).interrupts().vectors.intx).toBe(0);
    const pinless = new FakeUio();
    pinless.put(0x3d, 0);
    expect(opened(pinless).interrupts().vectors.intx).toBe(0);
  });

  it('a line that is not there any more is let be', () => {
    const uio = new FakeUio();
    uio.command = 0xffff;
    const on = opened(uio).interrupts().enable('intx', 1);
    uio.command = 0xffff;
    loadNative().notify(on.unmask);
    expect(uio.command).toBe(0xffff);
  });

  it('is left alone once another kernel driver has it, or it has gone', async () => {
    const uio = new FakeUio();
    const made = opened(uio);
    const interrupts = made.interrupts();
    interrupts.enable('intx', 1);
    const heard: string[] = [];
    let looks = 0;
    const watch = made.watch({ lost: (reason) => heard.push(reason), failed: () => {} }, () => looks++);
    onTestFinished(() => watch.close());
    await sleep(250);
    expect(heard).toEqual([]);
    expect(looks).toBeGreaterThan(0);
    uio.rebind('e1000e');
    await sleep(250);
    expect(heard[0]).toBe('e1000e has it now, not uio_pci_generic');
    const { command } = uio;
    interrupts.disable();
    expect(uio.command).toBe(command);
    uio.sysfs.remove(uio.address);
    expect(made.absence()).toBe('it has been removed');
    expect(made.config.read(0, 16)).toBe(0x8086); // the file is still open
  });
});
