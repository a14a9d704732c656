import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { Guest } from './guest.ts';
import { haveGuests, testWithGuest } from './tests.ts';

const MAIN = fileURLToPath(new URL('../../dist/lib/cli/main.js', import.meta.url));
const SCRIPT = fileURLToPath(new URL('./bind-guest.mjs', import.meta.url));
const CARD = '0000:01:00.0';
const VIRTIO = '0000:02:00.0';
/** How often each of the cards is bound and given back. */
const ROUNDS = Number(process.env.LINECARD_BINDS ?? 6);

describe('In a guest with an IOMMU', () => {
  let guest: Guest;
  const linecard = (args: string) => guest.run(`node ${MAIN} ${args}`);
  const nameOf = async (address: string) =>
    (
      await guest.run(
        `ls -d /sys/bus/pci/devices/${address}/net/* /sys/bus/pci/devices/${address}/virtio*/net/* 2>/dev/null | xargs basename`,
      )
    ).trim();
  beforeAll(async () => {
    if (!haveGuests) return;
    guest = await Guest.boot({
      machine: 'q35,kernel-irqchip=split',
      args: [
        ...['-device', 'intel-iommu,intremap=on,caching-mode=on', '-netdev', 'hubport,id=n0,hubid=0'],
        ...['-device', 'pcie-root-port,id=rp0,chassis=0,slot=0'],
        ...['-device', 'e1000e,netdev=n0,bus=rp0,romfile=,mac=52:54:00:00:00:01'],
        ...['-netdev', 'hubport,id=n1,hubid=0', '-device', 'pcie-root-port,id=rp1,chassis=1,slot=1'],
        ...['-device', 'virtio-net-pci,netdev=n1,bus=rp1,romfile=,mac=52:54:00:00:00:02,iommu_platform=on'],
      ],
      append: 'intel_iommu=on iommu=pt',
    });
    await guest.run('modprobe e1000e; modprobe virtio_net');
  }, 240_000);
  afterAll(() => guest?.close());

  testWithGuest('a card goes to vfio-pci and comes back as it was', async () => {
    const name = await nameOf(CARD);
    await guest.run(`ip link set ${name} address 02:00:00:00:00:77`);
    expect(await linecard(`bind ${CARD} vfio-pci`)).toBe(`${CARD}: e1000e → vfio-pci\n`);
    expect(await guest.run('ls /dev/vfio')).toMatch(/^\d+\nvfio\n$/);
    expect(await linecard(`unbind ${CARD}`)).toBe(`${CARD}: vfio-pci → e1000e\n`);
    expect(await guest.run(`cat /sys/class/net/${name}/address /sys/bus/pci/devices/${CARD}/driver_override`)).toBe(
      '02:00:00:00:00:77\n(null)\n',
    );
    expect(await guest.run('ls /run/linecard/bindings')).toBe('');
  });

  testWithGuest(
    'cards go and come back again and again: driver, interface, address and link as before, and nothing is left behind',
    async () => {
      for (const [i, address] of [CARD, VIRTIO].entries()) {
        const name = await nameOf(address);
        await guest.run(`ip link set ${name} name lan${i} address 02:00:00:00:00:7${i} && ip link set lan${i} up`);
      }
      const options = { addresses: [CARD, VIRTIO], drivers: ['vfio-pci', 'uio_pci_generic'], rounds: ROUNDS };
      const output = await guest.run(`node ${SCRIPT} '${JSON.stringify(options)}'`, 1_200_000);
      const { rounds, differences, before, after, error } = JSON.parse(output);
      expect({ rounds, differences, error }).toEqual({ rounds: ROUNDS, differences: [], error: undefined });
      expect(after).toEqual(before);
      expect(after).toMatchObject({ mappings: [], groups: ['vfio'], records: [] });
      expect(guest.console()).not.toMatch(/Oops|BUG:|DMAR:.*fault/);
    },
    1_300_000,
  );

  testWithGuest('a card whose interface is in use is not taken unless forced, and its state comes back', async () => {
    const name = await nameOf(CARD);
    await guest.run(`ip link set ${name} up && ip addr add 10.9.9.9/24 dev ${name}`);
    const refused = await guest.try(`node ${MAIN} bind ${name} vfio-pci`);
    expect(refused.status).toBe(1);
    expect(refused.output).toContain(`its interface ${name} is in use: it has addresses (10.9.9.9/24`);
    await linecard(`bind ${name} vfio-pci --force`);
    await linecard(`unbind ${CARD}`);
    expect(await guest.run(`ip -br link show ${name}`)).toContain(',UP');
  });

  testWithGuest('what is no network controller, and what is not there, is refused', async () => {
    expect((await guest.try(`node ${MAIN} bind 0000:00:1f.2 vfio-pci`)).output).toContain(
      'it is no network controller',
    );
    expect((await guest.try(`node ${MAIN} bind 0000:55:00.0 vfio-pci`)).output).toContain('there are 0000:01:00.0');
  });
});
