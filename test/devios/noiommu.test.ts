import { describe, expect, it } from 'vitest';
import { FramePool } from '../../lib/arena/frame-pool.ts';
import { nommuDevios } from '../../lib/devios/nommu.ts';
import { factsOf } from '../../lib/enumerators/pci.ts';
import type { Device } from '../../lib/framework/types.ts';
import { readFunction } from '../../lib/pci/device.ts';
import type { PciDevio } from '../../lib/pci/devio.ts';
import { codeOf } from '../fakes/errors.ts';
import { A, CARD, PCI_API } from '../fakes/iommu-world.ts';
import { fakePagemap, hugeArena } from '../fakes/pagemap.ts';
import { FakePciView } from '../fakes/pci-view.ts';
import { FakeVfio } from '../fakes/vfio.ts';

/** Function A without an IOMMU, in group 4, which VFIO has made of it. */
function world() {
  const vfio = new FakeVfio({ kinds: [8] });
  const fake = vfio.add(A, 4, CARD);
  vfio.withoutIommu(4);
  const { arena } = hugeArena();
  const frames = new FramePool(arena, { frames: 1024, hugepages: 'need' });
  const view = new FakePciView({ 'unsafe-dma': true });
  const { place, sysfs } = vfio;
  const pagemap = fakePagemap((n) => n);
  const providers = nommuDevios(arena, frames, view, PCI_API, undefined, { vfio: place, dev: place.dev, pagemap });
  const device = { address: A, facts: factsOf(readFunction(sysfs.root, A)!) } as unknown as Device;
  const provider = providers.find(({ backend }) => backend === 'vfio-noiommu')!;
  const opened: PciDevio[] = [];
  const close = () => {
    for (const devio of opened.splice(0)) devio.close();
  };
  vfio.users.push(close);
  const open = () => {
    opened.push(provider.open(device) as PciDevio);
    return opened.at(-1)!;
  };
  return { vfio, fake, arena, view, provider, device, open, close };
}

describe('A function by vfio-noiommu', () => {
  it('is opened in a container of its own, in which nothing is mapped, and closed in the reverse order', () => {
    const { vfio, fake, provider, device, open, close } = world();
    expect(provider.usable(device)).toBe(true);
    const devio = open();
    expect(vfio.kernel.journal.slice(0, 8)).toEqual([
      ...[`open ${vfio.place.dev}/vfio`, 'container GET_API_VERSION', 'container CHECK_EXTENSION'],
      ...[`open ${vfio.place.dev}/noiommu-4`, 'group 4 GET_STATUS', 'group 4 SET_CONTAINER', 'container SET_IOMMU'],
      'group 4 GET_DEVICE_FD',
    ]);
    expect(vfio.kernel.journal.some((call) => /DMA|log/.test(call))).toBe(false);
    devio.enableInterrupts('msix', 1);
    devio.setBusMaster(true);
    expect(fake.command).toBe(6);
    vfio.kernel.restart();
    close();
    expect(vfio.kernel.journal.slice(-3)).toEqual([`close device ${A}`, 'close group 4', 'close container']);
    expect([fake.commandAtClose, fake.resets, vfio.kernel.opened]).toEqual([2, 1, []]);
  });

  it('that cannot be opened leaves nothing behind, and can be opened then, whichever call fails', () => {
    const { vfio, fake, arena, view, open, close } = world();
    const { kernel } = vfio;
    const { used } = arena;
    const nothing = (failed: string) => {
      expect([kernel.opened, arena.used, fake.files], failed).toEqual([[], used, 0]);
      expect(view.log.splice(0), failed).toEqual(['take', 'unwant']);
    };
    open();
    const calls = [...kernel.journal];
    close();
    nothing('');
    expect(calls.length).toBeGreaterThan(25);
    for (const [failing, failed] of calls.entries()) {
      kernel.restart();
      kernel.fault = (_, index) => (index === failing ? 'EIO' : undefined);
      expect(codeOf(open), failed).toMatch(/^(VFIO_|NO_IOMMU|DEVICE_LOST)/);
      kernel.fault = () => undefined;
      nothing(failed);
      open();
      close();
      nothing(failed);
    }
  });

  it('needs the right to reach all of memory', () => {
    const { vfio, open } = world();
    vfio.kernel.fault = (call) => (call.endsWith('noiommu-4') ? 'EPERM' : undefined);
    expect(() => open()).toThrow(/EPERM .*without an IOMMU it takes CAP_SYS_RAWIO: be root$/);
    expect(vfio.kernel.opened).toEqual([]);
  });
});
