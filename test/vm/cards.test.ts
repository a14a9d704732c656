/** The drivers of Intel's cards over VFIO, with two cards of QEMU's: what `matrix.test.ts` does not try with every card. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { bindCards, bootCards, CARDS, expectAll, expectKernelDrives, expectSpread, type Play, play } from './cards.ts';
import type { Guest, GuestOptions } from './guest.ts';
import { haveGuests, testWithGuest } from './tests.ts';

const READY = '/tmp/ready';
const REPLACE = fileURLToPath(new URL('./replace-guest.mjs', import.meta.url));
const REPLACEMENTS = Number(process.env.LINECARD_REPLACEMENTS ?? 5);
const REPLACE_MS = 120_000 + REPLACEMENTS * 5000;

interface Kind {
  readonly model: string;
  readonly guest: GuestOptions;
  /** What the emulation is fast enough for. */
  readonly count: number;
  readonly rate: number;
  readonly setUp: string;
  /** Spread over so many queues, of so many descriptors. */
  readonly spread: readonly Pick<Play, 'queues' | 'ring'>[];
  /** Descriptors for packets of several buffers. */
  readonly ring: number;
}

const KINDS: readonly Kind[] = [
  {
    model: 'e1000e',
    guest: { cpus: 2 },
    ...{ count: 10_000, rate: 3000, ring: 1024 },
    setUp: 'extended descriptors, buffers of 1522 bytes, msix',
    spread: [{ queues: 2 }],
  },
  {
    // Only the backported QEMU has it, with one cpu.
    model: 'igb',
    guest: { backported: true },
    ...{ count: 2000, rate: 1000, ring: 256 },
    setUp: 'advanced descriptors, buffers of 1522 bytes, msix',
    spread: [
      { queues: 4, ring: 1024 },
      { queues: 8, ring: 512 },
    ],
  },
];

for (const { model, guest: options, count, rate, setUp, spread, ring } of KINDS) {
  describe(`${model} in a guest with an IOMMU`, () => {
    let guest: Guest;
    const together = options.cpus === undefined;
    beforeAll(async () => {
      if (!haveGuests) return;
      guest = await bootCards(model, options);
      await guest.run(`modprobe ${model}`);
      await bindCards(guest, true);
    }, 240_000);
    afterAll(() => guest?.close());

    testWithGuest(
      'says how it was set up, and counts as the cards do',
      async () => {
        const played = await play(guest, { together, count, rate });
        expectAll(played, count);
        expect(played.speed).toBe(1000);
        expect(played.notes.join()).toContain(setUp);
      },
      300_000,
    );

    for (const queues of spread) {
      testWithGuest(
        `spreads 100 flows over ${queues.queues} rx queues, each with an interrupt of its own`,
        async () => {
          expectSpread(await play(guest, { together, mode: 'interrupt', count, sprayed: true, ...queues }), count);
        },
      );
    }

    testWithGuest('sends and receives long packets in several buffers', async () => {
      const long = { count: 500, rate: 500, size: 3800, mtu: 9000, frameSize: 4096 };
      const parts = await play(guest, { together, ...long, ring });
      expect([parts.errors, parts.ledger]).toEqual([[], 'balanced']);
      // The sink does not look into packets of several segments: foreign is all it says of them.
      expect(parts.sinks).toEqual([{ received: 500, foreign: 500 }]);
      for (const { rx, tx } of [parts.near, parts.far]) {
        expect(rx).toEqual({ packets: 500, bytes: 500 * 3800, extra_frames: 500 });
        expect(tx).toMatchObject({ packets: 500, bytes: 500 * 3800 });
      }
    });

    if (model === 'e1000e') onlyE1000e(() => guest);

    testWithGuest('gives the cards back to their kernel driver, which works', async () => {
      expect(await bindCards(guest, false)).toContain(`${CARDS[0]}: vfio-pci → ${model}`);
      await expectKernelDrives(guest, model);
      expect(guest.console()).not.toMatch(/Oops|BUG:|DMAR.*fault/);
    });
  });
}

function onlyE1000e(guestOf: () => Guest): void {
  testWithGuest(
    `goes on under ${REPLACEMENTS} later releases of its driver, one after the other under traffic: no frame is lost`,
    async () => {
      const [near, far] = CARDS.map((address) => `pci:${address}`);
      const options = { near, far, driver: 'e1000e', times: REPLACEMENTS, rate: 500 };
      const output = await guestOf().run(`node ${REPLACE} '${JSON.stringify(options)}'`, REPLACE_MS);
      const { error, said, took, errors, ports, cards, ...rest } = JSON.parse(
        output.slice(output.lastIndexOf('\n{') + 1),
      );
      expect([error, errors]).toEqual([undefined, []]);
      expect(said).toEqual(Array.from({ length: REPLACEMENTS * 2 }, () => true)); // of two cards each
      expect(rest).toMatchObject({ balanced: true, lost: 0, sink: { corrupt: 0, foreign: 0 } });
      const [{ rx: back, tx: out }, { rx: there, tx: sent }] = ports;
      expect([out.completed, there.packets]).toEqual([out.packets, out.packets]);
      expect([sent.completed, back.packets]).toEqual([sent.packets, sent.packets]);
      for (const { lost, invalid, errors: bad } of [back, there]) expect([lost, invalid, bad]).toEqual([0, 0, 0]);
      for (const card of cards) expect(card).toMatchObject({ resets: 0, tx_hangs: 0, mpc: 0 });
      console.log(`e1000e: exchanged in ${took.join(', ')} ms, ${out.packets} packets`);
    },
    REPLACE_MS,
  );

  testWithGuest('sends and receives with legacy descriptors, the longest standard packets', async () => {
    const played = await play(guestOf(), { count: 5000, rate: 3000, size: 1514, options: ',legacy=1' });
    expectAll(played, 5000);
    expect(played.near.rx.bytes).toBe(5000 * 1514);
    expect(played.notes.join()).toContain('legacy descriptors');
  });

  testWithGuest('sends and receives long packets in one buffer', async () => {
    await guestOf().run('echo 40 > /proc/sys/vm/nr_hugepages');
    const long = { count: 2000, rate: 1000, size: 9014, mtu: 9000, frameSize: 16_384, ring: 1024 };
    expectAll(await play(guestOf(), long), 2000);
  });

  testWithGuest('tells of its link, and goes on when that has come back', async () => {
    const guest = guestOf();
    await guest.run(`rm -f ${READY}`);
    const playing = play(guest, { count: 30_000, rate: 3000, ready: READY });
    // Commands wait for each other in the guest; this one does not.
    await new Promise((resolve) => setTimeout(resolve, 12_000));
    await guest.qmp('set_link', { name: 'card0', up: false });
    await new Promise((resolve) => setTimeout(resolve, 1500));
    await guest.qmp('set_link', { name: 'card0', up: true });
    const played = await playing;
    expect([played.errors, played.ledger]).toEqual([[], 'balanced']);
    expect(played.links).toEqual(expect.arrayContaining([`${CARDS[0]} down`, `${CARDS[0]} up`]));
    expect(played.near.card.link_changes).toBeGreaterThanOrEqual(2);
    // What was sent meanwhile is lost; what was sent after it is not.
    expect(played.near.rx.packets).toBeGreaterThan(played.atUp!);
    expect(played.gen.sent).toBe(30_000);
    expect(played.near.tx.completed).toBe(30_000);
  });
}
