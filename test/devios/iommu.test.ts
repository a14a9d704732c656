import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { Framework } from '../../lib/framework/framework.ts';
import { LOOK_MS } from '../../lib/pci/access.ts';
import { IOMMU_API, type PciDevio } from '../../lib/pci/devio.ts';
import { codeOf, thrown } from '../fakes/errors.ts';
import { FakeClass, FakeDriver, FakeEnumerator, sleep } from '../fakes/framework.ts';
import { A, B, C, type IommuBackend, IommuWorld, PCI_API } from '../fakes/iommu-world.ts';
import { sparse } from '../fakes/vfio-device.ts';

const BACKENDS: readonly IommuBackend[] = ['vfio', 'iommufd'];
const CONFIG = 7 * 2 ** 40;
const COMMAND = CONFIG + 4;

/** What both back ends do alike with an open function: from its device file on. */
const bringUp = (address: string) => {
  const device = (call: string) => `device ${address} ${call}`;
  const irqs = (n: number) => Array.from({ length: n }, () => device('GET_IRQ_INFO'));
  const watch = [device('GET_IRQ_INFO'), 'epoll', 'eventfd', 'epoll add', device('SET_IRQS')];
  return [
    ...[device('GET_INFO'), device('GET_REGION_INFO'), device(`read ${CONFIG}`)],
    // Memory space on, bus master off, read back.
    ...[device(`read ${COMMAND}`), device(`write ${COMMAND}`), device(`read ${COMMAND}`), device(`read ${CONFIG}`)],
    ...[...irqs(3), ...watch, ...watch],
  ];
};

/** Until the device file is open, and the frames mapped. */
const openings = ({ vfio: { place } }: IommuWorld): Record<IommuBackend, string[]> => ({
  vfio: [
    ...[`open ${place.dev}/vfio`, 'container GET_API_VERSION', 'container CHECK_EXTENSION', 'open log /dev/kmsg'],
    ...[`open ${place.dev}/4`, 'group 4 GET_STATUS', 'group 4 SET_CONTAINER', 'container SET_IOMMU'],
    ...['group 4 GET_DEVICE_FD', 'container IOMMU_GET_INFO', 'container IOMMU_GET_INFO', 'container MAP_DMA'],
  ],
  iommufd: [
    ...[`open ${place.iommu}`, 'iommufd IOAS_ALLOC', 'open log /dev/kmsg', `open ${place.dev}/devices/vfio0`],
    ...[`device ${A} BIND_IOMMUFD`, `device ${A} ATTACH_IOMMUFD_PT`, 'iommufd IOAS_IOVA_RANGES', 'iommufd IOAS_MAP'],
  ],
});

const LEAVINGS: Record<IommuBackend, { readonly unmap: string; readonly last: string[] }> = {
  vfio: { unmap: 'container UNMAP_DMA', last: [`close device ${A}`, 'close group 4', 'close log', 'close container'] },
  iommufd: { unmap: 'iommufd IOAS_UNMAP', last: [`close device ${A}`, 'close log', 'close iommufd'] },
};

/** Events of an open function, as text. */
function listen(devio: PciDevio): string[] {
  const heard: string[] = [];
  devio.watch({ lost: (why) => heard.push(`lost: ${why}`), failed: (why) => heard.push(`failed: ${why}`) });
  return heard;
}

/** What the call that fails is about does not matter enough to stop: the log of faults is a convenience. */
const DISPENSABLE = /log/;

