/** What is done to a function on UIO whose files were handed over: the files are real, the function is not. */
import { openSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Custody } from '../../lib/keeper/custody.ts';
import { systemHands } from '../../lib/keeper/hands.ts';
import { KEEPER_VERSION } from '../../lib/keeper/protocol.ts';
import { UioFunction } from '../../lib/uio/function.ts';
import { thrown } from '../fakes/errors.ts';
import { openFds } from '../fakes/fds.ts';
import { FakeUio } from '../fakes/uio.ts';

/** A custody that has the function's files, and a page of memory; the engine has closed its own. */
function world() {
  const uio = new FakeUio();
  const { native, sysfs, dev } = uio.place;
  const fds = openFds().size;
  const custody = new Custody(systemHands(native, sysfs, dev));
  const folder = join(sysfs, 'bus/pci/devices', uio.address);
  const memory = native.eventfd();
  uio.command = 0x0006;
  custody.take({ type: 'hello', version: KEEPER_VERSION }, []);
  custody.take({ type: 'memory', ids: [1] }, [memory]);
  const files = [openSync(join(dev, 'uio3'), 'r+'), openSync(join(folder, 'config'), 'r+')];
  const last = openFds();
  custody.take({ type: 'function', address: uio.address, backend: 'uio', position: 0 }, files);
  return { uio, custody, memory, fds, last };
}

describe('A function on UIO that was handed over', () => {
  it('has a file that the kernel closes before the memory, is stopped, reset, and leaves nothing open', () => {
    const { uio, custody, memory, fds, last } = world();
    const [highest] = [...openFds()].filter(([fd]) => !last.has(fd));
    expect(highest).toEqual([expect.any(Number), expect.stringMatching(/uio3$/)]);
    expect(highest![0]).toBeGreaterThan(memory);
    expect(custody.settle()).toMatchObject([{ address: uio.address, errors: [], stuck: false }]);
    expect([uio.command, uio.resets, openFds().size]).toEqual([0x0002, '1', fds]);
  });

  it('is not touched when another kernel driver has it by now', () => {
    const { uio, custody, fds } = world();
    uio.rebind('e1000e');
    expect(custody.settle()).toMatchObject([{ left: 'e1000e has it now, not uio_pci_generic', errors: [] }]);
    expect([uio.command, uio.resets, openFds().size]).toEqual([0x0006, '', fds]);
  });

  it('can be opened again when it was released, and not before: the lock is with its files', () => {
    const { uio, native } = { uio: new FakeUio(), native: new FakeUio().place.native };
    const { sysfs, dev } = uio.place;
    const custody = new Custody(systemHands(native, sysfs, dev));
    custody.take({ type: 'hello', version: KEEPER_VERSION }, []);
    const engine = new UioFunction(uio.place, uio.address);
    // As the kernel makes them of what was sent: of the same open files.
    const files = [engine.fd, engine.configFd].map((fd) => {
      const copy = native.eventfd();
      native.replaceFd(copy, fd);
      return copy;
    });
    custody.take({ type: 'function', address: uio.address, backend: 'uio', position: 0 }, files);
    engine.close();
    expect(thrown(() => new UioFunction(uio.place, uio.address)).code).toBe('UIO_BUSY');
    custody.take({ type: 'release', number: 1, address: uio.address }, []);
    new UioFunction(uio.place, uio.address).close();
  });

  it('without all of its files is refused, and those that came are closed', () => {
    const { uio, native } = { uio: new FakeUio(), native: new FakeUio().place.native };
    const before = openFds().size;
    const hands = systemHands(native, uio.place.sysfs, uio.place.dev);
    const take = (backend: 'uio' | 'vfio', fds: number[]) =>
      thrown(() => hands.take({ type: 'function', address: uio.address, backend, position: 0 }, fds)).code;
    expect(take('uio', [native.eventfd()])).toBe('KEEPER_PROTOCOL');
    expect(take('vfio', [native.eventfd(), native.eventfd()])).toBe('KEEPER_PROTOCOL');
    expect(take('vfio', [native.eventfd()])).toBe('VFIO_DEVICE');
    expect(openFds().size).toBe(before);
  });
});
