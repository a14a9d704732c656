/** No wake-up is lost between the ends of a vhost-user socket: one frame, to and fro between workers that sleep. */
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../fakes/folder.ts';
import { engineWith, fake, job, stopBalanced } from '../fakes/linecard.ts';

const inFolder = temporaryFolder();
/**
 * Trips of the frame. LINECARD_TRIPS=1000000 for a long run. What it takes to notice that a fence is missing, each taken out
 * by itself, adaptive, two cpus with nothing else to do: behind publishing, at either end, on either ring, 20,000 (1 to 6
 * are lost, on one kind of ring at least); behind arming at the back end 400,000 (14 to 23 are lost).
 */
const TRIPS = Number(process.env.LINECARD_TRIPS ?? 20_000);
const MS_PER_TRIP = 3;
let made = 0;

/** Rings: what the front end asks for. */
const RINGS = [
  ['split', ''],
  ['split, without EVENT_IDX', ',event-idx=0'],
  ['packed', ',packed=1'],
  ['packed, without EVENT_IDX', ',packed=1,event-idx=0'],
] as const;
const MODES = [
  ['interrupt', 0],
  ['adaptive', 20],
  ['busy', 0],
] as const;

/**
 * Plays, and returns of each worker how often it slept to the end of its time, and of all frames how many were that late
 * for want of nothing but a wake-up. On a busy machine there is the one or the other, but a wake-up that is lost is both.
 */
async function play(mode: (typeof MODES)[number][0], idleUs: number, rings: string) {
  const path = inFolder(`wake-${made++}`);
  const [back, front] = [`vhost-user:${path},memory=1`, `virtio-user:${path}${rings}`];
  const engine = await engineWith([back, front], { mode, idleUs });
  const [rx, tx] = engine.ports.keys();
  const kicked = new SharedArrayBuffer(32);
  const player = (me: number) => fake('ping-pong', undefined, { count: TRIPS / 2, player: me, kicked });
  const run = await engine.run([job(player(0), rx, [rx]), job(player(1), tx, [tx])]);
  const trips = () => run.stats().jobs.reduce((sum, j) => sum + j.counters.trips, 0n);
  for (let last = -1n; trips() < TRIPS - 1; ) {
    expect(trips(), 'the frame is stuck').toBeGreaterThan(last); // at the very least, the longest sleep ends
    last = trips();
    await new Promise((resolve) => setTimeout(resolve, 2000));
  }
  const { jobs, workers, ledger, ports } = await stopBalanced(run);
  expect(ledger.missing).toBe(0);
  expect(ports[rx].rx.packets).toBe(ports[tx].tx.packets);
  expect(ports[tx].rx.packets).toBe(ports[rx].tx.packets);
  return { jobs, workers };
}

const lostOf = ({ jobs, workers }: Awaited<ReturnType<typeof play>>): bigint[] =>
  workers.map(({ worker, counters }) => {
    const late = jobs.filter((j) => j.worker === worker).reduce((sum, j) => sum + j.counters.late, 0n);
    const unwoken = counters.sleeps - counters.interrupts;
    return late < unwoken ? late : unwoken;
  });

describe.each(MODES)('%s, idle for %i µs', (mode, idleUs) => {
  it.each(RINGS)(
    `two workers, %s: no wake-up is lost in ${TRIPS}`,
    async (_what, rings) => {
      const played = await play(mode, idleUs, rings);
      if (played.workers.length === 1) return; // one cpu: nobody to be woken
      expect(lostOf(played)).toEqual([0n, 0n]);
      for (const { counters } of played.workers) {
        if (mode === 'busy') expect(counters.sleeps).toBe(0n);
        else expect(counters.sleeps).toBeGreaterThan(BigInt(TRIPS / 100)); // or this has tested nothing
      }
    },
    30_000 + TRIPS * MS_PER_TRIP,
  );
});
