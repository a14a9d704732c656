import { expect, test } from 'vitest';
import { checksumNote, shareNote } from '../../../lib/drivers/xdp/notes.ts';

test('All queues open: there is nothing to say', () => {
  expect(shareNote('eth0', { opened: 4, first: 0, queues: 4 }, { rx: 0, tx: 0, combined: 4 })).toEqual([]);
});

test('One of eight combined queues: seven parts do not arrive, and ethtool can spread the traffic over one', () => {
  expect(shareNote('eth0', { opened: 1, first: 0, queues: 8 }, { rx: 0, tx: 0, combined: 8 })).toEqual([
    'eth0 has 8 rx queues, 1 opened: 7 of 8 parts of its traffic will not arrive; ethtool -L eth0 combined 1, or open all (rxQueues: 8)',
  ]);
});

test('An interface whose queues are separate is told of its rx queues', () => {
  const [note] = shareNote('eth0', { opened: 2, first: 0, queues: 4 }, { rx: 4, tx: 4, combined: 0 });
  expect(note).toContain(
    '2 of 4 parts of its traffic will not arrive; ethtool -L eth0 rx 2, or open all (rxQueues: 4)',
  );
});

test('Queues from another one on: fewer queues would not help alone, and all cannot be opened from there', () => {
  const [note] = shareNote('eth0', { opened: 1, first: 2, queues: 4 }, undefined);
  expect(note).toBe(
    'eth0 has 4 rx queues, 1 opened: 3 of 4 parts of its traffic will not arrive; ethtool -L eth0 combined 3',
  );
});

test('Only a veth is told that checksums may be missing', () => {
  expect(checksumNote({ name: 'eth0', kind: '' })).toEqual([]);
  expect(checksumNote({ name: 'veth0', kind: 'veth' })[0]).toMatch(/^veth0 is a veth: .* ethtool -K INTERFACE tx off$/);
});
