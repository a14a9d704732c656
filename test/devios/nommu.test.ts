import { readFileSync } from 'node:fs';
import { describe, expect, it, onTestFinished } from 'vitest';
import type { Arena } from '../../lib/arena/arena.ts';
import { FramePool } from '../../lib/arena/frame-pool.ts';
import { nommuDevios } from '../../lib/devios/nommu.ts';
import { FrameAddresses, PhysicalDeviceMemory } from '../../lib/devios/physical-memory.ts';
import { factsOf } from '../../lib/enumerators/pci.ts';
import { DevioError } from '../../lib/errors.ts';
import type { Device, DevioProvider } from '../../lib/framework/types.ts';
import { readFunction } from '../../lib/pci/device.ts';
import type { PciDevio } from '../../lib/pci/devio.ts';
import type { Keeper } from '../../lib/pci/keeper.ts';
import { HUGE_PAGE, type Pagemap, PhysicalMemory } from '../../lib/pci/physical.ts';
import { vfioKernel } from '../../lib/vfio/kernel.ts';
import { thrown } from '../fakes/errors.ts';
import { countFds } from '../fakes/fds.ts';
import { fakePagemap, hugeArena } from '../fakes/pagemap.ts';
import { FakePciView } from '../fakes/pci-view.ts';
import type { FakeFunction } from '../fakes/sysfs.ts';
import { FakeUio } from '../fakes/uio.ts';

const API = { name: 'pci', version: 1 };
/** Huge pages lie in the reverse of their order, so that no two follow each other. */
const reversed = fakePagemap((n) => 2 ** 30 - n);

interface World {
  readonly uio: FakeUio;
  readonly arena: Arena;
  readonly view: FakePciView;
  readonly device: () => Device;
  readonly provider: (backend: string) => DevioProvider;
  readonly open: () => PciDevio;
}

interface WorldOptions {
  readonly made?: FakeFunction;
  readonly hugepages?: 'need' | 'no';
  readonly pagemap?: Pagemap;
  readonly keeper?: Keeper;
}

function world(options: WorldOptions = {}): World {
  const { made = {}, hugepages = 'need', pagemap = reversed, keeper } = options;
  const uio = new FakeUio(made);
  const { arena } = hugeArena();
  const frames = new FramePool(arena, { frames: 2048, hugepages });
  const view = new FakePciView({ 'unsafe-dma': true });
  const { native, sysfs, dev } = uio.place;
  const vfio = { kernel: vfioKernel(native), sysfs, dev: `${dev}/vfio`, memlock: 0 };
  const providers = nommuDevios(arena, frames, view, API, keeper, { vfio, dev, pagemap });
  const device = () =>
    ({ address: uio.address, facts: factsOf(readFunction(sysfs, uio.address)!) }) as unknown as Device;
  const provider = (backend: string) => providers.find((one) => one.backend === backend)!;
  const open = () => {
    const devio = provider('uio').open(device()) as PciDevio;
    onTestFinished(() => devio.close());
    return devio;
  };
  return { uio, arena, view, device, provider, open };
}

/** What the back ends say of the function. */
function answers({ provider, device }: World): Record<string, unknown> {
  return Object.fromEntries(['vfio-noiommu', 'uio'].map((name) => [name, provider(name).usable(device())]));
}

describe('The back ends of devio-nommu', () => {
  it('have each the function that its kernel driver has, and say why the other has it not', () => {
    expect(answers(world())).toEqual({
      'vfio-noiommu':
        'kernel driver uio_pci_generic has it; bind it: linecard bind 0000:01:00.0 vfio-pci --noiommu-mode',
      uio: true,
    });
    const vfio = world({ made: { driver: 'vfio-pci', group: 4 } });
    vfio.uio.sysfs.write('kernel/iommu_groups/4/name', 'vfio-noiommu');
    expect(answers(vfio)).toEqual({
      'vfio-noiommu': true,
      uio: 'kernel driver vfio-pci has it; bind it: linecard bind 0000:01:00.0 uio_pci_generic',
    });
    expect(answers(world({ made: { driver: 'vfio-pci' } }))['vfio-noiommu']).toMatch(/vfio has made no group of it/);
    expect(answers(world({ made: { driver: 'e1000e' } }))['vfio-noiommu']).toMatch(/^kernel driver e1000e has it/);
  });

  it('refuse what is behind an IOMMU, whatever was asked for', () => {
    const behind = (driver: string) => answers(world({ made: { driver, group: 4 } }));
    const why =
      'an IOMMU is in front of it (group 4), which would be of no use then; bind it to vfio-pci for devio-iommu';
    expect(behind('uio_pci_generic').uio).toBe(why);
    expect(behind('vfio-pci')['vfio-noiommu']).toBe(why);
  });

  it('take nothing that nobody asked for, nor without the option that says what it risks', () => {
    const made = world();
    made.view.wishes = undefined;
    expect(answers(made).uio).toBe('nobody asked for it: open pci:0000:01:00.0');
    for (const wishes of [{}, { 'unsafe-dma': false }]) {
      made.view.wishes = wishes;
      expect(answers(made).uio).toMatch(/can write to all memory of the machine.*pci:0000:01:00.0,unsafe-dma=1$/);
    }
  });

  it('need frames in huge pages', () => {
    expect(answers(world({ hugepages: 'no' })).uio).toBe(
      'frames are in ordinary pages, whose physical addresses change; use huge pages: --hugepages need',
    );
  });
});

