/** The Internet checksum against a reference that adds one byte at a time. */
import { fc, test } from '@fast-check/vitest';
import { describe, expect } from 'vitest';
import { checksum, checksumOk, fold, sum, update16, update32 } from '../../lib/wire/checksum.ts';

/** RFC 1071 §1, word by word; an odd last byte is padded with zero. */
function reference(bytes: readonly number[] | Uint8Array): number {
  let total = 0;
  for (let i = 0; i < bytes.length; i += 2) {
    total += ((bytes[i] ?? 0) << 8) | (bytes[i + 1] ?? 0);
    if (total > 0xffff) total -= 0xffff;
  }
  return total;
}

/** Memory full of ones around `bytes`, which start at `at`: whatever reads beyond them gets a wrong sum. */
function memory(bytes: Uint8Array, at: number): Int32Array {
  const u8 = new Uint8Array((at + bytes.length + 11) & ~3).fill(0xff);
  u8.set(bytes, at);
  return new Int32Array(u8.buffer);
}

const some = fc.uint8Array({ maxLength: 200 });
const at = fc.integer({ min: 0, max: 20 });

describe('sum', () => {
  test('adds the example of RFC 1071 §3', () => {
    const bytes = Uint8Array.of(0x00, 0x01, 0xf2, 0x03, 0xf4, 0xf5, 0xf6, 0xf7);
    expect(sum(memory(bytes, 0), 0, 8)).toBe(0xddf2);
  });

  test.prop([some, at])('equals the reference for any bytes, length and alignment', (bytes, start) => {
    expect(sum(memory(bytes, start), start, bytes.length)).toBe(reference(bytes));
  });

  test('equals the reference for every length to 70 at every alignment', () => {
    const bytes = Uint8Array.from({ length: 70 }, (_, i) => (i * 151 + 7) & 0xff);
    for (let start = 0; start < 4; start++) {
      for (let length = 0; length <= 70; length++) {
        const part = bytes.subarray(0, length);
        expect(sum(memory(part, start), start, length), `${length} at ${start}`).toBe(reference(part));
      }
    }
  });

  test('does not overflow over 65,535 bytes of ones', () => {
    const bytes = new Uint8Array(65_535).fill(0xff);
    for (let start = 0; start < 4; start++) {
      expect(sum(memory(bytes, start), start, bytes.length)).toBe(reference(bytes));
    }
  });

  test('of nothing is zero, wherever it is', () => {
    expect([0, 1, 2, 3].map((start) => sum(memory(new Uint8Array(0), start), start, 0))).toEqual([0, 0, 0, 0]);
  });
});

describe('fold', () => {
  test.prop([fc.nat()])('is the sum modulo 65,535, and zero only for zero', (n) => {
    expect(fold(n)).toBe(n === 0 ? 0 : ((n - 1) % 0xffff) + 1);
  });
});

describe('checksum and checksumOk', () => {
  test.prop([fc.uint8Array({ minLength: 4, maxLength: 200 }), at, fc.integer({ min: 0, max: 0x5_ffff })])(
    'a field that holds the checksum makes the whole consistent, and any flipped bit does not',
    (bytes, start, before) => {
      bytes.fill(0, 2, 4);
      const check = checksum(memory(bytes, start), start, bytes.length, before);
      bytes[2] = check >>> 8;
      bytes[3] = check & 0xff;
      expect(checksumOk(memory(bytes, start), start, bytes.length, before)).toBe(true);
      for (let bit = 0; bit < bytes.length * 8; bit += 5) {
        bytes[bit >>> 3]! ^= 1 << (bit & 7);
        expect(checksumOk(memory(bytes, start), start, bytes.length, before)).toBe(false);
        bytes[bit >>> 3]! ^= 1 << (bit & 7);
      }
    },
  );
});

describe('update16 and update32', () => {
  const words = fc.array(fc.integer({ min: 0, max: 0xffff }), { minLength: 3, maxLength: 20 });
  const bytesOf = (list: readonly number[]) => list.flatMap((word) => [word >>> 8, word & 0xff]);
  const checkOf = (list: readonly number[]) => ~reference(bytesOf(list)) & 0xffff;

  test('mends the example of RFC 1624 §4, where the older equation gave 0xffff', () => {
    expect(update16(0xdd2f, 0x5555, 0x3285)).toBe(0x0000);
  });

  test.prop([words, fc.nat(), fc.integer({ min: 0, max: 0xffff })])('update16 equals computing anew', (list, n, to) => {
    const next = list.with(n % list.length, to);
    fc.pre(next.some((word) => word !== 0));
    expect(update16(checkOf(list), list[n % list.length]!, to)).toBe(checkOf(next));
  });

  test.prop([words, fc.integer()])('update32 equals computing anew, for signed and unsigned values', (list, to) => {
    const next = list.with(0, to >>> 16).with(1, to & 0xffff);
    fc.pre(next.some((word) => word !== 0));
    const from = (list[0]! << 16) | list[1]!;
    expect(update32(checkOf(list), from, to)).toBe(checkOf(next));
    expect(update32(checkOf(list), from >>> 0, to >>> 0)).toBe(checkOf(next));
  });
});
