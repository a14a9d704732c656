/** Cards that are pulled under load and put in again: `device_del` and `device_add` of QEMU's monitor. */
import { fileURLToPath } from 'node:url';
import { afterAll, afterEach, beforeAll, describe, expect, vi } from 'vitest';
import { Guest } from './guest.ts';
import { addressOf, card, MODELS, WITH_IOMMU, WITHOUT } from './pairs.ts';
import { haveGuests, testWithGuest } from './tests.ts';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const MAIN = here('../../dist/lib/cli/main.js');
const SCRIPT = here('./pull-guest.mjs');
/** How often each card is pulled. */
const PULLS = Number(process.env.LINECARD_VM_PULLS ?? 2);
/** From the first that is known of it to the last that is held. */
const RELEASE_MS = 1000;
type Event = Readonly<Record<string, unknown>> & { readonly at: number };
interface Held {
  readonly rss: number;
}

/** A way to a card: the kernel driver it is bound to, and the options of its port and of the engine. */
const WAYS = [
  { backend: 'vfio', guest: WITH_IOMMU, driver: 'vfio-pci', options: '', hugepages: 'no' },
  {
    backend: 'vfio-noiommu',
    guest: WITHOUT,
    driver: 'vfio-pci --noiommu-mode',
    options: ',unsafe-dma=1',
    hugepages: 'need',
  },
  { backend: 'uio', guest: WITHOUT, driver: 'uio_pci_generic', options: ',unsafe-dma=1', hugepages: 'need' },
] as const;

describe.each(WAYS)('While packets go round', ({ backend, guest: options, driver, options: wishes, hugepages }) => {
  const iommu = options === WITH_IOMMU;
  let guest: Guest;
  const bind = (n: number) => guest.run(`node ${MAIN} bind ${addressOf(n)} ${driver}`, 120_000);
  beforeAll(async () => {
    if (!haveGuests) return;
    guest = await Guest.boot({ ...options, cpus: 2 });
    if (!iommu) await guest.run('echo 24 > /proc/sys/vm/nr_hugepages');
    for (const n of MODELS.keys()) await bind(n);
  }, 400_000);
  // Whatever has failed, its program is not to be in the way of the next test.
  afterEach(async () => {
    await guest?.run('touch /run/stop; for i in $(seq 100); do pgrep -f pull-guest || break; sleep 0.2; done', 60_000);
  });
  afterAll(() => guest?.close());

  const events = async (): Promise<Event[]> =>
    (await guest.run('cat /run/events 2>/dev/null || true'))
      .split('\n')
      .flatMap((line) => (line === '' ? [] : [JSON.parse(line) as Event]));
  const until = (found: (all: readonly Event[]) => boolean) =>
    vi.waitFor(
      async () => {
        const all = await events();
        if (!found(all)) throw new Error(`until now: ${JSON.stringify(all)}; ${await guest.run('cat /run/said')}`);
        return all;
      },
      { timeout: 120_000, interval: 1000 }, // each look starts programs in the guest, which has little time
    );
  const count = (all: readonly Event[], name: string) => all.filter((event) => name in event).length;
  const thereAgain = (n: number, there: boolean) =>
    vi.waitFor(() => guest.run(`test ${there ? '' : '!'} -e /sys/bus/pci/devices/${addressOf(n)}`), 20_000);

  /** Pulls card `n`, looks at what is told, and puts it in again. */
  async function pull(n: number, times: number): Promise<void> {
    const before = (await until((all) => count(all, 'running') === times)).length;
    await guest.qmp('device_del', { id: `card${n}` });
    const all = (await until((seen) => count(seen, 'alone') === times)).slice(before);
    const lost = all.find(({ link }) => link === 'down')!;
    expect(lost).toMatchObject({ name: `pci:${addressOf(n)}${wishes}` });
    expect(all.filter(({ failed }) => failed)).toMatchObject([{ failed: 'PORT_LOST', fatal: true, name: lost.name }]);
    expect(releases(all)[0], JSON.stringify(all)).toBeLessThan(RELEASE_MS);
    // The other wire's packets went round meanwhile.
    expect(all.find(({ alone }) => alone !== undefined)!.alone).toBeGreaterThan(100);
    await thereAgain(n, false);
    // The slot is free once the kernel has let go.
    await vi.waitFor(() => guest.qmp('device_add', card(n, iommu)), 20_000);
    await thereAgain(n, true);
    await bind(n);
  }

  for (const [model, pulled] of [
    ['virtio-net', 1],
    ['e1000e', 3],
  ] as const) {
    testWithGuest(
      `a card of ${model}, by ${backend}, is pulled and put in again: its port is lost, the others go on, it is opened again`,
      async () => {
        const order = [...[0, 1, 2, 3].filter((n) => n >> 1 !== pulled >> 1), pulled - 1, pulled];
        const ports = order.map((n) => `pci:${addressOf(n)}${wishes}`);
        const argument = JSON.stringify({ ports, address: addressOf(pulled), hugepages });
        await guest.run(`rm -f /run/stop /run/events; node ${SCRIPT} '${argument}' > /run/said 2>&1 &`);
        for (let n = 1; n <= PULLS; n++) await pull(pulled, n);
        await until((seen) => count(seen, 'running') === PULLS + 1);
        await guest.run('touch /run/stop');
        const all = await until((seen) => count(seen, 'ended') === 1);
        expect([await guest.run('cat /run/said'), all.filter(({ error }) => error)]).toEqual(['', []]);
        for (const ended of all.filter((event) => 'balanced' in event))
          expect(ended).toMatchObject({ balanced: true, bad: 0, framesMissing: 0 });
        const held = all.filter((event) => 'held' in event).map((event) => event.held as Held);
        console.log(`${model}: released in ${releases(all).join(', ')} ms; rss ${held.map(({ rss }) => rss >> 20)}`);
        for (const { rss, ...now } of held) expect({ ...now, rss: 0 }).toEqual({ ...held[0], rss: 0 });
        expect(held.at(-1)!.rss).toBeLessThan(held[0]!.rss * 1.25);
        expect(guest.console()).not.toMatch(/DMAR:.*fault|Oops|BUG:/);
      },
      300_000 + PULLS * 60_000,
    );
  }
});

/** How long each release took, in milliseconds. */
function releases(all: readonly Event[]): number[] {
  const at = (name: string) => all.filter((event) => name in event && event.link !== 'up').map((event) => event.at);
  const [told, closed, vanished] = ['link', 'closed', 'vanished'].map(at) as [number[], number[], number[]];
  return told.map((first, i) => Math.max(first, closed[i]!, vanished[i]!) - Math.min(first, closed[i]!, vanished[i]!));
}