/** A keeper that notes what it is told, and what the function's command register was then. */
class FakeKeeper implements Keeper {
  readonly log: string[] = [];
  uio: FakeUio | undefined;
  fails: Error | undefined;
  memory = 0;
  /** It answers a release only when it is told to. */
  silent = false;
  private released = () => {};

  keep({ address, backend, configFile, fd }: Parameters<Keeper['keep']>[0], memory: Parameters<Keeper['keep']>[1]) {
    if (this.fails !== undefined) throw this.fails;
    expect([configFile.position, configFile.fd === fd]).toEqual([0, false]);
    this.memory = memory.length;
    this.log.push(`keep ${address} ${backend}, command ${this.uio!.command}`);
  }
  release(address: string): Promise<void> {
    this.log.push(`release ${address}, command ${this.uio!.command}, resets ${this.uio!.resets}`);
    return this.silent ? new Promise((resolve) => (this.released = resolve)) : Promise.resolve();
  }
  answer = () => this.released();
  onLost = () => {};
}

describe('With a keeper, a function', () => {
  const kept = () => {
    const keeper = new FakeKeeper();
    const made = world({ keeper });
    keeper.uio = made.uio;
    return { ...made, keeper };
  };

  it('is handed over before it may use memory, and again with memory that is new since then', () => {
    const { open, keeper, uio, arena } = kept();
    const devio = open();
    devio.allocateShared(4096, 4096);
    expect(keeper.log).toEqual([]);
    devio.setBusMaster(true);
    expect(keeper.log).toEqual([`keep ${uio.address} uio, command 2`]);
    const before = keeper.memory;
    devio.allocateShared(HUGE_PAGE - 4096, 4096);
    expect(keeper.log.at(-1)).toBe(`keep ${uio.address} uio, command 6`);
    expect(keeper.memory).toBeGreaterThan(before);
    expect(keeper.memory).toBe(arena.mapped().length);
    devio.setBusMaster(false);
    devio.allocateShared(HUGE_PAGE - 4096, 4096);
    expect(keeper.log).toHaveLength(2);
  });

  it('whose keeper has gone may not use memory', () => {
    const { open, keeper, uio } = kept();
    const devio = open();
    keeper.fails = new DevioError('KEEPER_LOST', { what: 'keeper', why: 'gone', fix: 'none' });
    expect(thrown(() => devio.setBusMaster(true)).code).toBe('KEEPER_LOST');
    expect(uio.command).toBe(2);
  });

  it('is released when it has been stopped, and closed when the keeper has closed it', async () => {
    const { open, keeper, uio } = kept();
    const devio = open();
    devio.setBusMaster(true);
    keeper.silent = true;
    let closed = false;
    const closing = Promise.resolve(devio.close()).then(() => {
      closed = true;
    });
    expect(keeper.log.at(-1)).toBe(`release ${uio.address}, command 2, resets 1`);
    await new Promise((resolve) => setTimeout(resolve, 10));
    expect(closed).toBe(false);
    keeper.answer();
    await closing;
    await devio.close();
  });
});

