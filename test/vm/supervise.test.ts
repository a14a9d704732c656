/** Engines that are killed under traffic, supervised: their cards stop at once, no memory is written that is not theirs. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { Guest, type GuestOptions } from './guest.ts';
import { haveGuests, testWithGuest } from './tests.ts';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const MAIN = here('../../dist/lib/cli/main.js');
const KILL = here('./kill-guest.mjs');
const CANARY = here('./nommu-guest.mjs');
/** Two cards are the engine's, the third, on the first one's wire, is the kernel's, which sends. */
const FUNCTIONS = ['0000:01:00.0', '0000:02:00.0'];
const SENDER = '0000:03:00.0';
const PAGES = 28;
/** The number is 50. */
const KILLS = Number(process.env.LINECARD_KILLS ?? 2);

interface Round {
  readonly before: { readonly busMasters: number; readonly kept: number };
  readonly offMs: number;
  readonly againMs: number;
  readonly forwardsMs: number;
  readonly errors: readonly unknown[];
  readonly signal: string;
  readonly settled: readonly { readonly stoppedMs: number; readonly resetMs: number; readonly releasedMs: number }[];
}

const cards = (options: string) =>
  [0, 1, 0].flatMap((hub, n) => [
    ...['-netdev', `hubport,id=n${n},hubid=${hub}`, '-device', `pcie-root-port,id=rp${n},chassis=${n},slot=${n}`],
    ...['-device', `virtio-net-pci,netdev=n${n},bus=rp${n},romfile=,mac=52:54:00:00:00:0${n + 1},${options}`],
  ]);

/** Broadcasts from the kernel's card, from now on. */
const FLOOD = `name=$(ls /sys/bus/pci/devices/${SENDER}/virtio*/net); ip link set $name up
  ip addr add 10.9.9.1/24 broadcast 10.9.9.255 dev $name
  setsid node -e '
    const socket = require("dgram").createSocket("udp4");
    const packet = Buffer.alloc(1000, 0xa5);
    const send = () => { for (let i = 0; i < 4; i++) socket.send(packet, 9, "10.9.9.255"); };
    socket.bind(() => { socket.setBroadcast(true); setInterval(send, 2); });
  ' > /tmp/flood.log 2>&1 &`;

async function boot(options: GuestOptions): Promise<Guest> {
  const guest = await Guest.boot({ memory: 1024, cpus: 2, ...options });
  await guest.run(`echo ${PAGES} > /proc/sys/vm/nr_hugepages; modprobe virtio_net`);
  await guest.run(FLOOD);
  return guest;
}

const linecard = (guest: Guest, args: string) => guest.run(`node ${MAIN} ${args}`, 120_000);

async function bindAll(guest: Guest, driver: string): Promise<void> {
  for (const address of FUNCTIONS) await linecard(guest, `bind ${address} ${driver}`);
}

/** Kills a supervised engine `KILLS` times, and expects that all went as it should. */
async function killAgain(guest: Guest, suffix: string, engine: readonly string[]): Promise<void> {
  const ports = FUNCTIONS.map((address) => `pci:${address}${suffix}`);
  const options = { ports, functions: FUNCTIONS, kills: KILLS, engine };
  const output = await guest.run(`node ${KILL} '${JSON.stringify(options)}'`, 60_000 + KILLS * 60_000);
  const { rounds, error, end, after, noise } = JSON.parse(output.slice(output.lastIndexOf('\n{') + 1));
  expect({ error, noise }).toEqual({ error: undefined, noise: [] });
  expect(rounds).toHaveLength(KILLS);
  for (const round of rounds as Round[]) {
    expect(round).toMatchObject({ before: { busMasters: 2, kept: 2 }, errors: [], signal: 'SIGKILL' });
    expect(round.offMs).toBeLessThan(1000);
    expect(round.settled).toHaveLength(2);
    // All are stopped before any is reset, and the memory goes last.
    const stopped = round.settled.map(({ stoppedMs }) => stoppedMs);
    const resets = round.settled.map(({ resetMs }) => resetMs);
    const released = round.settled.map(({ releasedMs }) => releasedMs);
    expect(Math.max(...stopped)).toBeLessThanOrEqual(Math.min(...resets));
    expect(Math.max(...resets)).toBeLessThanOrEqual(Math.min(...released));
  }
  expect(end).toEqual({ code: 0, signal: null });
  // Stopped in order by the engine itself: nothing was left to see to.
  expect(after).toEqual({ busMasters: 0, kept: 0, settled: 2 * KILLS });
  console.log(timesOf(rounds));
}

