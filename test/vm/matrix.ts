/** The cells of the matrix: cards by ways of access, a guest for each way, and what is done in a cell. */
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import type { Guest, GuestOptions } from './guest.ts';

const COMMANDS = fileURLToPath(new URL('./commands-guest.mjs', import.meta.url));
/** Frames that are forwarded in a cell in adaptive mode; in each of the others it is a tenth of them. */
const FRAMES = Number(process.env.LINECARD_VM_FRAMES ?? 100_000);
const CELL_MS = 280_000;
/** As many as the smallest ring has room for: QEMU's hub changes the order of packets that a full ring has held up. */
const TRAFFIC = ['--window', '128', '--burst', '64'];

/** Cards of which each guest has two, joined by a hub: QEMU's name, its kernel driver's, and where the first one is. */
const NICS = {
  'virtio-net': { model: 'virtio-net-pci,disable-legacy=on,packed=on', kernel: 'virtio-pci', first: 0 },
  e1000e: { model: 'e1000e', kernel: 'e1000e', first: 2 },
  igb: { model: 'igb', kernel: 'igb', first: 4 },
} as const;

/** Ways of access: the kernel driver that gives a card to user space, and what ports and engines are told. */
const WAYS = {
  vfio: { iommu: true, driver: ['vfio-pci'], option: '', engine: [] },
  'vfio-noiommu': {
    ...{ iommu: false, driver: ['vfio-pci', '--noiommu-mode'] },
    ...{ option: ',unsafe-dma=1', engine: ['--hugepages', 'need'] },
  },
  uio: { iommu: false, driver: ['uio_pci_generic'], option: ',unsafe-dma=1', engine: ['--hugepages', 'need'] },
} as const;

export type Nic = keyof typeof NICS;
export type Way = keyof typeof WAYS;
export const ALL_NICS = Object.keys(NICS) as Nic[];
export const ALL_WAYS = Object.keys(WAYS) as Way[];

const addressOf = (n: number): string => `0000:0${n + 1}:00.0`;

/** What a guest for `way` is booted with: six cards, three hubs. */
export function guestFor(way: Way): GuestOptions {
  const { iommu } = WAYS[way];
  const models = ALL_NICS.flatMap((nic) => [NICS[nic].model, NICS[nic].model]);
  const cards = models.flatMap((model, n) => [
    ...['-device', `pcie-root-port,id=rp${n},chassis=${n},slot=${n}`, '-netdev', `hubport,id=n${n},hubid=${n >> 1}`],
    '-device',
    `${model}${iommu && model.startsWith('virtio') ? ',iommu_platform=on' : ''},netdev=n${n},bus=rp${n},romfile=`,
  ]);
  return {
    // 82576s are only in the backported one.
    backported: true,
    memory: 1024,
    machine: iommu ? 'q35,kernel-irqchip=split' : 'q35',
    args: [...(iommu ? ['-device', 'intel-iommu,intremap=on,caching-mode=on'] : []), ...cards],
    append: iommu ? 'intel_iommu=on iommu=pt' : 'intel_iommu=off',
  };
}

/** What a command line of linecard came to. */
interface Said {
  readonly args: readonly string[];
  readonly code: number;
  readonly out: string;
  readonly err: string;
  readonly seconds: number;
}

/** What a cell has shown: packets per second in each mode. */
export interface Cell {
  readonly way: Way;
  readonly nic: Nic;
  readonly frames: number;
  readonly rates: Readonly<Record<string, number>>;
  readonly seconds: number;
}

/** Does all that is to be done with the two cards of a kind. */
export async function playCell(guest: Guest, way: Way, nic: Nic): Promise<Cell> {
  const began = performance.now();
  const { first, kernel } = NICS[nic];
  const { driver, option, engine } = WAYS[way];
  const cards = [addressOf(first), addressOf(first + 1)];
  const ports = cards.map((address) => `pci:${address}${option}`);
  const modes = { adaptive: FRAMES, busy: FRAMES / 10, interrupt: FRAMES / 10 };
  const lines = [
    ['status', '-j'],
    ...cards.map((address) => ['bind', address, ...driver]),
    ...Object.entries(modes).map(([mode, count]) => [
      ...['selftest', '-j', ...ports, '--mode', mode, '--count', String(count), ...TRAFFIC, ...engine],
    ]),
    ...cards.map((address) => ['unbind', address]),
  ];
  const output = await guest.run(`node ${COMMANDS} '${JSON.stringify(lines)}'`, CELL_MS);
  const said = JSON.parse(output.slice(output.lastIndexOf('\n[{') + 1)) as Said[];
  const failed = said.find(({ code }) => code !== 0);
  expect(failed, failed && `${failed.args.join(' ')}: ${failed.out}${failed.err}`).toBeUndefined();

  const { devices } = JSON.parse(said[0]!.out) as { devices: { id: string; facts: Record<string, unknown> }[] };
  for (const address of cards) {
    const found = devices.find(({ id }) => id.endsWith(address));
    expect(found?.facts, address).toMatchObject({ kind: 'pci', kernelDriver: kernel });
  }
  const given = driver[0];
  expect([said[1]!.out, said[2]!.out]).toEqual(cards.map((address) => `${address}: ${kernel} → ${given}\n`));
  const trials = said.slice(3, 6).map(({ out }) => JSON.parse(out).trials[0]);
  expect(trials.map(({ mode, passed }) => [mode, passed])).toEqual(Object.keys(modes).map((mode) => [mode, true]));
  expect([said[6]!.out, said[7]!.out]).toEqual(cards.map((address) => `${address}: ${given} → ${kernel}\n`));

  await kernelPings(guest, cards);
  expect(guest.console()).not.toMatch(/Oops|BUG:|DMAR.*fault/);
  const rates = trials.map(({ mode, seconds, ping }) => [mode, Math.round(ping.ok / seconds)]);
  const frames = trials.reduce((sum, { ping }) => sum + ping.ok, 0);
  return { way, nic, frames, rates: Object.fromEntries(rates), seconds: (performance.now() - began) / 1000 };
}

/** The kernel's drivers reach each other over the same cards. */
async function kernelPings(guest: Guest, cards: readonly string[]): Promise<void> {
  const ends = cards.map(
    (address, i) => `
      name=$(ls -d /sys/bus/pci/devices/${address}/net/* /sys/bus/pci/devices/${address}/virtio*/net/* 2> /dev/null)
      name=$(basename "$name")
      ip netns add ${address} && ip link set $name netns ${address} || exit
      ip -n ${address} addr add 10.66.0.${i + 1}/24 dev $name && ip -n ${address} link set $name up || exit`,
  );
  const output = await guest.run(`${ends.join('')}
    ip netns exec ${cards[0]} ping -c 5 -i 0.2 -w 30 10.66.0.2`);
  expect(output).toMatch(/ 5 received/);
}

/** Ends of QEMU that are its own fault: see the bug, and nothing that a guest may do should cause it. */
const CRASHES = {
  /** QEMU before 8: MSI-X disabled within 0.1 ms of an interrupt. */
  'e1000e: timer without MSI-X': /QEMU ended with SIGABRT.*e1000e_intrmgr_on_msix_throttling_timer/s,
  /** Threads of several cpus: a memory region went while it was being looked up. */
  iotlb_to_section: /QEMU ended with SIGABRT.*iotlb_to_section/s,
};

/** The known crash of the emulator that `error` tells of. */
export const crashIn = (error: unknown): string | undefined =>
  Object.entries(CRASHES).find(([, text]) => text.test(String(error)))?.[0];
