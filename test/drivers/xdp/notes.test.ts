import { expect, test } from 'vitest';
import { checksumNote, largeNote, modeNote, shareNote } from '../../../lib/drivers/xdp/notes.ts';

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

test('Of interfaces without hardware it is said what becomes of checksums; of others there is nothing to say', () => {
  expect(checksumNote({ name: 'eth0', kind: '', loopback: false }, true)).toEqual([]);
  expect(checksumNote({ name: 'veth0', kind: 'veth', loopback: false }, true)).toEqual([
    'veth0: TCP and UDP checksums that senders leave to hardware are filled in',
  ]);
  expect(checksumNote({ name: 'lo', kind: '', loopback: true }, false)[0]).toMatch(
    /^lo: checksum=keep: .* ethtool -K INTERFACE tx off$/,
  );
});

test('A veth in skb mode is told of packets that are too large', () => {
  expect(largeNote({ name: 'veth0', kind: 'veth' }, 'skb')[0]).toMatch(/ethtool -K INTERFACE tso off gso off$/);
  expect(largeNote({ name: 'veth0', kind: 'veth' }, 'native')).toEqual([]);
  expect(largeNote({ name: 'eth0', kind: '' }, 'skb')).toEqual([]);
});

test('The modes are told, and why they are not the best ones', () => {
  const why = 'its driver has no native XDP';
  expect(modeNote('eth0', { mode: 'native' }, { zeroCopy: true })).toBe('eth0: XDP in native mode, zero-copy');
  expect(modeNote('eth0', { mode: 'skb', why }, { zeroCopy: false, refusal: 'EOPNOTSUPP' })).toBe(
    'eth0: XDP in skb mode (its driver has no native XDP), copy mode (its driver refuses zero-copy: EOPNOTSUPP)',
  );
  expect(modeNote('eth0', { mode: 'skb' }, { zeroCopy: false })).toBe('eth0: XDP in skb mode, copy mode');
});