/** Median and maximum, in milliseconds from the kill (offMs, againMs, forwardsMs) or from when it was known. */
function timesOf(rounds: readonly Round[]): string {
  const list = (name: string, values: number[]) => {
    const sorted = values.sort((a, b) => a - b);
    return `${name} ${sorted[sorted.length >> 1]!.toFixed(1)} (${sorted.at(-1)!.toFixed(1)})`;
  };
  const of = (pick: (one: Round['settled'][number]) => number) => rounds.flatMap(({ settled }) => settled.map(pick));
  return [
    list(
      'kill to bus master off:',
      rounds.map(({ offMs }) => offMs),
    ),
    list(
      'known to off:',
      of(({ stoppedMs }) => stoppedMs),
    ),
    list(
      'to reset:',
      of(({ resetMs }) => resetMs),
    ),
    list(
      'to memory given back:',
      of(({ releasedMs }) => releasedMs),
    ),
    list(
      'kill to next start:',
      rounds.map(({ againMs }) => againMs),
    ),
    list(
      'to packets again:',
      rounds.map(({ forwardsMs }) => forwardsMs),
    ),
  ].join(', ');
}

async function expectNoFaults(guest: Guest): Promise<void> {
  expect(await guest.run('dmesg | grep -E "DMAR:.*(fault|DMA (Read|Write))|Oops|BUG:" || true')).toBe('');
}

const TIMEOUT = 120_000 + KILLS * 60_000;

describe('A supervised engine that is killed, behind an IOMMU', () => {
  let guest: Guest;
  beforeAll(async () => {
    if (!haveGuests) return;
    guest = await boot({
      machine: 'q35,kernel-irqchip=split',
      args: ['-device', 'intel-iommu,intremap=on,caching-mode=on', ...cards('disable-legacy=on,iommu_platform=on')],
      append: 'intel_iommu=on iommu=pt',
    });
    await bindAll(guest, 'vfio-pci');
  }, 400_000);
  afterAll(() => guest?.close());

  testWithGuest(
    'has its cards stopped and reset, the IOMMU sees no fault, and it starts again',
    async () => {
      await killAgain(guest, '', []);
      await expectNoFaults(guest);
    },
    TIMEOUT,
  );

  testWithGuest('for good, has its cards given back to the kernel', async () => {
    const ports = FUNCTIONS.map((address) => `pci:${address}`).join(' ');
    const { status, output } = await guest.try(
      `node ${MAIN} supervise --rebind -- l2fwd ${ports} -T 0 > /tmp/l2fwd.out 2> /tmp/supervise.err &
       for i in $(seq 600); do [ "$(ls /run/linecard/kept 2> /dev/null | wc -l)" = 2 ] && break; sleep 0.1; done
       kill -9 $(pgrep -f 'main.js l2fwd'); wait $!; code=$?; cat /tmp/supervise.err; exit $code`,
      120_000,
    );
    expect({ status, output }).toMatchObject({ status: 137 });
    for (const address of FUNCTIONS) {
      expect(output).toMatch(
        new RegExp(`${address}: bus master off after [\\d.]+ ms, reset after [\\d.]+ ms, memory given back`),
      );
      expect(output).toContain(`${address}: back with virtio-pci`);
      expect(await guest.run(`ls /sys/bus/pci/devices/${address}/virtio*/net`)).toMatch(/\w/);
    }
  });
});

