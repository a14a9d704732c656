import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { Ranges } from '../../lib/arena/ranges.ts';
import { ArenaError } from '../../lib/errors.ts';
import { codeOf } from '../fakes/errors.ts';

const UNIT = 64;

interface Taken {
  readonly start: number;
  readonly bytes: number;
}

type Step =
  | { readonly take: number; readonly align: number; readonly remainder: number }
  /** The how-manieth of what is taken. */
  | { readonly give: number };

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({
    take: fc.integer({ min: 1, max: 20 * UNIT }),
    align: fc.constantFrom(1, UNIT, 2 * UNIT, 16 * UNIT),
    remainder: fc.nat(15).map((n) => n * UNIT),
  }),
  fc.record({ give: fc.nat(100) }),
);

/** Takes and gives as told; calls `look` after each step. */
function play(ranges: Ranges, steps: readonly Step[], look: (taken: readonly Taken[], step: Step) => void): Taken[] {
  const taken: Taken[] = [];
  for (const next of steps) {
    if ('take' in next) {
      const remainder = next.align < UNIT ? 0 : next.remainder % next.align;
      const start = ranges.tryTake(next.take, next.align, remainder);
      if (start !== undefined) {
        expect(start % next.align).toBe(remainder);
        taken.push({ start, bytes: Math.ceil(next.take / UNIT) * UNIT });
      }
    } else if (taken.length > 0) {
      const [gone] = taken.splice(next.give % taken.length, 1);
      ranges.give(gone!.start);
    }
    look(taken, next);
  }
  return taken;
}

describe('ranges', () => {
  const START = 16 * UNIT;
  const END = 200 * UNIT;

  it('never overlap, stay inside, begin where they were asked to, and add up', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 120 }), (steps) => {
        const ranges = new Ranges('test', START, END, UNIT);
        play(ranges, steps, (taken) => {
          const sorted = [...taken].sort((a, b) => a.start - b.start);
          let end = START;
          for (const { start, bytes } of sorted) {
            expect(start).toBeGreaterThanOrEqual(end);
            expect(start % UNIT).toBe(0);
            end = start + bytes;
          }
          expect(end).toBeLessThanOrEqual(END);
          const used = taken.reduce((sum, { bytes }) => sum + bytes, 0);
          expect(ranges.used).toBe(used);
          expect(ranges.free.total).toBe(END - START - used);
        });
      }),
    );
  });

  it('take the first gap that fits, as a map of single units would', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), (steps) => {
        const ranges = new Ranges('test', START, END, UNIT);
        const free = new Set(Array.from({ length: (END - START) / UNIT }, (_, i) => START + i * UNIT));
        const fits = (at: number, units: number) =>
          Array.from({ length: units }, (_, i) => at + i * UNIT).every((u) => free.has(u));
        const taken: Taken[] = [];
        for (const next of steps) {
          if ('give' in next) {
            if (taken.length === 0) continue;
            const [gone] = taken.splice(next.give % taken.length, 1);
            for (let at = gone!.start; at < gone!.start + gone!.bytes; at += UNIT) free.add(at);
            ranges.give(gone!.start);
            continue;
          }
          const align = Math.max(UNIT, next.align);
          const remainder = next.remainder % align;
          const units = Math.ceil(next.take / UNIT);
          const wanted = [...free].sort((a, b) => a - b).find((at) => at % align === remainder && fits(at, units));
          expect(ranges.tryTake(next.take, align, remainder)).toBe(wanted);
          if (wanted === undefined) continue;
          for (let i = 0; i < units; i++) free.delete(wanted + i * UNIT);
          taken.push({ start: wanted, bytes: units * UNIT });
        }
      }),
    );
  });

  it('are one piece again when all have been given back, in whatever order', () => {
    fc.assert(
      fc.property(fc.array(step, { maxLength: 80 }), fc.array(fc.nat(100), { maxLength: 80 }), (steps, order) => {
        const ranges = new Ranges('test', START, END, UNIT);
        const taken = play(ranges, steps, () => {});
        for (const pick of order) {
          const [gone] = taken.splice(pick % Math.max(1, taken.length), 1);
          if (gone !== undefined) ranges.give(gone.start);
        }
        for (const { start } of taken) ranges.give(start);
        expect(ranges.free).toEqual({ total: END - START, largest: END - START });
        expect(ranges.used).toBe(0);
      }),
    );
  });

  it('can begin at a remainder, as huge pages do over a base that is not aligned to them', () => {
    const ranges = new Ranges('dma', 65_536, 2 ** 31, 4096);
    const first = ranges.take(2 ** 21, 2 ** 21, 0x50000);
    expect(first).toBe(0x50000);
    expect(ranges.take(2 ** 21, 2 ** 21, 0x50000)).toBe(0x250000);
    expect(ranges.take(4096)).toBe(65_536);
  });

  it('say how much is free, and in one piece, when there is no room', () => {
    const ranges = new Ranges('dma', 0, 4 * UNIT, UNIT);
    const [a, , c] = [ranges.take(1), ranges.take(1), ranges.take(2 * UNIT)] as const;
    ranges.give(a);
    ranges.give(c);
    expect(() => ranges.take(4 * UNIT)).toThrow(
      'arena zone dma: 256 bytes: 192 bytes are free, 128 of them in one piece; ask for fewer or smaller frames and rings',
    );
    expect(codeOf(() => ranges.take(4 * UNIT))).toBe('ARENA_FULL');
    expect(ranges.tryTake(4 * UNIT)).toBeUndefined();
    expect(ranges.used).toBe(UNIT);
  });

  it('are given back once', () => {
    const ranges = new Ranges('dma', 0, 8 * UNIT, UNIT);
    const at = ranges.take(2 * UNIT);
    expect(codeOf(() => ranges.give(at + UNIT))).toBe('NOT_ALLOCATED');
    ranges.give(at);
    for (const bad of [at, -1, Number.NaN, 2 ** 40]) {
      expect(() => ranges.give(bad)).toThrow(ArenaError);
      expect(codeOf(() => ranges.give(bad))).toBe('NOT_ALLOCATED');
    }
  });

  it('are of a size: nothing, fractions and the infinite are refused, and take nothing', () => {
    const ranges = new Ranges('dma', 0, 8 * UNIT, UNIT);
    for (const bytes of [0, -1, 0.5, Number.NaN, Number.POSITIVE_INFINITY, 2 ** 53]) {
      expect(
        codeOf(() => ranges.tryTake(bytes)),
        String(bytes),
      ).toBe('BAD_SIZE');
    }
    for (const align of [0, 3, 96, -64, 0.5, Number.NaN, Number.POSITIVE_INFINITY]) {
      expect(
        codeOf(() => ranges.tryTake(1, align)),
        String(align),
      ).toBe('BAD_SIZE');
    }
    expect(ranges.free.total).toBe(8 * UNIT);
  });

  it('of an empty zone are none', () => {
    const ranges = new Ranges('none', 128, 128, UNIT);
    expect(ranges.tryTake(1)).toBeUndefined();
    expect(ranges.free).toEqual({ total: 0, largest: 0 });
  });
});
