import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { Guest } from './guest.ts';
import { haveGuests, testWithGuest } from './tests.ts';

const MAIN = fileURLToPath(new URL('../../dist/lib/cli/main.js', import.meta.url));
const SCRIPT = fileURLToPath(new URL('./iommu-guest.mjs', import.meta.url));
const VIRTIO = '0000:01:00.0';
const E1000E = '0000:02:00.0';

describe('In a guest with an IOMMU, devio-iommu', () => {
  let guest: Guest;
  const script = async (args: string) => JSON.parse(await guest.run(`node ${SCRIPT} ${args}`));
  beforeAll(async () => {
    if (!haveGuests) return;
    const port = (n: number) => ['-device', `pcie-root-port,id=rp${n},chassis=${n},slot=${n}`];
    guest = await Guest.boot({
      machine: 'q35,kernel-irqchip=split',
      args: [
        ...['-device', 'intel-iommu,intremap=on,caching-mode=on'],
        ...['-netdev', 'hubport,id=n0,hubid=0', '-netdev', 'hubport,id=n1,hubid=0', ...port(0), ...port(1)],
        ...['-device', 'virtio-net-pci,netdev=n0,bus=rp0,romfile=,disable-legacy=on,iommu_platform=on'],
        ...['-device', 'e1000e,id=card,netdev=n1,bus=rp1,romfile='],
      ],
      append: 'intel_iommu=on iommu=pt',
    });
    for (const address of [VIRTIO, E1000E]) await guest.run(`node ${MAIN} bind ${address} vfio-pci`);
  }, 240_000);
  afterAll(() => guest?.close());

  testWithGuest('opens functions, reads, resets and maps them, and is interrupted', async () => {
    const { virtio, e1000e, both, leftOver, error } = await script(`virtio=${VIRTIO} e1000e=${E1000E}`);
    expect(error).toBeUndefined();
    // Memory space on, bus master off.
    expect(virtio).toMatchObject({ vendor: 0x1af4, device: 0x1041, configBytes: 4096, events: [] });
    expect([virtio.command & 6, e1000e.command & 6]).toEqual([2, 2]);
    expect(virtio.capabilities).toEqual(expect.arrayContaining([0x11, 9, 0x10]));
    expect(virtio.vectors).toEqual({ msix: 4, msi: 0, intx: 1 });
    expect(virtio).toMatchObject({ acknowledged: 1, afterReset: 0, queues: 3, vector: 0, fds: 4 });
    expect(e1000e).toMatchObject({ vendor: 0x8086, device: 0x10d3, bar0: 0x2_0000, linkUp: true, rings: true });
    expect(e1000e.vectors).toEqual({ msix: 5, msi: 1, intx: 1 });
    expect(e1000e).toMatchObject({ msix: true, msi: true, intx: true, intxAgain: true });
    expect(both.again).toMatch(/^VFIO_OPEN .* another process has it open/);
    expect(leftOver).toEqual({ dma: 0, window: 0 });
  });

  testWithGuest('tells of memory that the IOMMU kept a function from, and goes on', async () => {
    const { e1000e } = await script(`e1000e=${E1000E}`);
    expect(e1000e.events.length).toBeGreaterThan(0);
    expect(e1000e.events[0]).toMatch(/^failed: the IOMMU kept it from memory .*DMA Read at 0x70000000$/);
    expect(guest.console()).not.toMatch(/Oops|BUG:/);
  });

  testWithGuest('lets go of a function that is pulled', async () => {
    await guest.run(`rm -f /tmp/held; node ${SCRIPT} hold=${E1000E} > /tmp/hold.json 2>&1 &`);
    await guest.run('for i in $(seq 300); do [ -e /tmp/held ] && exit 0; sleep 0.1; done; exit 1');
    await guest.qmp('device_del', { id: 'card' });
    const output = await guest.run(
      'for i in $(seq 300); do [ -s /tmp/hold.json ] && break; sleep 0.1; done; cat /tmp/hold.json',
    );
    const { hold, leftOver, error } = JSON.parse(output);
    expect(error).toBeUndefined();
    expect(hold).toMatchObject({ asked: true, gone: true, recalled: [E1000E], stale: 0 });
    expect(hold.events[0]).toMatch(/^lost: /);
    expect(hold.afterMs).toBeLessThan(1000);
    expect(leftOver).toEqual({ dma: 0, window: 0 });
  });
});