describe('A function on UIO', () => {
  it('is opened with memory space on and bus master off, and closed with both it and its line off, reset', () => {
    const made = world();
    made.uio.command = 0x0004;
    const devio = made.open();
    expect(devio).toMatchObject({ backend: 'uio', address: '0000:01:00.0', vectors: { msix: 0, msi: 0, intx: 1 } });
    expect(made.uio.command).toBe(0x0002);
    devio.enableInterrupts('intx', 1);
    devio.setBusMaster(true);
    expect(made.uio.command).toBe(0x0006);
    devio.close();
    devio.close();
    expect(made.uio.command).toBe(0x0402);
    expect(made.uio.resets).toBe('1');
    expect(made.view.log).toEqual(['take', 'unwant']);
  });

  it('has its registers in the arena', () => {
    const made = world();
    const devio = made.open();
    const bar = devio.bar(0);
    bar.registers.put32(0x38 as never, 0x1234_5678);
    const path = `${made.uio.sysfs.root}/bus/pci/devices/${made.uio.address}/resource0`;
    expect(readFileSync(path).readUInt32LE(0x38)).toBe(0x1234_5678);
    for (const number of [1, 2, 3, 6, -1]) expect(thrown(() => devio.bar(number)).code).toBe('NO_BAR');
  });

  it('is told the physical address of each frame, and of each byte of its rings', () => {
    const { open, arena } = world();
    const devio = open();
    const { base, count, frameSize } = devio.frames.plan;
    const words = new Uint32Array(arena.memory, devio.frameAddresses, count * 2);
    const start = arena.native.addressRemainder(arena.u8, 2 ** 47) + base;
    for (const i of [0, 1, 1023, 1024, 2047]) {
      const at = start + i * frameSize;
      const place = BigInt(2 ** 30 - Math.floor(at / HUGE_PAGE)) * BigInt(HUGE_PAGE) + BigInt(at % HUGE_PAGE);
      expect((BigInt(words[i * 2 + 1]!) << 32n) | BigInt(words[i * 2]!)).toBe(place);
    }
    const ring = devio.allocateShared(65_536, 4096);
    const address = devio.addressOf(ring);
    expect(address % 4096n).toBe(0n);
    expect(devio.addressOf(ring + 65_535) - address).toBe(65_535n);
    expect(address >> 32n).toBeGreaterThan(0n);
    const own = devio.allocate(64);
    expect(thrown(() => devio.addressOf(own)).code).toBe('ADDRESS_REFUSED');
  });

  it('gets no ring that does not lie in one piece', () => {
    const { open, arena } = world();
    const devio = open();
    const { used } = arena;
    const error = thrown(() => devio.allocateShared(3 * HUGE_PAGE, 4096));
    expect(error.code).toBe('ADDRESS_REFUSED');
    expect(error.message).toMatch(/the huge pages that there are do not follow each other/);
    expect(arena.used).toEqual(used);
    const inOrder = world({ pagemap: fakePagemap((n) => n) }).open();
    const ring = inOrder.allocateShared(3 * HUGE_PAGE, 4096);
    expect(inOrder.addressOf(ring + 3 * HUGE_PAGE - 1) - inOrder.addressOf(ring)).toBe(BigInt(3 * HUGE_PAGE - 1));
  });

  it('is not opened when addresses are not to be known, and nothing stays open', () => {
    const hidden = fakePagemap(
      () => 0,
      () => 1n << 63n,
    );
    const made = world({ pagemap: hidden });
    const { used } = made.arena;
    const before = countFds('linecard-sysfs-');
    expect(thrown(() => made.open()).message).toMatch(/the kernel does not tell it to this process/);
    expect(made.arena.used).toEqual(used);
    expect(countFds('linecard-sysfs-')).toBe(before);
    expect(made.view.log).toEqual(['take', 'unwant']);
  });

  it('is not opened when it does not answer', () => {
    const made = world();
    made.uio.put(0, 0xff, 0xff, 0xff, 0xff);
    const { used } = made.arena;
    expect(thrown(() => made.open()).code).toBe('DEVICE_LOST');
    expect(made.arena.used).toEqual(used);
  });

  it('is let be when another kernel driver has it by now', () => {
    const made = world();
    const devio = made.open();
    devio.enableInterrupts('intx', 1);
    devio.setBusMaster(true);
    made.uio.rebind('virtio-pci');
    const { command } = made.uio;
    devio.force?.();
    devio.close();
    expect([made.uio.command, made.uio.resets]).toEqual([command, '']);
  });

  it('stops before its memory goes when the process ends: its file has the highest number', () => {
    const made = world();
    const devio = made.open();
    devio.allocateShared(4096, 4096);
    const files = countFds('/dev/uio3');
    devio.setBusMaster(true);
    devio.setBusMaster(true);
    expect(countFds('/dev/uio3')).toBe(files + 1);
    devio.close();
    expect(countFds('/dev/uio3')).toBe(files - 1);
  });
});

describe('The table of frame addresses', () => {
  it('is one for all devices, and goes with the last', () => {
    const { arena, base } = hugeArena();
    const frames = new FramePool(arena, { frames: 1024, hugepages: 'need' });
    const physical = new PhysicalMemory(base, reversed);
    const addresses = new FrameAddresses(arena, frames, physical);
    const { used } = arena;
    const [a, b] = [1, 2].map(() => new PhysicalDeviceMemory(arena, physical, addresses));
    expect(a!.frameAddresses).toBe(b!.frameAddresses);
    a!.allocate(4096, 4096);
    for (const one of [a, a, b]) one!.close();
    expect(arena.used).toEqual(used);
  });
});
