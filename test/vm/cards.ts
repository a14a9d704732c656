/** Two cards of a kind on one wire in a guest, and what is played on them: see `cards-guest.mjs`. */
import { fileURLToPath } from 'node:url';
import { expect } from 'vitest';
import { Guest, type GuestOptions } from './guest.ts';

const MAIN = fileURLToPath(new URL('../../dist/lib/cli/main.js', import.meta.url));
const SCRIPT = fileURLToPath(new URL('./cards-guest.mjs', import.meta.url));

/** Where the cards are. */
export const CARDS = ['0000:01:00.0', '0000:02:00.0'] as const;

/** What to play. Options of ports come after their addresses: `,legacy=1`. */
export interface Play {
  readonly count: number;
  readonly rate?: number;
  readonly mode?: 'busy' | 'adaptive' | 'interrupt';
  readonly size?: number;
  readonly flows?: number;
  readonly queues?: number;
  readonly mtu?: number;
  /** Descriptors of each ring. They are to be enough for what comes while the guest stands still: QEMU's hub changes the order of
   * packets that a full ring has held up. */
  readonly ring?: number;
  readonly frameSize?: number;
  readonly options?: string;
  /** One worker for everything, for a guest with one cpu. */
  readonly together?: boolean;
  /** TCP segments of 100 connections instead of probes: see `spray.mjs`. */
  readonly sprayed?: boolean;
  /** File that says when packets flow. Waits then until the near link has come up again. */
  readonly ready?: string;
}

type Counts = Readonly<Record<string, number>>;
interface Side {
  readonly rx: Counts;
  readonly tx: Counts;
  readonly card: Counts;
}

/** What came of it: counters that are not 0. */
export interface Played {
  readonly error?: string;
  readonly up: boolean;
  readonly speed: number;
  readonly notes: readonly string[];
  readonly links: readonly string[];
  readonly errors: readonly string[];
  readonly seconds: number;
  readonly atUp?: number;
  readonly gen: Counts;
  readonly sinks: readonly Counts[];
  readonly ledger: unknown;
  readonly near: Side;
  readonly far: Side;
}

/** Boots a guest with an IOMMU and two cards of QEMU's `model`, joined by a hub. */
export async function bootCards(model: string, more: GuestOptions = {}): Promise<Guest> {
  const card = (n: number) => [
    ...['-device', `pcie-root-port,id=rp${n},chassis=${n},slot=${n}`, '-netdev', `hubport,id=n${n},hubid=0`],
    ...['-device', `${model},id=card${n},netdev=n${n},bus=rp${n},romfile=,mac=52:54:00:00:00:0${n + 1}`],
  ];
  return Guest.boot({
    machine: 'q35,kernel-irqchip=split',
    memory: 1024,
    args: ['-device', 'intel-iommu,intremap=on,caching-mode=on', ...card(0), ...card(1)],
    append: 'intel_iommu=on iommu=pt',
    ...more,
  });
}

/** Binds both cards to `vfio-pci`, or gives them back. */
export async function bindCards(guest: Guest, bound: boolean): Promise<string> {
  const said: string[] = [];
  for (const address of CARDS)
    said.push(await guest.run(`node ${MAIN} ${bound ? 'bind' : 'unbind'} ${address} ${bound ? 'vfio-pci' : ''}`));
  return said.join('');
}

/** Plays. */
export async function play(guest: Guest, { options = '', ...rest }: Play): Promise<Played> {
  const [near, far] = CARDS.map((address) => `pci:${address}${options}`);
  const output = await guest.run(`node ${SCRIPT} '${JSON.stringify({ near, far, ...rest })}'`, 300_000);
  const played = JSON.parse(output.slice(output.lastIndexOf('\n{') + 1)) as Played;
  expect(played.error).toBeUndefined();
  return played;
}

/** Every packet went out and came back as it was and in order, and everybody counted alike. */
export function expectAll({ up, gen, sinks, near, far, ledger, errors }: Played, count: number): void {
  expect({ up, errors, ledger }).toEqual({ up: true, errors: [], ledger: 'balanced' });
  expect(gen.sent).toBe(count);
  const received = sinks.reduce((n, sink) => n + (sink.ok ?? 0), 0);
  expect({ received, sinks }).toEqual({ received: count, sinks: sinks.map(({ ok }) => ({ received: ok, ok })) });
  for (const { rx, tx, card } of [near, far]) {
    expect(rx).toEqual({ packets: count, bytes: rx.bytes });
    expect(tx).toEqual({ packets: count, bytes: rx.bytes, completed: count });
    expect([card.gprc, card.gptc, card.tpr, card.tpt]).toEqual([count, count, count, count]);
    expect([card.mpc, card.resets, card.tx_hangs, card.faults]).toEqual([undefined, undefined, undefined, undefined]);
  }
}

/** The cards' kernel driver has them again, and they reach each other. */
export async function expectKernelDrives(guest: Guest, driver: string): Promise<void> {
  const names: string[] = [];
  for (const [i, address] of CARDS.entries()) {
    expect(await guest.run(`basename $(readlink /sys/bus/pci/devices/${address}/driver)`)).toBe(`${driver}\n`);
    const name = (await guest.run(`ls /sys/bus/pci/devices/${address}/net`)).trim();
    names.push(name);
    await guest.run(`ip netns add card${i} && ip link set ${name} netns card${i}`);
    await guest.run(
      `ip netns exec card${i} sh -c 'ip addr add 10.66.0.${i + 1}/24 dev ${name}; ip link set ${name} up'`,
    );
  }
  expect(await guest.run('ip netns exec card0 ping -c 20 -i 0.1 -w 30 10.66.0.2')).toMatch(/ 20 received/);
}

/** Every connection's packets come on one queue, and each queue has its share of the 100. */
export function expectSpread({ up, gen, sinks, near, far, ledger, errors }: Played, count: number): void {
  expect({ up, errors, ledger, sent: gen.sent }).toEqual({ up: true, errors: [], ledger: 'balanced', sent: count });
  expect(sinks.reduce((n, { received }) => n + (received ?? 0), 0)).toBe(count);
  expect(sinks.reduce((n, { flows }) => n + (flows ?? 0), 0)).toBe(100);
  for (const { flows } of sinks) expect(flows).toBeGreaterThan(100 / sinks.length / 4);
  for (const { rx } of [near, far]) expect(rx).toEqual({ packets: count, bytes: count * 60 });
}
