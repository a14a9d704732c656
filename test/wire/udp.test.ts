import { fc, test } from '@fast-check/vitest';
import { expect } from 'vitest';
import { checksumOk } from '../../lib/wire/checksum.ts';
import { setUdpChecksum, udpChecksum, updateUdp16, writeUdpChecksum } from '../../lib/wire/udp.ts';

const memory = (bytes: Uint8Array) => {
  const buffer = new ArrayBuffer((bytes.length + 3) & ~3);
  new Uint8Array(buffer).set(bytes);
  return { i32: new Int32Array(buffer), view: new DataView(buffer) };
};

test.prop([fc.uint8Array({ minLength: 8, maxLength: 60 }), fc.nat({ max: 0xffff })])(
  'writeUdpChecksum overwrites whatever was there with one that checks, and never with "none"',
  (bytes, pseudo) => {
    const views = memory(bytes);
    writeUdpChecksum(views, 0, bytes.length, pseudo);
    expect(udpChecksum(views.view, 0)).not.toBe(0);
    expect(checksumOk(views.i32, 0, bytes.length, pseudo)).toBe(true);
  },
);

test('writeUdpChecksum writes 0xffff for a computed zero', () => {
  const views = memory(Uint8Array.of(0xff, 0xff, 0, 0, 0, 0, 0, 0));
  writeUdpChecksum(views, 0, 8, 0);
  expect(udpChecksum(views.view, 0)).toBe(0xffff);
});

test.prop([fc.uint8Array({ minLength: 8, maxLength: 60 }), fc.nat({ max: 0xffff })])(
  'updateUdp16 keeps a checksum right when a port changes',
  (bytes, port) => {
    const views = memory(bytes);
    writeUdpChecksum(views, 0, bytes.length, 17);
    const from = views.view.getUint16(2);
    views.view.setUint16(2, port);
    setUdpChecksum(views.view, 0, updateUdp16(udpChecksum(views.view, 0), from, port));
    expect(udpChecksum(views.view, 0)).not.toBe(0);
    expect(checksumOk(views.i32, 0, bytes.length, 17)).toBe(true);
  },
);

test('updateUdp16 leaves a datagram without checksum without one', () => {
  expect(updateUdp16(0, 1, 2)).toBe(0);
});
