import { expect, it } from 'vitest';
import { inFairTime, PATIENCE, until } from '../../lib/engine/until.ts';

it('until: true at once when it is so already, without giving the thread away', async () => {
  let looks = 0;
  expect(await until(() => ++looks > 0, 0)).toBe(true);
  expect(looks).toBe(1);
});

it('until: looks again and again', async () => {
  let looks = 0;
  expect(await until(() => ++looks === 5, 10_000)).toBe(true);
});

it('until: false when the time is up', async () => {
  const start = performance.now();
  expect(await until(() => false, 20)).toBe(false);
  expect(performance.now() - start).toBeGreaterThanOrEqual(19);
});

it('inFairTime: a thread that waits for a cpu has more time, and not for ever', async () => {
  // This very thread: whenever it looks it runs, and it has had next to no cpu.
  const start = performance.now();
  expect(await inFairTime(new Promise(() => {}), 400, process.pid)).toBe(false);
  expect(performance.now() - start).toBeGreaterThanOrEqual(400 * PATIENCE * 0.99);
});

it('inFairTime: a thread that waits for anything else has not', async () => {
  const looks: Promise<boolean> = inFairTime(new Promise(() => {}), 50, 0); // the kernel knows no such thread
  const later = new Promise((resolve) => setTimeout(resolve, 50 * PATIENCE * 20, 'later').unref());
  expect(await Promise.race([looks, later])).toBe(false);
});

it('inFairTime: true as soon as it is done', async () => {
  expect(await inFairTime(Promise.resolve(), 600_000, process.pid)).toBe(true);
});
