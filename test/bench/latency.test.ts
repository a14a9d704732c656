import { describe, expect, test } from 'vitest';
import { BUCKETS, bucketOf, longestIn, timeAt } from '../../bench/histogram.ts';
import { judgeLatency } from '../../bench/latency.ts';
import type { Measured } from '../../bench/latency-pair.ts';

describe('a histogram', () => {
  test('has a bucket for every time, and each says at most 3 % too much', () => {
    expect([bucketOf(0), bucketOf(63), bucketOf(64), bucketOf(65), bucketOf(66)]).toEqual([0, 63, 64, 64, 65]);
    expect([bucketOf(2 ** 31 - 1), bucketOf(1e12)]).toEqual([BUCKETS - 1, BUCKETS - 1]);
    for (let ns = 1; ns < 2 ** 31; ns = Math.ceil(ns * 1.01)) {
      const said = longestIn(bucketOf(ns));
      expect(said).toBeGreaterThanOrEqual(ns);
      expect(said / ns).toBeLessThan(1.032);
      expect(bucketOf(said)).toBe(bucketOf(ns));
      expect(bucketOf(said + 1)).toBe(Math.min(BUCKETS - 1, bucketOf(ns) + 1));
    }
  });

  test('says what a share of the packets did not exceed', () => {
    const counts = Array<number>(BUCKETS).fill(0);
    expect(timeAt(counts, 0.5)).toBeNaN();
    counts[bucketOf(10)] = 98;
    counts[bucketOf(50)] = 1;
    counts[bucketOf(1_000_000)] = 1;
    expect([0.5, 0.98, 0.99].map((q) => timeAt(counts, q))).toEqual([10, 10, 50]);
    expect(timeAt(counts, 1)).toBe(longestIn(bucketOf(1_000_000)));
  });
});

test('what was measured round by round is added up; only we have collections', () => {
  const seat = { end: 'vhost-user', rings: 'split' } as const;
  const part = (ns: number, packets: number): Measured => {
    const histogram = Array<number>(BUCKETS).fill(0);
    histogram[bucketOf(ns)] = packets;
    return { ns: 1e9, sent: packets + 1, received: packets, full: 2, late: 3, histogram };
  };
  const parts = [part(20, 99), part(60, 1)];
  const row = judgeLatency('testpmd', seat, 7, parts);
  expect(row).toEqual({
    ...{ name: 'testpmd', seat, rate: 7, ns: 2e9, sent: 102, received: 100, full: 4, late: 6 },
    ...{ p50: 20, p99: 20, p999: 60, p9999: 60, worst: 60 },
    histogram: [
      [20, 99],
      [60, 1],
    ],
  });
  const traced = parts.map((p) => ({ ...p, trace: { collections: 1, deopts: [] } }));
  expect(judgeLatency('linecard', seat, 7, traced).collections).toBe(2);
});
