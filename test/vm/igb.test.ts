/** The igb driver over VFIO with two of QEMU's 82576, which only the backported QEMU has. */
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { bindCards, bootCards, CARDS, expectAll, expectKernelDrives, expectSpread, play } from './cards.ts';
import type { Guest } from './guest.ts';
import { haveGuests, testWithGuest } from './tests.ts';

describe('igb in a guest with an IOMMU', () => {
  let guest: Guest;
  beforeAll(async () => {
    if (!haveGuests) return;
    guest = await bootCards('igb', { backported: true });
    await guest.run('modprobe igb');
    await bindCards(guest, true);
  }, 240_000);
  afterAll(() => guest?.close());

  for (const mode of ['busy', 'adaptive', 'interrupt'] as const) {
    testWithGuest(
      `sends and receives frames, loses none, and counts as the cards do, ${mode} mode`,
      async () => {
        const count = mode === 'adaptive' ? 10_000 : 2000;
        const played = await play(guest, { together: true, mode, count, rate: 1000 });
        expectAll(played, count);
        expect(played.speed).toBe(1000);
        expect(played.notes.join()).toContain('advanced descriptors, buffers of 1522 bytes, msix');
        expect(played.sleeps > 0).toBe(mode !== 'busy');
      },
      300_000,
    );
  }

  testWithGuest('spreads 100 flows over four rx queues, and over eight', async () => {
    expectSpread(await play(guest, { together: true, count: 2000, sprayed: true, queues: 4, ring: 1024 }), 2000);
    expectSpread(
      await play(guest, { together: true, mode: 'interrupt', count: 2000, sprayed: true, queues: 8, ring: 512 }),
      2000,
    );
  });

  testWithGuest('sends and receives long packets in several buffers', async () => {
    const parts = await play(guest, {
      together: true,
      count: 500,
      rate: 500,
      size: 3800,
      mtu: 9000,
      frameSize: 4096,
      ring: 256,
    });
    expect([parts.errors, parts.ledger]).toEqual([[], 'balanced']);
    expect(parts.sinks).toEqual([{ received: 500, foreign: 500 }]);
    for (const { rx } of [parts.near, parts.far])
      expect(rx).toEqual({ packets: 500, bytes: 500 * 3800, extra_frames: 500 });
  });

  testWithGuest('gives the cards back to their kernel driver, which works', async () => {
    expect(await bindCards(guest, false)).toContain(`${CARDS[0]}: vfio-pci → igb`);
    await expectKernelDrives(guest, 'igb');
    expect(guest.console()).not.toMatch(/Oops|BUG:|DMAR.*fault/);
  });
});
