/** The probe: what the writer writes, read with literal offsets; what the reader makes of whatever comes. */
import { fc, test } from '@fast-check/vitest';
import { describe, expect } from 'vitest';
import { checksumOk, fold } from '../../lib/wire/checksum.ts';
import { checkIpv4, ipv4PseudoSum } from '../../lib/wire/ipv4.ts';
import { parseMac } from '../../lib/wire/mac.ts';
import { checkPattern, patternKey, tailSum, tailSumOf, writePattern } from '../../lib/wire/pattern.ts';
import { CORRUPT, FOREIGN, makeProbeReader, makeProbeWriter } from '../../lib/wire/probe.ts';
import { makeProbeTemplate } from '../../lib/wire/probe-template.ts';
import { checkUdp } from '../../lib/wire/udp.ts';
import { dissect, noTshark } from './tshark.ts';

const AT = 64;
const word = fc.integer({ min: -(2 ** 31), max: 2 ** 31 - 1 });
const size = fc.oneof(fc.integer({ min: 60, max: 80 }), fc.integer({ min: 60, max: 1514 }));
const flow = fc.nat({ max: 0xffff });
const high = fc.nat({ max: 0x1f_ffff });

const template = (size: number, flow: number, tx = 0) =>
  makeProbeTemplate({
    destinationMac: parseMac('02:00:00:00:00:02'),
    sourceMac: parseMac('02:00:00:00:00:01'),
    source: 0xc612_0001 | 0,
    destination: 0xc613_0001 | 0,
    sourcePort: 50_000,
    destinationPort: 9,
    flow,
    tx,
    size,
  });

/** Memory with one probe in it, and 0xee around it. */
function probe(size: number, flow: number, high: number, low: number) {
  const u8 = new Uint8Array(2048).fill(0xee);
  const i32 = new Int32Array(u8.buffer);
  makeProbeWriter(i32, template(size, flow), size)(AT, 0, high, low);
  return { u8, i32, view: new DataView(u8.buffer), frame: u8.subarray(AT, AT + size) };
}

describe('pattern', () => {
  /** Byte i of the pattern, from its description alone. */
  const byteOf = (key: number, i: number): number => {
    const x = (BigInt(key) + BigInt(i >>> 3) * 0x9e37_79b9n) & 0xffff_ffffn;
    const w = ((i >>> 2) & 1) === 0 ? x : ~x & 0xffff_ffffn;
    return Number((w >> BigInt((i & 3) * 8)) & 0xffn);
  };
  const bytes = fc.nat({ max: 100 });

  test.prop([bytes, word])('writes the described bytes, zeros to the end of the word, and no more', (n, key) => {
    const u8 = new Uint8Array(128).fill(0xee);
    writePattern(new Int32Array(u8.buffer), 2, n, key);
    const expected = new Uint8Array(128).fill(0xee);
    expected.fill(0, 8, 8 + ((n + 3) & ~3));
    for (let i = 0; i < n; i++) expected[8 + i] = byteOf(key, i);
    expect(u8).toEqual(expected);
  });

  test.prop([bytes, word])('tailSum is its sum, as far as an Internet checksum can tell', (n, key) => {
    let sum = 0;
    for (let i = 0; i < n; i++) sum += byteOf(key, i) << ((i & 1) * 8);
    expect(tailSum(n, key) % 0xffff).toBe(sum % 0xffff);
    const i32 = new Int32Array(32);
    writePattern(i32, 2, n, key);
    new Uint8Array(i32.buffer).fill(0xff, 8 + n); // whatever follows
    expect(tailSumOf(i32, 2, n)).toBe(tailSum(n, key));
  });

  test.prop([word, fc.uint8Array({ minLength: 3, maxLength: 3 })], { numRuns: 20 })(
    'checkPattern accepts it whatever follows, and sees any flipped bit',
    (key, after) => {
      for (let n = 1; n <= 24; n++) {
        const u8 = new Uint8Array(128);
        const i32 = new Int32Array(u8.buffer);
        writePattern(i32, 2, n, key);
        u8.set(after, 8 + n);
        expect(checkPattern(i32, 2, n, key)).toBe(true);
        for (let bit = 0; bit < n * 8; bit++) {
          u8[8 + (bit >>> 3)]! ^= 1 << (bit & 7);
          expect(checkPattern(i32, 2, n, key)).toBe(false);
          u8[8 + (bit >>> 3)]! ^= 1 << (bit & 7);
        }
      }
    },
  );

  test('differs between all of 100,000 packets of one flow and of 100,000 flows and sequences', () => {
    const one = Array.from({ length: 100_000 }, (_, low) => patternKey(3, 0, low));
    expect(new Set(one).size).toBe(100_000);
    const many = new Set<number>();
    for (let f = 0; f < 1000; f++) for (let low = 0; low < 100; low++) many.add(patternKey(f, 0, low));
    // 32-bit keys: about one in 43,000 pairs of that many collides by chance.
    expect(many.size).toBeGreaterThan(99_990);
  });
});

