/** Packets as a kernel sends them when hardware is to make the checksum, and packets that look like them. */
import { fc, test } from '@fast-check/vitest';
import { describe, expect } from 'vitest';
import { checksumOk, fold } from '../../lib/wire/checksum.ts';
import { ipv4PseudoSum } from '../../lib/wire/ipv4.ts';
import { ipv6PseudoSum } from '../../lib/wire/ipv6.ts';
import { finishChecksum } from '../../lib/wire/partial-checksum.ts';

type Kind = { readonly version: 4 | 6; readonly protocol: number; readonly tags: number };

const AT = 256;
const kinds = fc.record({
  version: fc.constantFrom(4 as const, 6 as const),
  protocol: fc.constantFrom(6, 17),
  tags: fc.constantFrom(0, 1, 2),
});
const payloads = fc.uint8Array({ maxLength: 300 });

/** A frame with random contents, and where things are in it. */
function make({ version, protocol, tags }: Kind, payload: Uint8Array, options = 0) {
  const u8 = new Uint8Array(2048).fill(0xa5);
  const view = new DataView(u8.buffer);
  const l3 = AT + 14 + tags * 4;
  for (let i = 0; i < tags; i++) view.setUint16(AT + 12 + i * 4, i === 0 && tags === 2 ? 0x88a8 : 0x8100);
  view.setUint16(l3 - 2, version === 4 ? 0x0800 : 0x86dd);
  const header = version === 4 ? 20 + options * 4 : 40;
  const l4 = l3 + header;
  const length = (protocol === 6 ? 20 : 8) + payload.length;
  if (version === 4) {
    u8[l3] = 0x45 + options;
    view.setUint16(l3 + 2, header + length);
    view.setUint16(l3 + 6, 0x4000); // don't fragment
    u8[l3 + 9] = protocol;
  } else {
    u8[l3] = 0x60;
    view.setUint16(l3 + 4, length);
    u8[l3 + 6] = protocol;
  }
  u8.set(payload, l4 + (protocol === 6 ? 20 : 8));
  const pseudo = version === 4 ? ipv4PseudoSum(view, l3, length) : ipv6PseudoSum(view, l3, protocol, length);
  const field = l4 + (protocol === 6 ? 16 : 6);
  const memory = { i32: new Int32Array(u8.buffer), u16: new Uint16Array(u8.buffer) };
  const partial = () => view.setUint16(field, fold(pseudo));
  const valid = () => checksumOk(memory.i32, l4, length, pseudo);
  return { u8, view, l3, l4, field, memory, partial, valid, bytes: l4 + length - AT };
}

describe('finishChecksum', () => {
  test.prop([kinds, payloads, fc.integer({ min: 0, max: 10 }), fc.integer({ min: 0, max: 40 })])(
    'makes the checksum of a packet that was left to hardware, and changes nothing else',
    (kind, payload, options, padding) => {
      const packet = make(kind, payload, options);
      packet.partial();
      const before = packet.u8.slice();
      expect(finishChecksum(packet.memory, AT, packet.bytes + padding)).toBe(true);
      expect(packet.valid()).toBe(true);
      expect(packet.view.getUint16(packet.field)).not.toBe(0);
      before.set(packet.u8.subarray(packet.field, packet.field + 2), packet.field);
      expect(packet.u8).toEqual(before);
    },
  );

  test.prop([kinds, payloads, fc.integer({ min: 0, max: 0xffff })])(
    'leaves any other checksum as it is, right or wrong',
    (kind, payload, check) => {
      const packet = make(kind, payload);
      packet.partial();
      fc.pre(packet.view.getUint16(packet.field) !== check);
      packet.view.setUint16(packet.field, check);
      const before = packet.u8.slice();
      expect(finishChecksum(packet.memory, AT, packet.bytes)).toBe(false);
      expect(packet.u8).toEqual(before);
    },
  );

  test.prop([kinds, payloads.filter((payload) => payload.length > 1)])(
    'leaves a valid packet as it is whose checksum happens to be the sum of its pseudo-header',
    (kind, payload) => {
      const packet = make(kind, payload);
      packet.partial();
      // The last even word of the payload makes the whole right.
      const at = packet.l4 + (kind.protocol === 6 ? 20 : 8);
      packet.view.setUint16(at, 0);
      finishChecksum(packet.memory, AT, packet.bytes);
      const difference = packet.view.getUint16(packet.field);
      packet.partial();
      const word = fold(difference + (~packet.view.getUint16(packet.field) & 0xffff));
      packet.view.setUint16(at, word);
      expect(packet.valid()).toBe(true);
      const before = packet.u8.slice();
      finishChecksum(packet.memory, AT, packet.bytes);
      expect(packet.u8).toEqual(before);
    },
  );

  test.prop([kinds, payloads, fc.integer({ min: 14, max: 400 })])(
    'neither reads nor writes as a packet what is not all in the frame',
    (kind, payload, length) => {
      const packet = make(kind, payload);
      packet.partial();
      fc.pre(length < packet.bytes);
      const before = packet.u8.slice();
      expect(finishChecksum(packet.memory, AT, length)).toBe(false);
      expect(packet.u8).toEqual(before);
    },
  );

  test.prop([fc.uint8Array({ minLength: 14, maxLength: 1514 })])('survives any bytes', (bytes) => {
    const u8 = new Uint8Array(2048);
    u8.set(bytes, AT);
    const memory = { i32: new Int32Array(u8.buffer), u16: new Uint16Array(u8.buffer) };
    finishChecksum(memory, AT, bytes.length);
    expect(u8.subarray(AT + bytes.length).every((byte) => byte === 0)).toBe(true);
  });

  test('leaves fragments alone: their checksum is of a whole that is not here', () => {
    for (const fragment of [0x2000, 0x0001, 0x1fff]) {
      const packet = make({ version: 4, protocol: 17, tags: 0 }, new Uint8Array(32));
      packet.partial();
      packet.view.setUint16(packet.l3 + 6, fragment);
      expect(finishChecksum(packet.memory, AT, packet.bytes)).toBe(false);
    }
  });

  test('knows TCP and UDP only', () => {
    const packet = make({ version: 4, protocol: 17, tags: 0 }, new Uint8Array(32));
    packet.u8[packet.l3 + 9] = 132; // SCTP has a CRC
    expect(finishChecksum(packet.memory, AT, packet.bytes)).toBe(false);
  });

  test('refuses headers that contradict themselves', () => {
    const packet = make({ version: 4, protocol: 17, tags: 0 }, new Uint8Array(32));
    packet.partial();
    packet.u8[packet.l3] = 0x44;
    expect(finishChecksum(packet.memory, AT, packet.bytes)).toBe(false);
    packet.u8[packet.l3] = 0x45;
    packet.view.setUint16(packet.l3 + 2, 27); // 7 bytes of UDP
    expect(finishChecksum(packet.memory, AT, packet.bytes)).toBe(false);
  });
});
