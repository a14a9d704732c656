import { expect, test } from 'vitest';
import { checksumNote, largeNote, modeNote, shareNote } from '../../../lib/drivers/xdp/notes.ts';

const eth0 = { name: 'eth0', kind: '' };

test('All queues open: there is nothing to say', () => {
  expect(shareNote(eth0, { opened: 4, first: 0, queues: 4 }, { rx: 0, tx: 0, combined: 4 })).toEqual([]);
});

test('One of eight combined queues: seven parts do not arrive, and ethtool can spread the traffic over one', () => {
  expect(shareNote(eth0, { opened: 1, first: 0, queues: 8 }, { rx: 0, tx: 0, combined: 8 })).toEqual([
    'eth0 has 8 rx queues, 1 opened: about 88 % of its traffic will not arrive; open all (rxQueues: 8), or before the start: ethtool -L eth0 combined 1',
  ]);
});

test('An interface whose queues are separate is told of its rx queues', () => {
  const [note] = shareNote(eth0, { opened: 2, first: 0, queues: 4 }, { rx: 4, tx: 4, combined: 0 });
  expect(note).toContain('about 50 % of its traffic will not arrive;');
  expect(note).toMatch(/before the start: ethtool -L eth0 rx 2$/);
});

test('A veth needs as many rx queues as its other end has tx queues', () => {
  const veth = { name: 'veth0', kind: 'veth' };
  const [note] = shareNote(veth, { opened: 1, first: 0, queues: 2 }, { rx: 2, tx: 2, combined: 0 });
  expect(note).toMatch(/ethtool -L veth0 rx 1, after ethtool -L INTERFACE tx 1 at its other end$/);
});

test('A driver that does not say how its queues are made has no command to change them', () => {
  const [note] = shareNote(eth0, { opened: 1, first: 0, queues: 4 }, undefined);
  expect(note).toMatch(/; open all \(rxQueues: 4\)$/);
});

test('Queues from another one on: what is to arrive must be sent there', () => {
  const [note] = shareNote(eth0, { opened: 1, first: 2, queues: 4 }, { rx: 0, tx: 0, combined: 4 });
  expect(note).toBe(
    'eth0 has 4 rx queues, 1 opened: about 75 % of its traffic will not arrive; what is to arrive must be sent to its queue 2: ethtool -N eth0',
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
  expect(modeNote('eth0', { mode: 'native' }, { zeroCopy: true, multiBuffer: false })).toBe(
    'eth0: XDP in native mode, zero-copy',
  );
  expect(modeNote('eth0', { mode: 'skb', why }, { zeroCopy: false, multiBuffer: false, refusal: 'EOPNOTSUPP' })).toBe(
    'eth0: XDP in skb mode (its driver has no native XDP), copy mode (its driver refuses zero-copy: EOPNOTSUPP)',
  );
  expect(modeNote('eth0', { mode: 'skb' }, { zeroCopy: false, multiBuffer: false })).toBe(
    'eth0: XDP in skb mode, copy mode',
  );
});
