import { execFileSync } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect, vi } from 'vitest';
import { Guest } from './guest.ts';
import { haveGuests, testWithGuest } from './tests.ts';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const MAIN = here('../../dist/lib/cli/main.js');
const FORWARD = here('./forward-guest.mjs');
const EVENTS = here('./events-guest.mjs');
const FLOWS = here('./flows-guest.mjs');
/** Packets that come back, each over four wires. */
const COUNT = Number(process.env.LINECARD_VM_FRAMES ?? 2000);
const CARDS = [1, 2, 3, 4].map((n) => `0000:0${n}:00.0`);

/** Options of card `n`, at the end of netdev `n`. */
const card = (n: number) => ({
  ...{ id: `card${n}`, netdev: `n${n}`, bus: `rp${n}`, romfile: '', mac: `52:54:00:00:00:0${n + 1}` },
  ...{ 'disable-legacy': 'on', iommu_platform: 'on', packed: 'on' },
});

/** QEMU's arguments for card `n`, in a slot of its own, on a netdev of that kind. */
const slot = (n: number, netdev: string, more: Readonly<Record<string, unknown>> = {}) => [
  ...['-netdev', `${netdev},id=n${n}`, '-device', `pcie-root-port,id=rp${n},chassis=${n},slot=${n}`],
  ...[
    '-device',
    ['virtio-net-pci', ...Object.entries({ ...card(n), ...more }).map((entry) => entry.join('='))].join(','),
  ],
];

/** Two wires with a card at each end: 0 and 1, 2 and 3. */
const wires = [0, 1, 2, 3].flatMap((n) => slot(n, `hubport,hubid=${n >> 1}`));

/** A guest behind an IOMMU, whose first cards are bound to VFIO. */
async function bootWith(args: readonly string[], addresses: readonly string[], netns?: string): Promise<Guest> {
  const guest = await Guest.boot({
    machine: 'q35,kernel-irqchip=split',
    args: ['-device', 'intel-iommu,intremap=on,caching-mode=on', ...args],
    append: 'intel_iommu=on iommu=pt',
    ...(netns === undefined ? {} : { netns }),
  });
  for (const address of addresses) await guest.run(`node ${MAIN} bind ${address} vfio-pci`);
  return guest;
}

