import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { Guest } from './guest.ts';
import { haveGuests, testWithGuest } from './tests.ts';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const MAIN = here('../../dist/lib/cli/main.js');
const FORWARD = here('./forward-guest.mjs');
/** Packets that come back, each over four wires: so many that the short sleeps while applications are loaded are the few. */
const COUNT = Number(process.env.LINECARD_VM_FRAMES ?? 10_000);
const CARDS = [1, 2, 3, 4].map((n) => `0000:0${n}:00.0`);
const BACKENDS = { 'vfio-noiommu': 'vfio-pci --noiommu-mode', uio: 'uio_pci_generic' } as const;

/** Two wires with a card at each end: 0 and 1, 2 and 3. */
const wires = [0, 1, 2, 3].flatMap((n) => [
  ...['-netdev', `hubport,id=n${n},hubid=${n >> 1}`, '-device', `pcie-root-port,id=rp${n},chassis=${n},slot=${n}`],
  ...['-device', `virtio-net-pci,disable-legacy=on,netdev=n${n},bus=rp${n},romfile=,mac=52:54:00:00:00:0${n + 1}`],
]);

describe('In a guest without an IOMMU, virtio-net cards', () => {
  let guest: Guest;
  const linecard = (args: string) => guest.run(`node ${MAIN} ${args}`, 120_000);
  beforeAll(async () => {
    if (!haveGuests) return;
    guest = await Guest.boot({ memory: 1024, args: wires, append: 'intel_iommu=off' });
    await guest.run('echo 24 > /proc/sys/vm/nr_hugepages; modprobe virtio_net');
  }, 400_000);
  afterAll(() => guest?.close());

  for (const [backend, driver] of Object.entries(BACKENDS)) {
    describe(`by ${backend}`, () => {
      beforeAll(async () => {
        if (!haveGuests) return;
        for (const address of CARDS) await linecard(`bind ${address} ${driver}`);
      }, 300_000);

      for (const mode of ['busy', 'adaptive', 'interrupt']) {
        testWithGuest(
          `forward there and back, each frame intact and in its place, in ${mode} mode`,
          async () => {
            const ports = CARDS.map((address) => `pci:${address},unsafe-dma=1`);
            const options = { ports, mode, count: COUNT, hugepages: 'need' };
            const result = JSON.parse(await guest.run(`node ${FORWARD} '${JSON.stringify(options)}'`, 540_000));
            expect(result).toMatchObject({ errors: [], ledger: { balanced: true, lost: 0 } });
            expect(result.ping).toEqual({ good: COUNT, bad: 0 });
            for (const { rx, tx } of result.ports) {
              expect([rx.packets, tx.packets, tx.completed]).toEqual([COUNT, COUNT, COUNT]);
            }
            const { sleeps, interrupts } = result.workers[0];
            if (mode === 'busy') expect(sleeps).toBe(0);
            // As in virtio-pci.test.ts: the main thread wakes the worker at the start and at the end.
            if (mode === 'interrupt') expect(interrupts).toBeGreaterThan(3);
          },
          600_000,
        );
      }

      testWithGuest('are refused without the option that says what that risks', async () => {
        const { status, output } = await guest.try(`node ${MAIN} l2fwd pci:${CARDS[0]} pci:${CARDS[1]} -T 1`);
        expect(status).not.toBe(0);
        expect(output).toMatch(/the device can write to all memory of the machine/);
      });

      testWithGuest('go back to the kernel, which pings over them', async () => {
        for (const address of CARDS) await linecard(`unbind ${address}`);
        const names = [0, 1].map((n) => `$(ls /sys/bus/pci/devices/${CARDS[n]}/virtio*/net)`);
        const output = await guest.run(`a=${names[0]} b=${names[1]}
          ip netns add other && ip link set $b netns other && ip -n other addr add 10.8.8.2/24 dev $b && ip -n other link set $b up
          ip addr add 10.8.8.1/24 dev $a && ip link set $a up && ping -c 5 -i 0.2 -W 5 10.8.8.2
          ip -n other link set $b netns 1; ip netns del other; ip addr flush dev $a; ip link set $a down`);
        expect(output).toContain(' 0% packet loss');
      });
    });
  }
});
