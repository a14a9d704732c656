/** The tracker against sets of everything that ever came. */
import { fc, test } from '@fast-check/vitest';
import { describe, expect } from 'vitest';
import { DUPLICATE, LATE, makeTracker, STALE, WINDOW } from '../../workers/apps/sequence.ts';

const halves = (n: number): [high: number, low: number] => [Math.floor(n / 2 ** 32), (n % 2 ** 32) | 0];

/** What the tracker should say, from its description: a set of all numbers that came, and the next one expected. */
function makeModel() {
  const came = new Set<number>();
  let next = 0;
  return {
    see(n: number): number {
      if (n >= next) {
        const skipped = n - next;
        next = n + 1;
        came.add(n);
        return skipped;
      }
      if (next - n > WINDOW) return STALE;
      if (came.has(n)) return DUPLICATE;
      came.add(n);
      return LATE;
    },
  };
}

/** Steps of a walk: mostly small, forth and back, some to the window's edge and beyond. */
const steps = fc.array(
  fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: -40, max: 20 }) },
    { weight: 2, arbitrary: fc.constant(1) },
    { weight: 1, arbitrary: fc.integer({ min: WINDOW - 3, max: WINDOW + 3 }) },
    { weight: 1, arbitrary: fc.integer({ min: -WINDOW - 3, max: -WINDOW + 3 }) },
    { weight: 1, arbitrary: fc.integer({ min: 2 * WINDOW, max: 5 * WINDOW }) },
  ),
  { maxLength: 300 },
);

describe('makeTracker', () => {
  test.prop([steps, fc.constantFrom(0, 5000, 2 ** 31 - 20, 2 ** 32 - 20, 2 ** 45 - 20)])(
    'says what sets of all numbers say, also where 32 bits end',
    (walk, start) => {
      const track = makeTracker(1);
      const model = makeModel();
      let n = start;
      // First a full window, so that every number shares its place with an older one that came.
      for (const end = n + WINDOW + 100; n < end; n++) expect(track(0, ...halves(n))).toBe(model.see(n));
      for (const step of walk) {
        n = Math.max(0, n + step);
        expect(track(0, ...halves(n))).toBe(model.see(n));
      }
    },
  );

  test.prop([fc.array(fc.tuple(fc.nat({ max: 2 }), fc.nat({ max: 60 })), { maxLength: 200 })])(
    'keeps flows apart',
    (arrivals) => {
      const track = makeTracker(3);
      const models = [makeModel(), makeModel(), makeModel()];
      for (const [flow, n] of arrivals) expect(track(flow, 0, n)).toBe(models[flow]!.see(n));
    },
  );

  test('tells late from twice at the far edge of its window, and not beyond', () => {
    const track = makeTracker(1);
    expect(track(0, 0, WINDOW)).toBe(WINDOW);
    expect(track(0, 0, 1)).toBe(LATE);
    expect(track(0, 0, 1)).toBe(DUPLICATE);
    expect(track(0, 0, 0)).toBe(STALE);
  });

  test.each([1, 6, WINDOW - 1, WINDOW, WINDOW + 1, 5 * WINDOW])(
    'knows that numbers passed over have not come, after a gap of %i behind a full window',
    (gap) => {
      const track = makeTracker(2);
      for (let n = 0; n < WINDOW; n++) expect(track(1, 0, n)).toBe(0);
      const last = WINDOW + gap;
      expect(track(1, 0, last)).toBe(gap);
      for (let n = Math.max(WINDOW, last + 1 - WINDOW); n < last; n++) expect(track(1, 0, n), `number ${n}`).toBe(LATE);
    },
  );

  test('counts in order across the end of 32 bits', () => {
    const track = makeTracker(1);
    expect(track(0, 0, -2)).toBe(2 ** 32 - 2);
    expect([track(0, 0, -1), track(0, 1, 0), track(0, 1, 1), track(0, 0, -1)]).toEqual([0, 0, 0, DUPLICATE]);
  });
});
