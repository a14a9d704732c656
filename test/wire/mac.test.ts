import { fc, test } from '@fast-check/vitest';
import { describe, expect } from 'vitest';
import { PortError } from '../../lib/errors.ts';
import { getBytes, putBytes, sameBytes } from '../../lib/wire/bytes.ts';
import { formatMac, isGroupMac, macWords, parseMac, putBurstMacs, putMacs } from '../../lib/wire/mac.ts';

const mac = fc.uint8Array({ minLength: 6, maxLength: 6 });

describe('parseMac and formatMac', () => {
  test.prop([mac])('what formatMac writes parseMac reads, in either case', (bytes) => {
    expect(parseMac(formatMac(bytes))).toEqual(bytes);
    expect(parseMac(formatMac(bytes).toUpperCase())).toEqual(bytes);
  });

  test('formatMac reads six bytes from where it is told', () => {
    expect(formatMac(Uint8Array.of(9, 9, 2, 0, 0, 0xab, 0, 1, 9), 2)).toBe('02:00:00:ab:00:01');
  });

  test.each([
    '',
    '02:00:00:00:00',
    '02:00:00:00:00:01:02',
    '2:0:0:0:0:1',
    '02-00-00-00-00-01',
    '02:00:00:00:00:0g',
    ' 02:00:00:00:00:01',
    '02:00:00:00:00:01\n',
  ])('parseMac refuses %j and says how to write it', (text) => {
    let error: unknown;
    try {
      parseMac(text);
    } catch (e) {
      error = e;
    }
    expect(error).toBeInstanceOf(PortError);
    expect(error).toMatchObject({ code: 'BAD_MAC', message: expect.stringContaining(`"${text}"`) });
    expect(String(error)).toContain('02:00:00:00:00:01');
  });
});

describe('addresses in frames', () => {
  test.prop([mac, mac, fc.integer({ min: 0, max: 5 })])(
    'putMacs writes both addresses and no more',
    (to, from, word) => {
      const u8 = new Uint8Array(40).fill(0xee);
      putMacs(new Int32Array(u8.buffer), word * 4, macWords(to, from));
      const expected = new Uint8Array(40).fill(0xee);
      expected.set(to, word * 4);
      expected.set(from, word * 4 + 6);
      expect(u8).toEqual(expected);
    },
  );

  test('isGroupMac is true for multicast and broadcast only', () => {
    const of = (text: string) => isGroupMac(parseMac(text), 0);
    expect([
      of('ff:ff:ff:ff:ff:ff'),
      of('01:00:5e:00:00:01'),
      of('02:00:00:00:00:01'),
      of('fe:ff:ff:ff:ff:ff'),
    ]).toEqual([true, true, false, false]);
  });

  test.prop([fc.uint8Array({ minLength: 1, maxLength: 16 }), fc.integer({ min: 0, max: 9 }), fc.nat()])(
    'putBytes, getBytes and sameBytes agree, and sameBytes sees any difference',
    (bytes, at, n) => {
      const u8 = new Uint8Array(30);
      putBytes(u8, at, bytes);
      const out = new Uint8Array(bytes.length);
      getBytes(u8, at, out);
      expect(out).toEqual(bytes);
      expect(sameBytes(u8, at, bytes)).toBe(true);
      u8[at + (n % bytes.length)]! ^= 1 << (n & 7);
      expect(sameBytes(u8, at, bytes)).toBe(false);
    },
  );
});

test('a burst has both addresses in each of its frames, odd or even in number, and nowhere else', () => {
  const words = macWords(Uint8Array.of(1, 2, 3, 4, 5, 6), Uint8Array.of(7, 8, 9, 10, 11, 12));
  for (let count = 0; count <= 5; count++) {
    const bytes = new Uint8Array(6 * 64);
    const offsets = Int32Array.of(64, 0, 256, 128, 192, 320);
    putBurstMacs(new Int32Array(bytes.buffer), offsets, count, words);
    for (const [i, at] of offsets.entries()) {
      const written = i < count ? [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12] : Array(12).fill(0);
      expect([...bytes.subarray(at, at + 12)]).toEqual(written);
      expect(bytes.subarray(at + 12, at + 64).every((byte) => byte === 0)).toBe(true);
    }
  }
});