describe('makeProbeWriter', () => {
  test.prop([size, flow, high, word])('writes valid IPv4 and UDP headers and checksums', (length, f, hi, lo) => {
    const { view, i32 } = probe(length, f, hi, lo);
    expect(checkIpv4(view, AT + 14, length - 14)).toBe(20);
    expect(view.getUint16(AT + 16)).toBe(length - 14);
    expect(checkUdp(view, AT + 34, length - 34)).toBe(8);
    expect(view.getUint16(AT + 38)).toBe(length - 34);
    expect(checksumOk(i32, AT + 14, 20, 0)).toBe(true);
    expect(view.getUint16(AT + 40)).not.toBe(0);
    expect(checksumOk(i32, AT + 34, length - 34, ipv4PseudoSum(view, AT + 14, length - 34))).toBe(true);
  });

  test.prop([size, flow, high, word])(
    'writes magic, flow, length, tx and sequence where the table says',
    (n, f, hi, lo) => {
      const { view, u8 } = probe(n, f, hi, lo);
      expect(String.fromCharCode(...u8.subarray(AT + 42, AT + 46))).toBe('LCp1');
      expect(view.getUint16(AT + 46, true)).toBe(f);
      expect(view.getUint16(AT + 48, true)).toBe(n);
      expect(view.getUint16(AT + 50, true)).toBe(0);
      expect(view.getInt32(AT + 52, true)).toBe(hi);
      expect(view.getInt32(AT + 56, true)).toBe(lo);
    },
  );

  test.prop([size, flow, high, word])(
    'writes the frame and, at most, zeros to the end of its last word',
    (n, f, hi, lo) => {
      const { u8 } = probe(n, f, hi, lo);
      expect(u8.subarray(0, AT).every((byte) => byte === 0xee)).toBe(true);
      expect(u8.subarray(AT + ((n + 3) & ~3)).every((byte) => byte === 0xee)).toBe(true);
    },
  );

  test('sends a computed UDP checksum of zero as 0xffff', () => {
    // Some of 65,536 consecutive sequences must have it: the lower half of the sequence runs through all values.
    const { i32, view } = probe(60, 0, 0, 0);
    const write = makeProbeWriter(i32, template(60, 0), 60);
    let seen = 0;
    for (let low = 0; low < 0x1_0000; low++) {
      write(AT, 0, 0, low);
      const check = view.getUint16(AT + 40);
      expect(check).not.toBe(0);
      if (check === 0xffff) seen++;
    }
    expect(seen).toBeGreaterThan(0);
    expect(checksumOk(i32, AT + 34, 26, ipv4PseudoSum(view, AT + 14, 26))).toBe(true);
  });
});