describe('In a guest with an IOMMU, virtio-net cards', () => {
  let guest: Guest;
  beforeAll(async () => {
    if (!haveGuests) return;
    guest = await bootWith(wires, CARDS);
  }, 300_000);
  afterAll(() => guest?.close());

  describe.each(['split', 'packed'])('with %s rings', (rings) => {
    const ports = CARDS.map((address) => `pci:${address},packed=${rings === 'packed' ? 1 : 0}`);
    for (const mode of ['busy', 'adaptive', 'interrupt']) {
      testWithGuest(
        `forward there and back, each frame intact and in its place, in ${mode} mode`,
        async () => {
          const options = { ports, mode, count: COUNT };
          const result = JSON.parse(await guest.run(`node ${FORWARD} '${JSON.stringify(options)}'`, 240_000));
          expect(result).toMatchObject({ errors: [], ledger: { balanced: true, lost: 0 } });
          expect(result.ping).toEqual({ good: COUNT, bad: 0 });
          for (const { rx, tx } of result.ports) {
            expect([rx.packets, tx.packets, tx.completed]).toEqual([COUNT, COUNT, COUNT]);
          }
          expect(result.notes.every((note: string) => note.includes(`${rings} rings`))).toBe(true);
          const { sleeps, interrupts } = result.workers[0];
          if (mode === 'busy') expect(sleeps).toBe(0);
          // The main thread wakes the worker at the start and at the end: the others were the cards. How many sleeps end by the
          // clock depends on how long the emulation leaves a packet lying.
          if (mode === 'interrupt') expect(interrupts).toBeGreaterThan(3);
        },
        300_000,
      );
    }
  });

  describe('while packets go round', () => {
    /** What has happened, up to now. */
    const events = async () =>
      (await guest.run('cat /run/events 2>/dev/null || true'))
        .split('\n')
        .flatMap((line) => (line === '' ? [] : [JSON.parse(line)]));
    const until = (found: (all: Record<string, unknown>[]) => boolean, timeout = 120_000) =>
      vi.waitFor(
        async () => {
          const all = await events();
          if (!found(all)) throw new Error(`until now: ${JSON.stringify(all)}`);
          return all;
        },
        { timeout, interval: 500 },
      );
    const start = (ports: readonly string[]) =>
      guest.run(`rm -f /run/stop /run/events; node ${EVENTS} '${JSON.stringify({ ports })}' > /run/said 2>&1 &`);
    const stop = async () => {
      await guest.run('touch /run/stop');
      const all = await until((seen) => seen.some(({ closed }) => closed));
      for (const ended of all.filter(({ balanced }) => balanced !== undefined))
        expect(ended).toMatchObject({ balanced: true, bad: 0 });
      expect([await guest.run('cat /run/said'), all.filter(({ error }) => error)]).toEqual(['', []]);
    };

    testWithGuest(
      'tell of a link that goes down and comes up',
      async () => {
        await start([`pci:${CARDS[0]}`, `pci:${CARDS[1]}`]);
        await until((all) => all.some(({ running }) => running));
        await guest.qmp('set_link', { name: 'card0', up: false });
        await until((all) => all.some(({ link, name }) => link === 'down' && name === `pci:${CARDS[0]}`));
        await guest.qmp('set_link', { name: 'card0', up: true });
        await until((all) => all.some(({ link }) => link === 'up'));
        await stop();
      },
      300_000,
    );
  });
});

describe('In a guest with an IOMMU, virtio-net cards of several queue pairs', () => {
  const NETNS = `vpci${process.pid}`;
  const TAPS = ['tap0', 'tap1'];
  const run = (command: string) => execFileSync('sh', ['-ec', command], { stdio: 'pipe' });
  let guest: Guest;
  beforeAll(async () => {
    if (!haveGuests) return;
    const each = (text: (tap: string) => string) => TAPS.map(text).join('; ');
    // A wire with several queues is a bridge between two taps that have them.
    run(`ip netns add ${NETNS}
      ip -n ${NETNS} link add bridge type bridge
      ip -n ${NETNS} link set bridge up
      ${each((tap) => `ip -n ${NETNS} tuntap add ${tap} mode tap multi_queue`)}
      ${each((tap) => `ip -n ${NETNS} link set ${tap} master bridge up`)}`);
    const args = TAPS.flatMap((tap, n) =>
      slot(n, `tap,ifname=${tap},script=no,downscript=no,vhost=off,queues=2`, { mq: 'on', vectors: 6 }),
    );
    guest = await bootWith(args, CARDS.slice(0, 2), NETNS);
  }, 300_000);
  afterAll(async () => {
    await guest?.close();
    if (haveGuests) run(`ip netns del ${NETNS}`);
  });

  testWithGuest(
    'receive by each of them, every frame intact, with an interrupt for each',
    async () => {
      const options = {
        ports: CARDS.slice(0, 2).map((address) => `pci:${address}`),
        queues: 2,
        count: COUNT,
        rate: 200,
      };
      const result = JSON.parse(await guest.run(`node ${FLOWS} '${JSON.stringify(options)}'`, 240_000));
      expect(result).toMatchObject({ interrupts: 2, ledger: { balanced: true, lost: 0 } });
      const sum = (name: string) =>
        result.sinks.reduce((all: number, sink: Record<string, number>) => all + sink[name], 0);
      expect([sum('ok'), sum('corrupt'), sum('duplicate')]).toEqual([COUNT, 0, 0]);
      for (const { ok } of result.sinks) expect(ok).toBeGreaterThan(0);
    },
    300_000,
  );
});