describe('A supervised engine that is killed, without an IOMMU', () => {
  let guest: Guest;
  beforeAll(async () => {
    if (!haveGuests) return;
    guest = await boot({ args: cards('disable-legacy=on'), append: 'intel_iommu=off' });
    await guest.run('mount -t tracefs tracefs /sys/kernel/tracing');
  }, 400_000);
  afterAll(() => guest?.close());

  const BACKENDS = [
    { backend: 'vfio-noiommu', driver: 'vfio-pci --noiommu-mode', write: 'vfio_pci_config_rw' },
    { backend: 'uio', driver: 'uio_pci_generic', write: 'pci_write_config' },
  ] as const;
  const engine = ['--hugepages', 'need', '--frames', '4096'];

  for (const { backend, driver, write } of BACKENDS) {
    describe(`by ${backend}`, () => {
      beforeAll(async () => {
        if (haveGuests) await bindAll(guest, driver);
      }, 300_000);

      testWithGuest(
        'has its cards stopped and reset, and starts again',
        async () => {
          await killAgain(guest, ',unsafe-dma=1', engine);
          await expectNoFaults(guest);
        },
        TIMEOUT,
      );

      testWithGuest(
        'has its memory given to others only when its cards have stopped: they find it untouched',
        async () => {
          const ports = FUNCTIONS.map((address) => `pci:${address},unsafe-dma=1`).join(' ');
          for (let round = 0; round < KILLS; round++) {
            await guest.run(
              `rm -f /tmp/canary /tmp/canary.json
              node ${MAIN} supervise -- l2fwd ${ports} ${engine.join(' ')} -T 0 > /tmp/l2fwd.out 2>&1 &
              for i in $(seq 600); do [ "$(ls /run/linecard/kept 2> /dev/null | wc -l)" = 2 ] && break; sleep 0.1; done
              node ${CANARY} ${backend} canary ${PAGES} > /tmp/canary.json 2>&1 &
              for i in $(seq 300); do [ -s /tmp/canary ] && exit; sleep 0.1; done; cat /tmp/canary.json /tmp/l2fwd.out; exit 1`,
              120_000,
            );
            await guest.run(`cd /sys/kernel/tracing && echo nop > current_tracer && echo ${write} free_huge_page > set_ftrace_filter &&
              echo function > current_tracer; kill -9 $(pgrep -f 'main.js l2fwd')`);
            const canary = await guest.run(
              'for i in $(seq 600); do [ -s /tmp/canary.json ] && break; sleep 0.1; done; cat /tmp/canary.json',
              90_000,
            );
            const trace = await guest.run(
              'cat /sys/kernel/tracing/trace; echo nop > /sys/kernel/tracing/current_tracer',
            );
            const pid = (await guest.run('cat /tmp/canary')).trim();
            const order = trace
              .split('\n')
              .filter((line) => !line.includes(`-${pid} `))
              .flatMap((line) => /: (\w+) <-/.exec(line)?.[1] ?? []);
            expect(JSON.parse(canary)).toMatchObject({ intact: true });
            // A write of configuration space for each card, and only then pages that are free.
            expect(order.slice(0, 2)).toEqual([write, write]);
            expect(order).toContain('free_huge_page');
          }
        },
        TIMEOUT,
      );

      testWithGuest('and its supervising process with it: the next one finds their cards, and stops them', async () => {
        const ports = FUNCTIONS.map((address) => `pci:${address},unsafe-dma=1`).join(' ');
        await guest.run(
          `node ${MAIN} supervise -- l2fwd ${ports} ${engine.join(' ')} -T 0 > /tmp/l2fwd.out 2>&1 &
          for i in $(seq 600); do [ "$(ls /run/linecard/kept 2> /dev/null | wc -l)" = 2 ] && break; sleep 0.1; done; sleep 1
          kill -9 $(pgrep -f 'main.js (supervise|l2fwd)'); sleep 1; ls /run/linecard/kept`,
          120_000,
        );
        const output = await guest.run(`node ${MAIN} supervise 2>&1; ls /run/linecard/kept`);
        for (const address of FUNCTIONS) {
          expect(output).toMatch(new RegExp(`^linecard supervise: ${address}: an engine that died had`, 'm'));
          expect(await guest.run(`od -An -tu1 -j4 -N1 /sys/bus/pci/devices/${address}/config`)).toMatch(/^ +[0-3]\n$/);
        }
        expect(output).not.toContain('.json');
        expect(await linecard(guest, `l2fwd ${ports} ${engine.join(' ')} -T 0 --time 2`)).toContain('Ledger: balanced');
      });
    });
  }
});
