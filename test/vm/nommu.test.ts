import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { Guest } from './guest.ts';
import { haveGuests, testWithGuest } from './tests.ts';

const MAIN = fileURLToPath(new URL('../../dist/lib/cli/main.js', import.meta.url));
const SCRIPT = fileURLToPath(new URL('./nommu-guest.mjs', import.meta.url));
/** Two cards on a wire to each other, and one of the kernel's that sends. */
const CARD = '0000:01:00.0';
const OTHER = '0000:02:00.0';
const VIRTIO = '0000:03:00.0';
const PAGES = 24;
const KILLS = Number(process.env.LINECARD_KILLS ?? 2);
const BACKENDS = { 'vfio-noiommu': 'vfio-pci --noiommu-mode', uio: 'uio_pci_generic' } as const;

describe('In a guest without an IOMMU', () => {
  let guest: Guest;
  const linecard = (args: string) => guest.run(`node ${MAIN} ${args}`);
  const script = async (args: string) => JSON.parse(await guest.run(`node ${SCRIPT} ${args}`));
  beforeAll(async () => {
    if (!haveGuests) return;
    const card = (n: number, device: string) => [
      ...['-netdev', `hubport,id=n${n},hubid=0`, '-device', `pcie-root-port,id=rp${n},chassis=${n},slot=${n}`],
      ...['-device', `${device},netdev=n${n},bus=rp${n},romfile=,mac=52:54:00:00:00:0${n}`],
    ];
    guest = await Guest.boot({
      memory: 1024,
      cpus: 2,
      args: [...card(0, 'e1000e'), ...card(1, 'e1000e'), ...card(2, 'virtio-net-pci,disable-legacy=on')],
      append: 'intel_iommu=off',
    });
    await guest.run(
      `echo ${PAGES} > /proc/sys/vm/nr_hugepages; modprobe -a e1000e virtio_net && mount -t tracefs tracefs /sys/kernel/tracing`,
    );
    expect(await guest.run('cat /proc/sys/vm/nr_hugepages')).toBe(`${PAGES}\n`);
  }, 400_000);
  afterAll(() => guest?.close());

  /** Broadcasts from the kernel's card, from now on. */
  const flood = async () => {
    await guest.run(`name=$(ls /sys/bus/pci/devices/${VIRTIO}/virtio*/net); ip link set $name up
      ip addr add 10.9.9.1/24 broadcast 10.9.9.255 dev $name 2> /dev/null
      setsid node -e '
        const socket = require("dgram").createSocket("udp4");
        const packet = Buffer.alloc(1000, 0xa5);
        const send = () => { for (let i = 0; i < 4; i++) socket.send(packet, 9, "10.9.9.255"); };
        socket.bind(() => { socket.setBroadcast(true); setInterval(send, 2); });
      ' > /tmp/flood.log 2>&1 &
      echo $! > /tmp/flood.pid`);
  };
  const endFlood = () => guest.run('kill $(cat /tmp/flood.pid)');
  /** What the kernel did, in order: of these functions. */
  const TRACED = ['pci_clear_master', 'free_huge_page'];
  const trace = () =>
    guest.run(`cd /sys/kernel/tracing && echo nop > current_tracer && echo ${TRACED.join(' ')} > set_ftrace_filter &&
      echo function > current_tracer`);
  const traced = async (except: string) => {
    const text = await guest.run('cat /sys/kernel/tracing/trace; echo nop > /sys/kernel/tracing/current_tracer');
    return text
      .split('\n')
      .filter((line) => !line.includes(`-${except} `))
      .flatMap((line) => TRACED.find((name) => line.includes(`: ${name} <-`)) ?? []);
  };
  const busMaster = async (address: string) =>
    (Number.parseInt(await guest.run(`od -An -tu1 -j4 -N1 /sys/bus/pci/devices/${address}/config`), 10) & 4) !== 0;

  for (const [backend, driver] of Object.entries(BACKENDS)) {
    describe(`devio-nommu, back end ${backend}`, () => {
      beforeAll(async () => {
        if (!haveGuests) return;
        for (const address of [CARD, OTHER]) await linecard(`bind ${address} ${driver}`);
      }, 300_000);

      testWithGuest('opens, resets and maps a card, with physical addresses', async () => {
        const result = await script(`${backend} look ${CARD}`);
        expect(result).toMatchObject({ backend, api: 'devio-nommu', vendor: 0x8086, device: 0x10d3, events: [] });
        // Memory space on, bus master off.
        expect(result.command & 6).toBe(2);
        expect(result.configBytes).toBe(4096);
        expect(result.apart).toBe(2048);
        expect(result.ring).toEqual([0, 65_535]);
        expect(result.vectors).toEqual(backend === 'uio' ? { msix: 0, msi: 0, intx: 1 } : { msix: 5, msi: 1, intx: 1 });
        expect(result.leftOver).toEqual({ dma: 0, window: 0 });
      });

      testWithGuest('is interrupted, again and again, by every kind that there is', async () => {
        const result = await script(`${backend} interrupts ${CARD}`);
        const thrice = [true, true, true];
        expect(result).toMatchObject({ intx: thrice, masked: true });
        if (backend === 'vfio-noiommu') expect(result).toMatchObject({ msix: thrice, msi: thrice });
      });

      testWithGuest('a packet goes from a frame of one card to a frame of the other', async () => {
        expect(await script(`${backend} dma ${CARD} ${OTHER}`)).toEqual({
          ...{ sent: true, received: true },
          leftOver: { dma: 0, window: 0 },
        });
      });

      testWithGuest('says what is missing, and opens a card once', async () => {
        const { risk, ordinary, second } = await script(`${backend} refusals ${CARD}`);
        expect(risk).toMatch(
          /the device can write to all memory of the machine.*; if you take that risk: pci:0000:01:00\.0,unsafe-dma=1$/,
        );
        expect(ordinary).toMatch(/frames are in ordinary pages.*--hugepages need$/);
        expect(second).toMatch(/another (engine|process) has it/);
        const command = await guest.try(`node ${MAIN} l2fwd pci:${CARD} pci:${OTHER} -T 1`);
        expect(command).toMatchObject({ status: 1, output: expect.stringContaining('can write to all memory') });
      });

      testWithGuest('once closed, a card touches no memory, although packets come', async () => {
        await flood();
        const result = await script(`${backend} closed ${CARD}`);
        await endFlood();
        expect(result).toMatchObject({ flooded: true, intact: true, leftOver: { dma: 0, window: 0 } });
        expect(result.command & 6).toBe(6);
        expect(await busMaster(CARD)).toBe(false);
      });

      testWithGuest(
        'when the process is killed, the card stops before its memory goes to others, who find it intact',
        async () => {
          await flood();
          for (let round = 0; round < KILLS; round++) {
            await guest.run('rm -f /tmp/flooded /tmp/canary /tmp/canary.json');
            await guest.run(`node ${SCRIPT} ${backend} flooded ${CARD} > /tmp/flooded.log 2>&1 &`);
            await guest.run(
              'for i in $(seq 300); do [ -s /tmp/flooded ] && exit; sleep 0.1; done; cat /tmp/flooded.log; exit 1',
            );
            await guest.run(`node ${SCRIPT} ${backend} canary ${PAGES} > /tmp/canary.json 2>&1 &`);
            await guest.run(
              'for i in $(seq 300); do [ -s /tmp/canary ] && exit; sleep 0.1; done; cat /tmp/canary.json; exit 1',
            );
            expect(await busMaster(CARD)).toBe(true);
            await trace();
            await guest.run('kill -9 $(cat /tmp/flooded)');
            const canary = await guest.run(
              'for i in $(seq 300); do [ -s /tmp/canary.json ] && break; sleep 0.1; done; cat /tmp/canary.json',
            );
            // The canary tries all the time, and gives back what it got of too few.
            const order = await traced((await guest.run('cat /tmp/canary')).trim());
            expect(JSON.parse(canary)).toMatchObject({ intact: true });
            expect(order[0]).toBe('pci_clear_master');
            expect(order).toContain('free_huge_page');
            expect(await busMaster(CARD)).toBe(false);
          }
          await endFlood();
          expect(await script(`${backend} dma ${CARD} ${OTHER}`)).toMatchObject({ received: true });
        },
        60_000 + KILLS * 60_000,
      );

      testWithGuest('the kernel gets the cards back, and they work', async () => {
        for (const address of [CARD, OTHER]) expect(await linecard(`unbind ${address}`)).toMatch(/→ e1000e\n$/);
        await flood();
        const received = await guest.run(`name=$(ls /sys/bus/pci/devices/${CARD}/net); ip link set $name up; sleep 3
          cat /sys/class/net/$name/statistics/rx_packets; ip link set $name down`);
        await endFlood();
        expect(Number(received)).toBeGreaterThan(100);
        expect(guest.console()).not.toMatch(/Oops|BUG:/);
      });
    });
  }
});
