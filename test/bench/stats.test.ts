import { fc, test as property } from '@fast-check/vitest';
import { describe, expect, test } from 'vitest';
import { compare, median, quantile, summarize } from '../../bench/stats.ts';

const series = fc.array(fc.double({ min: 0.001, max: 1e6, noNaN: true }), { minLength: 1, maxLength: 50 });

describe('quantiles', () => {
  test('the median of an even number of values lies between the middle two', () => {
    expect(median([4, 1, 3, 2])).toBe(2.5);
    expect(median([5, 1, 3])).toBe(3);
  });

  test('quartiles are interpolated', () => {
    expect(quantile([10, 20, 30, 40], 0.25)).toBeCloseTo(17.5);
    expect(quantile([10, 20, 30, 40], 0.75)).toBeCloseTo(32.5);
  });

  test('nothing has no median', () => {
    expect(median([])).toBeNaN();
  });

  test('values are sorted as numbers, and the caller’s array stays as it is', () => {
    const values = [100, 9, 20];
    expect(median(values)).toBe(20);
    expect(values).toEqual([100, 9, 20]);
  });

  property.prop([series, fc.double({ min: 0, max: 1, noNaN: true })])(
    'a quantile lies between the extremes',
    (values, q) => {
      const found = quantile(values, q);
      expect(found).toBeGreaterThanOrEqual(Math.min(...values));
      expect(found).toBeLessThanOrEqual(Math.max(...values));
    },
  );
});

describe('summaries', () => {
  test('a summary has the extremes, the median, and the quartiles’ distance over the median', () => {
    expect(summarize([1, 2, 3, 4, 5])).toEqual({ n: 5, min: 1, median: 3, max: 5, spread: 2 / 3 });
  });

  test('equal samples have no spread', () => {
    expect(summarize([7, 7, 7]).spread).toBe(0);
  });

  test('no samples make an empty summary', () => {
    expect(summarize([])).toMatchObject({ n: 0, median: Number.NaN });
  });
});

describe('comparisons', () => {
  test('the ratio is that of the medians, the range that of neighbours', () => {
    const ratio = compare([10, 20, 30], [10, 10, 60]);
    expect(ratio).toEqual({ ofMedians: 2, low: 0.5, high: 2 });
  });

  test('samples without a neighbour count for the median only', () => {
    expect(compare([10, 20, 90], [10])).toEqual({ ofMedians: 2, low: 1, high: 1 });
  });

  test('there is no ratio to nothing', () => {
    expect(compare([1], [])).toBeUndefined();
    expect(compare([], [1])).toBeUndefined();
  });
});