describe.each(BACKENDS)('A function by %s', (backend) => {
  const world = (options: ConstructorParameters<typeof IommuWorld>[1] = {}) => new IommuWorld(backend, options);

  it('is opened in the order that the kernel demands', () => {
    const made = world();
    const devio = made.open();
    expect(made.journal).toEqual([...openings(made)[backend], ...bringUp(A)]);
    expect(devio).toMatchObject({ backend, address: A, frameAddresses: 0, vectors: { msix: 5, msi: 1, intx: 1 } });
    expect(made.a.command).toBe(2);
  });

  it('is closed in the reverse order: interrupts, bus master, reset, memory, files', () => {
    const made = world();
    const { used } = made.arena;
    const devio = made.open();
    devio.bar(0);
    devio.allocate(64);
    devio.allocateShared(4096, 4096);
    devio.setBusMaster(true);
    devio.enableInterrupts('msix', 2);
    expect(made.a.command).toBe(6);
    made.vfio.kernel.restart();
    devio.close();
    devio.close();
    const { unmap, last } = LEAVINGS[backend];
    expect(made.journal).toEqual([
      `device ${A} read ${CONFIG}`,
      ...[`device ${A} SET_IRQS`, 'close eventfd', 'close eventfd'],
      ...['read', 'write', 'read'].map((call) => `device ${A} ${call} ${COMMAND}`),
      ...[`device ${A} read ${CONFIG}`, `device ${A} RESET`],
      ...['close eventfd', 'close epoll', 'close eventfd', 'close epoll'],
      ...[unmap, unmap],
      ...last,
    ]);
    expect([made.a.commandAtClose, made.a.resets, made.vfio.kernel.opened]).toEqual([2, 1, []]);
    expect([made.arena.used, made.vfio.mapped]).toEqual([used, []]);
    expect(made.view.log).toEqual(['take', 'unwant']);
  });

  it('that cannot be opened leaves nothing behind, and can be opened then, whichever call fails', () => {
    const made = world();
    const { kernel } = made.vfio;
    const { used } = made.arena;
    const nothing = (failed: string) => {
      expect(kernel.opened, failed).toEqual([]);
      expect([made.arena.used, made.vfio.mapped, made.a.files], failed).toEqual([used, [], 0]);
      expect(made.view.log.splice(0), failed).toEqual(['take', 'unwant']);
    };
    made.open();
    const calls = [...kernel.journal];
    made.close();
    nothing('');
    expect(calls.length).toBeGreaterThan(25);
    for (const [failing, failed] of calls.entries()) {
      kernel.restart();
      kernel.fault = (_, index) => (index === failing ? 'EIO' : undefined);
      if (DISPENSABLE.test(failed)) made.open();
      else
        expect(
          codeOf(() => made.open()),
          failed,
        ).toMatch(/^(VFIO_|DMA_MAP|NO_IOMMU|DEVICE_LOST)/);
      kernel.fault = () => undefined;
      made.close();
      nothing(failed);
      made.open();
      made.close();
      nothing(failed);
    }
  });

  it('whose closing fails is closed all the same, whichever call fails', () => {
    const made = world();
    const { kernel } = made.vfio;
    for (let failing = 0, failed = 'none yet'; failed !== ''; failing++) {
      const devio = made.open();
      devio.allocateShared(4096, 4096);
      devio.setBusMaster(true);
      devio.enableInterrupts('msix', 1);
      kernel.restart();
      failed = '';
      kernel.fault = (call, index) => {
        if (index === failing) failed = call;
        return index === failing ? 'EIO' : undefined;
      };
      try {
        devio.close();
      } catch (error) {
        expect((error as Error).message, failed).toMatch(/EIO|does not answer/);
      }
      kernel.fault = () => undefined;
      expect(kernel.opened, failed).toEqual([]);
      expect([made.a.command & 4, made.vfio.mapped], failed).toEqual([0, []]);
    }
  });

  it('reaches frames and rings at their arena offsets, as long as bus master is on, and nothing else', () => {
    const made = world();
    const devio = made.open();
    const { offset, length } = made.frames.segment;
    const ring = devio.allocateShared(8192, 4096);
    expect(devio.addressOf(ring)).toBe(BigInt(ring));
    expect(made.a.put(ring, 1)).toBe(false);
    devio.setBusMaster(true);
    for (const at of [offset, offset + length - 1, ring, ring + 8191]) {
      expect(made.a.put(at, 0x5a)).toBe(true);
      expect(made.arena.u8[at]).toBe(0x5a);
    }
    for (const at of [0, offset - 1, devio.allocate(64), 0x7000_0000]) expect(made.a.put(at, 0x5a)).toBe(false);
    devio.freeShared(ring);
    devio.close();
    expect(made.a.put(offset, 1)).toBe(false);
  });

  it('shares frames and rings with the engine’s others: they are mapped once, and go with the last', () => {
    const made = world();
    const [a, b] = [made.open(A), made.open(B)];
    const maps = made.journal.filter((call) => /MAP_DMA$|IOAS_MAP$/.test(call));
    expect(maps).toHaveLength(1);
    const ring = a.allocateShared(4096, 4096);
    b.setBusMaster(true);
    expect([made.b.put(ring, 1), made.b.put(made.frames.segment.offset, 1)]).toEqual([true, true]);
    a.close();
    expect([made.b.put(ring, 1), made.b.put(made.frames.segment.offset, 1)]).toEqual([false, true]);
    made.open(A).close();
    expect(made.framesMapped).toBe(true);
    made.vfio.kernel.restart();
    b.close();
    expect(made.journal.filter((call) => call.endsWith('UNMAP') || call.endsWith('UNMAP_DMA'))).toHaveLength(1);
    expect([made.vfio.mapped, made.vfio.kernel.opened]).toEqual([[], []]);
    made.open(B).close();
  });

  it('that is refused does not take the frames from the others', () => {
    const made = world();
    const a = made.open(A);
    made.b.gone = 'ones';
    expect(thrown(() => made.open(B)).code).toBe('DEVICE_LOST');
    expect(made.framesMapped).toBe(true);
    a.close();
    expect(made.vfio.kernel.opened).toEqual([]);
  });

  it('is not opened when frames lie where addresses are reserved, and rings are put elsewhere', () => {
    const made = world({ a: { reserved: [[0x1_0000n, 0x7fff_ffffn]] } });
    expect(thrown(() => made.open()).code).toBe('ADDRESS_REFUSED');
    expect(made.vfio.kernel.opened).toEqual([]);
    const { segment } = made.frames;
    const after = BigInt(segment.offset + segment.length);
    // Behind the frames and what has been allocated some pages are reserved, where rings would come to lie.
    const other = world({ a: { reserved: [[after, after + 0xf_ffffn]] } });
    const ring = other.open().allocateShared(4096, 4096);
    expect(BigInt(ring)).toBeGreaterThan(after + 0xf_ffffn);
  });

  it('says what to raise when its memory may not be locked', () => {
    const made = world({ vfio: { memlock: 4096 } });
    made.vfio.iommufd.memlock = 4096;
    const error = thrown(() => made.open());
    expect(error.code).toBe('DMA_MAP');
    expect(error.message).toMatch(/1048576 bytes .*ENOMEM .*may lock 4096 bytes: raise it/);
  });

  it('has its registers in the arena, without the table of MSI-X vectors', () => {
    const made = world();
    const devio = made.open();
    const { registers, bytes } = devio.bar(0);
    expect([bytes, devio.bar(0).offset]).toEqual([0x4000, devio.bar(0).offset]);
    made.a.setRegister(0, 0x38, 0x1234_5678);
    made.a.setRegister(0, 0x2000, 0xffff_ffff);
    expect([registers.get32(0x38 as never), registers.get32(0x2000 as never)]).toEqual([0x1234_5678, 0]);
    registers.put32(0x3000 as never, 0x55);
    expect(made.a.register(0, 0x3000)).toBe(0x55);
    for (const number of [1, 6, 1.5]) expect(thrown(() => devio.bar(number)).code).toBe('NO_BAR');
  });

  it('whose registers the kernel says are where they are not is not mapped', () => {
    const bars = { 0: { bytes: 0x4000, mmap: true, capabilities: [sparse([[0x1000, 0x10_0000]])] } };
    const made = world({ a: { bars } });
    const devio = made.open();
    const { used } = made.arena;
    expect(thrown(() => devio.bar(0)).code).toBe('MAP_FAILED');
    expect(made.arena.used).toEqual(used);
  });

  it('interrupts, each vector by its own fd', () => {
    const made = world();
    const devio = made.open();
    for (const kind of ['msix', 'msi', 'intx'] as const) {
      const on = devio.enableInterrupts(kind, 1);
      expect([on.fds.length, made.a.irq?.fds]).toEqual([1, on.fds]);
      expect(made.a.interrupt()).toBe(true);
    }
    devio.disableInterrupts();
    expect(made.a.interrupt()).toBe(false);
  });

  it('is reset with interrupts and bus master off, and can be used again', async () => {
    const made = world();
    const devio = made.open();
    devio.setBusMaster(true);
    devio.enableInterrupts('msix', 1);
    await devio.reset();
    expect([made.a.resets, made.a.command, made.a.irq]).toEqual([1, 2, undefined]);
    devio.setBusMaster(true);
    await devio.force?.();
    expect([made.a.resets, made.a.command]).toEqual([2, 2]);
    const stiff = world({ a: { resettable: false } }).open();
    await expect(stiff.reset()).rejects.toMatchObject({ code: 'NO_RESET' });
  });

  it('that another engine has is refused', () => {
    const made = world();
    made.open();
    const before = made.vfio.kernel.opened;
    for (const provider of made.engine()) {
      if (!before.includes('iommufd') && provider.backend === 'iommufd') continue;
      const error = thrown(() => provider.open(made.device(A)));
      expect(error.code).toMatch(/^VFIO_/);
      expect(error.message).toMatch(/(EBUSY|EINVAL) .* open: end that one first$/);
      expect(made.vfio.kernel.opened).toEqual(before);
    }
  });
});

