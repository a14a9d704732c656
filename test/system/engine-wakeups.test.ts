import { expect, it } from 'vitest';
import { engineWith, fake, job, stopBalanced } from '../fakes/linecard.ts';

const TRIPS = 100_000;

/**
 * One frame between two sleepers: with each of its trips one worker must be woken. A wake-up that is lost shows as a
 * sleep that came to its end by itself, and a frame that lay there for 100 ms after its receiver was to be woken (what that
 * waited for a cpu is taken off). On a busy machine there is the one or the other, but not both in one worker.
 */
it.each([
  ['interrupt', 0],
  ['adaptive', 0],
  ['adaptive', 20],
] as const)(
  '%s, idle for %i µs: no wake-up is lost in a hundred thousand',
  { timeout: 180_000 },
  async (mode, idleUs) => {
    const engine = await engineWith(['pair:p/0', 'pair:p/1'], { mode, idleUs });
    const kicked = new SharedArrayBuffer(32);
    const player = (me: number) => fake('ping-pong', undefined, { count: TRIPS / 2, player: me, kicked });
    const run = await engine.run([job(player(0), 'pair:p/0', ['pair:p/0']), job(player(1), 'pair:p/1', ['pair:p/1'])]);
    if (run.assignment.workers.length === 1) return void (await run.stop()); // one cpu: nobody to be woken
    let last = 0n;
    for (;;) {
      await new Promise((resolve) => setTimeout(resolve, 2000));
      const trips = run.stats().jobs.reduce((sum, j) => sum + j.counters.trips, 0n);
      if (trips >= TRIPS - 1) break;
      expect(trips, 'the frame is stuck').toBeGreaterThan(last); // at the very least, the longest sleep ends
      last = trips;
    }
    const { jobs, workers, ledger } = await stopBalanced(run);
    expect(ledger.missing).toBe(0);
    for (const { counters } of workers) expect(counters.sleeps).toBeGreaterThan(1000n); // or this has tested nothing
    const lost = workers.map(({ worker, counters }) => {
      const late = jobs.filter((j) => j.worker === worker).reduce((sum, j) => sum + j.counters.late, 0n);
      const unwoken = counters.sleeps - counters.interrupts;
      return late < unwoken ? late : unwoken;
    });
    expect(lost).toEqual([0n, 0n]);
  },
);
