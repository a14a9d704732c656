import { expect, it } from 'vitest';
import { engineWith, fake, job, stopBalanced } from '../fakes/linecard.ts';

const TRIPS = 100_000;

/**
 * One frame between two sleepers: with each of its trips one worker must be woken. A wake-up that is lost shows as a
 * sleep that came to its end by itself, and a frame that was 100 ms late. Either may happen on a machine that is too busy;
 * both at once do not, trip after trip.
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
    const player = (options: Record<string, unknown>) => fake('ping-pong', undefined, { count: TRIPS / 2, ...options });
    const run = await engine.run([
      job(player({ serve: true, seed: 1 }), 'pair:p/0', ['pair:p/0']),
      job(player({ seed: 2 }), 'pair:p/1', ['pair:p/1']),
    ]);
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
    const sleeps = workers.map(({ counters }) => counters.sleeps);
    const unwoken = workers.reduce((sum, { counters }) => sum + counters.sleeps - counters.interrupts, 0n);
    const late = jobs.reduce((sum, { counters }) => sum + counters.late, 0n);
    for (const n of sleeps) expect(n).toBeGreaterThan(1000n); // or this has tested nothing
    expect(Number(late < unwoken ? late : unwoken), `${late} late, ${unwoken} not woken`).toBe(0);
  },
);