describe('What happens to a function', () => {
  it.each(BACKENDS)('by %s is told', async (backend) => {
    const made = new IommuWorld(backend);
    const devio = made.open();
    const heard = listen(devio);
    made.a.tell('error');
    made.vfio.say('DMAR: [DMA Write NO_PASID] Request device [01:00.0] fault addr 0x70000000 [fault reason 0x05] PTE');
    made.vfio.say('DMAR: [DMA Write NO_PASID] Request device [02:00.0] fault addr 0x70000000 [fault reason 0x05] PTE');
    await sleep(3 * LOOK_MS);
    expect(heard.sort()).toEqual([
      'failed: it reported an error that it could not correct (PCI Express AER)',
      'failed: the IOMMU kept it from memory that is not its own: DMA Write at 0x70000000',
    ]);
    devio.setBusMaster(true);
    made.a.tell('request');
    await sleep(3 * LOOK_MS);
    expect(heard.slice(2)).toEqual(['lost: the kernel wants it back: it is being removed, or bound to another driver']);
    expect(made.a.command & 4).toBe(0); // it is there until it is let go of, and its frames are taken back
    expect(made.view.log).toEqual(['take', 'recall']);
  });
});

describe.each(BACKENDS)('A function by %s that has been pulled', (backend) => {
  it.each(['ones', 'EIO', 'ENODEV'] as const)(
    'is found out by its silence (%s), and closed without touching it',
    async (gone) => {
      const made = new IommuWorld(backend);
      const { used } = made.arena;
      const devio = made.open();
      const heard = listen(devio);
      devio.setBusMaster(true);
      devio.enableInterrupts('msix', 2);
      made.a.gone = gone;
      await sleep(3 * LOOK_MS);
      expect(heard).toEqual(['lost: it does not answer any more']);
      expect(thrown(() => devio.setBusMaster(false)).code).toBe('DEVICE_LOST');
      made.vfio.kernel.restart();
      await devio.force?.();
      devio.close();
      expect(made.journal.filter((call) => /write|RESET/.test(call))).toEqual([]);
      expect([made.vfio.kernel.opened, made.arena.used, made.vfio.mapped]).toEqual([[], used, []]);
    },
  );
});

