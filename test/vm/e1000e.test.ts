/** The e1000e driver over VFIO with two of QEMU's 82574L. */
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { bindCards, bootCards, CARDS, expectAll, expectKernelDrives, expectSpread, play } from './cards.ts';
import type { Guest } from './guest.ts';
import { haveGuests, testWithGuest } from './tests.ts';

const READY = '/tmp/ready';

describe('e1000e in a guest with an IOMMU', () => {
  let guest: Guest;
  beforeAll(async () => {
    if (!haveGuests) return;
    guest = await bootCards('e1000e', { cpus: 2 });
    await guest.run('modprobe e1000e');
    await bindCards(guest, true);
  }, 240_000);
  afterAll(() => guest?.close());

  for (const mode of ['busy', 'adaptive', 'interrupt'] as const) {
    testWithGuest(
      `sends and receives frames, loses none, and counts as the cards do, ${mode} mode`,
      async () => {
        const count = mode === 'adaptive' ? 100_000 : 20_000;
        const played = await play(guest, { mode, count, rate: 5000 });
        expectAll(played, count);
        expect(played.speed).toBe(1000);
        expect(played.notes.join()).toContain('extended descriptors, buffers of 1522 bytes, msix');
        expect(played.sleeps > 0).toBe(mode !== 'busy');
      },
      300_000,
    );
  }

  testWithGuest('sends and receives with legacy descriptors, the longest standard packets', async () => {
    const played = await play(guest, { count: 5000, rate: 3000, size: 1514, options: ',legacy=1' });
    expectAll(played, 5000);
    expect(played.near.rx.bytes).toBe(5000 * 1514);
    expect(played.notes.join()).toContain('legacy descriptors');
  });

  testWithGuest('spreads flows over two rx queues, each with an interrupt of its own', async () => {
    expectSpread(await play(guest, { mode: 'interrupt', count: 10_000, sprayed: true, queues: 2 }), 10_000);
  });

  testWithGuest('sends and receives long packets: in one buffer, and in several', async () => {
    await guest.run('echo 40 > /proc/sys/vm/nr_hugepages');
    const whole = await play(guest, { count: 2000, rate: 1000, size: 9014, mtu: 9000, frameSize: 16_384, ring: 1024 });
    expectAll(whole, 2000);
    const parts = await play(guest, { count: 2000, rate: 1000, size: 3800, mtu: 9000, frameSize: 4096, ring: 1024 });
    expect([parts.errors, parts.ledger]).toEqual([[], 'balanced']);
    // The sink does not look into packets of several segments: foreign is all it says of them.
    expect(parts.sinks).toEqual([{ received: 2000, foreign: 2000 }]);
    for (const { rx, tx } of [parts.near, parts.far]) {
      expect(rx).toEqual({ packets: 2000, bytes: 2000 * 3800, extra_frames: 2000 });
      expect(tx).toMatchObject({ packets: 2000, bytes: 2000 * 3800 });
    }
  });

  testWithGuest('tells of its link, and goes on when that has come back', async () => {
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

  testWithGuest('gives the cards back to their kernel driver, which works', async () => {
    expect(await bindCards(guest, false)).toContain(`${CARDS[0]}: vfio-pci → e1000e`);
    await expectKernelDrives(guest, 'e1000e');
    expect(guest.console()).not.toMatch(/Oops|BUG:|DMAR.*fault/);
  });
});
