import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { sumLengths } from '../../lib/arena/lengths.ts';

const LEAST = 14;

describe('the lengths of a burst', () => {
  it('are summed, unless one of them is impossible, wherever in the burst it is', () => {
    const possible = fc.integer({ min: LEAST, max: 1518 });
    const edge = fc.constantFrom(
      0,
      13,
      14,
      1518,
      1519,
      -1,
      2 ** 31 - 1,
      -(2 ** 31),
      -(2 ** 31) + 13,
      -(2 ** 31) + 14,
      2 ** 30,
    );
    const length = fc.oneof(
      { weight: 20, arbitrary: possible },
      { weight: 1, arbitrary: edge },
      { weight: 1, arbitrary: fc.integer() },
    );
    fc.assert(
      fc.property(
        fc.array(length, { maxLength: 70 }),
        fc.nat(10),
        fc.nat(10),
        fc.constantFrom(1518, 9018, 65_018),
        (all, cut, rest, most) => {
          const lengths = Int32Array.from(all);
          const from = Math.min(cut, all.length);
          const to = Math.max(from, all.length - rest);
          const part = all.slice(from, to);
          const good = part.every((n) => n >= LEAST && n <= most);
          expect(sumLengths(lengths, from, to, LEAST, most)).toBe(good ? part.reduce((a, b) => a + b, 0) : -1);
        },
      ),
      { numRuns: 1000 },
    );
  });

  it('of the largest burst fit', () => {
    expect(sumLengths(new Int32Array(512).fill(65_536), 0, 512, LEAST, 65_536)).toBe(512 * 65_536);
  });
});