describe('The back ends of devio-iommu', () => {
  const answers = (made: IommuWorld, address: string = A) =>
    made.providers.map((provider) => [provider.backend, provider.usable(made.device(address))]);
  const both = (why: string) => BACKENDS.map((backend) => [backend, why]);

  it('are usable where the kernel offers them, groups first', () => {
    expect(answers(new IommuWorld('iommufd'))).toEqual([
      ['vfio', true],
      ['iommufd', true],
    ]);
    const without = new IommuWorld('vfio');
    const none = `there is no ${without.vfio.place.iommu}; load it: modprobe iommufd (Linux 6.6 or later, CONFIG_IOMMUFD)`;
    expect(answers(without)[1]).toEqual(['iommufd', none]);
    // Linux 6.1 has folders without files.
    const older = new IommuWorld('iommufd');
    older.vfio.sysfs.add(C, { driver: 'vfio-pci', group: 9 });
    older.vfio.iommufd.offerFolder(C, 'vfio7');
    expect(answers(older, C)[1]?.[1]).toMatch(
      /^the kernel has no file for the function alone .*CONFIG_VFIO_DEVICE_CDEV$/,
    );
  });

  it('take nothing that nobody asked for, that a kernel driver has, or that no IOMMU is in front of', () => {
    const made = new IommuWorld('iommufd');
    made.view.wishes = undefined;
    expect(answers(made)).toEqual(both(`nobody asked for it: open pci:${A}`));
    made.view.wishes = {};
    made.vfio.add(C, 9, {}, 'e1000e');
    expect(answers(made, C)).toEqual(both(`kernel driver e1000e has it; bind it: linecard bind ${C} vfio-pci`));
    made.vfio.sysfs.write('kernel/iommu_groups/4/name', 'vfio-noiommu');
    expect(answers(made)).toEqual(both('there is no IOMMU in front of it'));
  });

  it('name those from which the IOMMU cannot keep it apart', () => {
    const made = new IommuWorld('iommufd');
    made.vfio.add(C, 7, {}, 'ixgbe');
    const why = `the IOMMU cannot keep it apart from ${C} (ixgbe) (group 7); bind each to vfio-pci or to no driver`;
    expect(answers(made, B)).toEqual(both(why));
    expect(thrown(() => made.open(B)).detail).toMatchObject({ errno: 'EPERM' });
  });

  /** What a framework says of function A, and what it was bound through; every driver there is takes what it gets. */
  async function explained(made: IommuWorld) {
    const framework = new Framework();
    for (const provider of made.providers) framework.registerDevio(provider);
    const { facts } = made.device(A);
    const enumerator = new FakeEnumerator({ api: PCI_API });
    enumerator.onStart = () => enumerator.plug(A, facts);
    framework.registerClass(new FakeClass({ name: 'pci', enumerators: [enumerator] }));
    framework.registerDriver(new FakeDriver({ name: 'card', enumeratorClass: 'pci', devios: [IOMMU_API] }));
    await framework.start();
    const { summary, attempts } = framework.explain(framework.devices()[0]!);
    await framework.stop();
    expect(made.vfio.kernel.opened).toEqual([]);
    return { summary, tried: attempts.map(({ backend, stage, reason }) => `${backend} ${stage}: ${reason}`) };
  }

  it('are tried in order: explain tells which was taken, and why not the first', async () => {
    const both = await explained(new IommuWorld('iommufd'));
    expect(both.summary).toMatch(/is bound to card 1.0.0 through devio-iommu v1 \(vfio\)$/);
    expect(both.tried).toHaveLength(1);
    // A kernel without groups, or a user who was given the function's own file alone.
    const alone = new IommuWorld('iommufd');
    rmSync(join(alone.vfio.place.dev, 'vfio'));
    const { summary, tried } = await explained(alone);
    expect(summary).toMatch(/is bound to card 1.0.0 through devio-iommu v1 \(iommufd\)$/);
    expect(tried[0]).toMatch(/^vfio open: .*vfio\/vfio: open failed with ENOENT/);
    expect(tried[1]).toMatch(/^iommufd bound: /);
    const neither = new IommuWorld('vfio');
    neither.vfio.kernel.fault = (call) => (call.endsWith('/vfio/vfio') ? 'EACCES' : undefined);
    const refused = await explained(neither);
    expect(refused.summary).toMatch(/is not bound: driver card through devio-iommu v1 \(vfio\): .*chown USER/);
    expect(refused.tried[1]).toMatch(/^iommufd usable: there is no .*modprobe iommufd/);
  });
});
