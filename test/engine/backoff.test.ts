import { expect, it } from 'vitest';
import { Backoff } from '../../lib/engine/backoff.ts';

it('doubles from the first wait to the last', () => {
  const backoff = new Backoff([100, 500], () => 0);
  expect([1, 2, 3, 4, 5].map(() => backoff.next())).toEqual([100, 200, 400, 500, 500]);
});

it('stays at the last wait however many failures there are', () => {
  const backoff = new Backoff([1, 5000], () => 0);
  for (let i = 0; i < 2000; i++) backoff.next();
  expect(backoff.next()).toBe(5000);
});

it('starts anew after a long time without a failure, and not before', () => {
  let now = 0;
  const backoff = new Backoff([100, 5000], () => now);
  expect(backoff.next()).toBe(100);
  now += 15_000; // 10 s beyond the longest wait, and not a moment more
  expect(backoff.next()).toBe(200);
  now += 15_001;
  expect(backoff.next()).toBe(100);
});

it('has a clock of its own', () => {
  const backoff = new Backoff([7, 20]);
  expect([backoff.next(), backoff.next(), backoff.next()]).toEqual([7, 14, 20]);
});
