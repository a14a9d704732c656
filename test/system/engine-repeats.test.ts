import type { JobSpec } from 'linecard';
import { expect, it } from 'vitest';
import {
  type Belongings,
  belongings,
  engineWith,
  eventually,
  fake,
  forward,
  givenBack,
  job,
  QUICK,
  stopBalanced,
} from '../fakes/linecard.ts';

const REPEATS = Number(process.env.LINECARD_REPEATS ?? 50);
const bad = (name: string, rx: string, tx: string, more: Partial<JobSpec> = {}): JobSpec =>
  job(fake('misbehave', name, { after: 20 }), rx, [tx], more);

it(`${REPEATS} deaths of each kind leave nothing behind: no fd, no thread, no memory, no frame`, {
  timeout: 180_000,
}, async () => {
  const engine = await engineWith(['null:a', 'null:b', 'null:c', 'null:d'], {
    ...QUICK,
    restartMs: [1, 1],
    heapMb: 16,
  });
  const first = await engine.run([job(forward, 'null:a', ['null:b'])]); // what is loaded once stays
  await first.stop();
  const before = { ...belongings(), used: engine.arena.used };
  for (const kind of ['hanging', 'exiting', 'throwing', 'hoarding']) {
    // Two at a time: in workers of their own, where there are two cpus.
    const run = await engine.run([bad(kind, 'null:a', 'null:b'), bad(kind, 'null:c', 'null:d')]);
    const during = belongings();
    const used = engine.arena.used;
    await eventually('all failures', () => run.stats().jobs.every((j) => j.failures >= REPEATS / 2), 120_000);
    expect(belongings().threads).toBeLessThanOrEqual(during.threads + 2); // two may be about to be replaced
    expect(belongings().fds).toBeLessThanOrEqual(during.fds + 20); // each thread has a few of its own
    expect(engine.arena.used).toEqual(used);
    const { ledger } = await stopBalanced(run);
    // Whoever hoards has a burst in its hands until memory ends, which may be after this.
    expect(kind === 'hoarding' ? [0, 32, 64] : [0]).toContain(ledger.held);
    expect(ledger.inRings).toBe(0);
    await givenBack(before);
    expect(engine.arena.used).toEqual(before.used);
  }
  // All frames are in the pool: a run that needs every one of them has them.
  const { plan } = (engine as unknown as { means: { frames: { plan: { count: number } } } }).means.frames;
  const last = await engine.run([job(forward, 'null:a', ['null:b'])]);
  expect((await stopBalanced(last)).ledger.free).toBe(plan.count);
});

it('a worker that dies again and again makes no gap of 100 ms in the work of another', {
  timeout: 60_000,
}, async () => {
  const engine = await engineWith(['null:a', 'null:b', 'null:c', 'null:d'], { ...QUICK, heapMb: 32 });
  const watching = job(fake('forward', 'watching', { ms: 100 }), 'null:c', ['null:d']);
  const run = await engine.run([bad('exiting', 'null:a', 'null:b'), watching]);
  if (run.assignment.workers.length === 1) return; // one cpu: they share a worker
  await eventually('twenty deaths', () => run.stats().jobs[0].failures >= 20, 50_000);
  const { jobs } = await stopBalanced(run);
  expect(jobs[1].counters.gaps).toBe(0n);
  expect(jobs[1].failures).toBe(0);
});

it(`${REPEATS} starts and stops on one engine leave nothing behind`, { timeout: 120_000 }, async () => {
  const engine = await engineWith(['pair:a/0', 'pair:a/1', 'null:n']);
  const jobs = [
    job({ module: 'gen', options: { count: 100 } }, undefined, ['pair:a/0']),
    job({ module: 'sink' }, 'pair:a/1'),
    job({ module: 'l2fwd' }, 'null:n', ['null:n']),
  ];
  let before: (Belongings & { used: unknown }) | undefined;
  for (let i = 0; i < REPEATS; i++) {
    const run = await engine.run(jobs);
    await eventually('the sink has it all', () => run.stats().jobs[1].counters.ok === 100n);
    const { ledger, jobs: done } = await stopBalanced(run);
    expect(ledger.free).toBe(4096);
    expect(done[0].frames.accepted).toBe(100n);
    if (i === 1) before = { ...belongings(), used: engine.arena.used };
  }
  if (before === undefined) return expect.fail('no run');
  await givenBack(before);
  expect(engine.arena.used).toEqual(before.used);
  // The ports' own counters go on over all runs.
  expect(engine.ports.get('pair:a/0')?.stats().tx.packets).toBe(100n * BigInt(REPEATS));
});

it(`${REPEATS} engines, one after the other, leave nothing behind`, { timeout: 60_000 }, async () => {
  let before: ReturnType<typeof belongings> | undefined;
  for (let i = 0; i < REPEATS; i++) {
    const engine = await engineWith(['pair:a/0', 'pair:a/1', 'loop:x', 'null:n'], { frames: 256 });
    await engine.close();
    if (i === 1) before = belongings();
  }
  await givenBack(before ?? belongings());
});

it('several engines work at once, and close without minding the others', { timeout: 60_000 }, async () => {
  const jobs = [
    job({ module: 'gen', options: { count: 5000, rate: 50_000 } }, undefined, ['pair:a/0']),
    job({ module: 'sink' }, 'pair:a/1'),
  ];
  const engines = await Promise.all([1, 2, 3].map(() => engineWith(['pair:a/0', 'pair:a/1'])));
  const runs = await Promise.all(engines.map((engine) => engine.run(jobs)));
  await engines[0].close();
  const results = await Promise.all(runs.slice(1).map((run) => run.done));
  for (const { ledger, jobs: done } of results) {
    expect(ledger.errors).toEqual([]);
    expect(done[1].counters.ok).toBe(5000n);
  }
  expect((await runs[0].done).ledger.errors).toEqual([]);
});