describe('makeProbeReader', () => {
  const read = (i32: Int32Array, length: number, headerOnly = false, flows = 0x1_0000) =>
    makeProbeReader(i32, flows, headerOnly)(AT, length);

  test.prop([size, flow, high, word, fc.boolean()])(
    'returns the flow of what the writer wrote',
    (n, f, hi, lo, only) => {
      expect(read(probe(n, f, hi, lo).i32, n, only)).toBe(f);
    },
  );

  /** What a single flipped bit in byte `i` of a probe makes of it. */
  const verdict = (i: number, f: number): number => {
    if (i < 12) return f; // MAC addresses
    const recognised = i === 12 || i === 13 || i === 14 || i === 23 || (i >= 42 && i < 46);
    return recognised ? FOREIGN : CORRUPT;
  };

  test('judges every single flipped bit of a frame by where it is', () => {
    for (const n of [60, 61, 64, 65, 67, 68, 75]) {
      const { i32, frame } = probe(n, 77, 5, 123_456);
      for (let bit = 0; bit < n * 8; bit++) {
        const i = bit >>> 3;
        frame[i]! ^= 1 << (bit & 7);
        expect(read(i32, n), `bit ${bit} of ${n} bytes`).toBe(verdict(i, 77));
        const unseen = i >= 60 && i < 60 + ((n - 60) & ~7); // whole pairs of words are taken for granted
        expect(read(i32, n, true), `bit ${bit} of ${n} bytes, header only`).toBe(unseen ? 77 : verdict(i, 77));
        frame[i]! ^= 1 << (bit & 7);
      }
    }
  });

  test.prop([size, size, flow])(
    'finds a frame of another length corrupt, shorter than a probe foreign',
    (n, other, f) => {
      const { i32 } = probe(n, f, 0, 1);
      fc.pre(n !== other);
      expect(read(i32, other)).toBe(CORRUPT);
      expect(read(i32, 59)).toBe(FOREIGN);
      expect(read(i32, 0)).toBe(FOREIGN);
    },
  );

  test.each([
    ["the probe's own length", 48, 256, 56],
    ["IP's total length", 16, 1, 18],
    ["UDP's length", 38, 1, 34],
    ["UDP's length", 38, 1, 36],
  ])('finds %s that contradicts the others corrupt, even with good checksums', (_what, at, step, counterweight) => {
    const { view, i32 } = probe(60, 1, 0, 0x0101_0101);
    const add = (offset: number, n: number) =>
      view.setUint16(AT + offset, fold(view.getUint16(AT + offset) + ((n + 0xffff) % 0xffff)));
    add(at, step);
    // UDP's length counts twice in its checksum: in the header and in the pseudo-header.
    add(counterweight, at === 38 ? -2 * step : -step);
    expect(checksumOk(i32, AT + 14, 20, 0)).toBe(true);
    const udpLength = view.getUint16(AT + 38);
    expect(checksumOk(i32, AT + 34, 26, ipv4PseudoSum(view, AT + 14, udpLength))).toBe(true);
    expect(read(i32, 60)).toBe(CORRUPT);
  });

  test('finds a sequence of 2^53 or more corrupt', () => {
    expect(read(probe(60, 1, 0x1f_ffff, -1).i32, 60)).toBe(1);
    expect(read(probe(60, 1, 0x20_0000, 0).i32, 60)).toBe(CORRUPT);
    expect(read(probe(60, 1, -1, -1).i32, 60)).toBe(CORRUPT);
  });

  test('finds an intact probe of a flow beyond its own foreign', () => {
    expect(read(probe(60, 9, 0, 0).i32, 60, false, 10)).toBe(9);
    expect(read(probe(60, 10, 0, 0).i32, 60, false, 10)).toBe(FOREIGN);
  });

  test.prop([fc.uint8Array({ minLength: 60, maxLength: 100 }), fc.boolean()])(
    'takes no other bytes for a probe',
    (bytes, only) => {
      const u8 = new Uint8Array(2048);
      u8.set(bytes, AT);
      expect(read(new Int32Array(u8.buffer), bytes.length, only)).toBe(FOREIGN);
    },
  );

  test('takes a probe that was routed and translated: TTL, addresses and ports changed with their checksums', () => {
    const { u8, i32, frame } = probe(60, 4, 0, 9);
    frame[22]!--; // TTL, and one more in the checksum's upper byte
    frame[24]!++;
    // Swapped addresses and ports leave the sums as they are.
    const [source, destination] = [frame.slice(26, 30), frame.slice(30, 34)];
    frame.set(destination, 26);
    frame.set(source, 30);
    const [from, to] = [frame.slice(34, 36), frame.slice(36, 38)];
    frame.set(to, 34);
    frame.set(from, 36);
    expect(read(i32, 60)).toBe(4);
    u8[AT + 24]!--;
    expect(read(i32, 60)).toBe(CORRUPT);
  });
});

describe.skipIf(noTshark !== undefined)(`probes${noTshark === undefined ? '' : `: skipped, ${noTshark}`}`, () => {
  test('have checksums and lengths that tshark calls good, at every kind of size', () => {
    const sizes = [60, 61, 62, 63, 64, 65, 66, 67, 68, 75, 100, 1514];
    const frames = sizes.map((n) => probe(n, 0xabcd, 0x12, 0x8765_4321 | 0).frame);
    const rows = dissect(frames, ['ip.checksum.status', 'udp.checksum.status', 'udp.length', '_ws.malformed']);
    expect(rows).toEqual(sizes.map((n) => ['1', '1', String(n - 34), '']));
  });
});
