import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { Run } from 'linecard';
import { afterAll, expect, it } from 'vitest';
import {
  consume,
  engineWith,
  eventsOf,
  eventually,
  fake,
  forward,
  job,
  QUICK,
  stopBalanced,
} from '../fakes/linecard.ts';

const folder = mkdtempSync(join(tmpdir(), 'linecard-replace-'));
afterAll(() => rmSync(folder, { recursive: true }));

const counting = (name: string) => fake('forward', 'counting', { counter: name });
const bad = (name: string, options: Record<string, unknown> = {}) => fake('misbehave', name, options);
const flowing = async (run: Run, index = 0) => {
  const then = run.stats().jobs[index].frames.delivered;
  await eventually('packets flow', () => run.stats().jobs[index].frames.delivered > then + 1000n);
};

it('while packets flow: the new one runs, nothing is lost, and nothing else is disturbed', async () => {
  const engine = await engineWith(['pair:a/0', 'pair:a/1', 'pair:b/0', 'pair:b/1']);
  const run = await engine.run([
    job({ module: 'gen', options: { rate: 200_000 } }, undefined, ['pair:a/0'], { group: 'ends' }),
    job(counting('old'), 'pair:a/1', ['pair:b/0']),
    job({ module: 'sink' }, 'pair:b/1', [], { group: 'ends' }),
  ]);
  const events = eventsOf(run);
  for (let i = 0; i < 20; i++) {
    await flowing(run, 1);
    await run.replace(1, counting(`new ${i}`));
    await eventually('the new one counts', () => run.stats().jobs[1].counters[`new ${i}`] > 0n);
    expect(Object.keys(run.stats().jobs[1].counters)).toEqual([`new ${i}`]);
  }
  const { jobs, ledger, ports } = await stopBalanced(run);
  expect(ledger.lost).toBe(0);
  const { delivered, accepted, dropped_tx_full } = jobs[1].frames;
  expect(delivered).toBe(accepted + dropped_tx_full);
  expect(delivered).toBe(ports['pair:a/0'].tx.completed);
  expect(jobs[2].counters).toMatchObject({ ok: accepted, late: 0n, duplicate: 0n, corrupt: 0n });
  expect([events, jobs[1].failures]).toEqual([[], 0]);
});

it('frames that the old one kept are counted as stopped, and come back', async () => {
  const engine = await engineWith(['null:a', 'null:b', 'null:c', 'null:d'], { frames: 1024 });
  // The other job always has frames in its hands, other ones each time: they must not be taken from it.
  const run = await engine.run([
    job(fake('forward', 'hoarding', { hold: 30 }), 'null:a', ['null:b']),
    job({ module: 'gen' }, undefined, ['null:d']),
  ]);
  for (let i = 1; i <= 10; i++) {
    await eventually('it has them', () => run.stats().jobs[0].frames.accepted > 0n);
    await flowing(run);
    await run.replace(0, fake('forward', 'hoarding', { hold: 30 }));
    expect(run.stats().jobs[0].frames.dropped_stopped).toBe(30n * BigInt(i));
  }
  await flowing(run);
  await run.replace(0, forward);
  await eventually('they are back', () => run.stats().framesMissing === 0);
  const { ledger, jobs } = await stopBalanced(run);
  expect(ledger.lost).toBe(0);
  expect(jobs[0].frames.dropped_stopped).toBe(330n);
});

it('an edited file is read afresh', async () => {
  const engine = await engineWith(['null:a', 'null:b']);
  const module = join(folder, 'edited.mjs');
  const write = (name: string) =>
    writeFileSync(
      module,
      `export default ({ rx, frames, burst, counter }) => { const b = frames.burst(burst), c = counter('${name}');
      return () => { const n = rx.receive(b); frames.free(b, 0, n); c(n); return n; }; };`,
    );
  write('first');
  const run = await engine.run([job({ module }, 'null:a')]);
  await eventually('the first counts', () => run.stats().jobs[0].counters.first > 0n);
  write('second');
  await run.replace(0, { module });
  await eventually('the second counts', () => run.stats().jobs[0].counters.second > 0n);
  writeFileSync(module, 'export default not JavaScript');
  await expect(run.replace(0, { module })).rejects.toMatchObject({ code: 'APP_MODULE_MISSING' });
  write('third');
  await run.replace(0, { module });
  await eventually('the third counts', () => run.stats().jobs[0].counters.third > 0n);
  await stopBalanced(run);
});

it.each([
  [bad('factoryThrows'), 'APP_THREW'],
  [bad('factoryThrowsWithFrames', { take: 100 }), 'APP_THREW'],
  [bad('factoryReturnsNothing'), 'APP_NOT_A_FACTORY'],
  [bad('notAFunction'), 'APP_EXPORT_MISSING'],
  [bad('throwing', { after: () => 0 }), 'BAD_APP_OPTION'],
  [fake('top-level'), 'APP_MODULE_MISSING'],
  [{ module: './no-such-file.mjs' }, 'APP_MODULE_MISSING'],
  [{ module: 'l2fwd', extra: 1 }, 'BAD_JOB'],
])('one that cannot be made leaves the old one at work: %j', async (app, code) => {
  const engine = await engineWith(['null:a', 'null:b']);
  const run = await engine.run([job(counting('old'), 'null:a', ['null:b'])]);
  await flowing(run);
  await expect(run.replace(0, app)).rejects.toMatchObject({ code });
  const then = run.stats().jobs[0].counters.old;
  await eventually('the old one counts', () => run.stats().jobs[0].counters.old > then);
  await eventually('no frame is missing', () => run.stats().framesMissing === 0);
  const { ledger, jobs } = await stopBalanced(run);
  expect([ledger.lost, jobs[0].failures, jobs[0].state]).toEqual([0, 0, 'running']);
});

it('on a worker that sleeps, too', async () => {
  const engine = await engineWith(['pair:a/0', 'pair:a/1'], { mode: 'interrupt' });
  const run = await engine.run([job(consume, 'pair:a/1', ['pair:a/1'])]);
  await eventually('it sleeps', () => run.stats().workers[0].state === 'asleep');
  const start = performance.now();
  await run.replace(0, counting('new'));
  expect(performance.now() - start).toBeLessThan(5000);
  expect(run.stats().jobs[0].counters).toHaveProperty('new');
  await stopBalanced(run);
});

it('mends an application that throws', async () => {
  const engine = await engineWith(['null:a', 'null:b'], { restartMs: [60_000, 60_000] });
  const run = await engine.run([job(bad('throwing'), 'null:a', ['null:b'])]);
  await eventually('it fails', () => run.stats().jobs[0].state === 'down');
  await run.replace(0, counting('new')); // at once, not after a minute
  expect(run.stats().jobs[0].state).toBe('running');
  await flowing(run);
  await stopBalanced(run);
});

it.each(['exiting', 'hanging'])('mends an application whose worker is down: %s', async (name) => {
  const engine = await engineWith(['null:a', 'null:b', 'null:c', 'null:d'], { ...QUICK, restartMs: [60_000, 60_000] });
  const group = 'g';
  const run = await engine.run([
    job(bad(name), 'null:a', ['null:b'], { group }),
    job(forward, 'null:c', ['null:d'], { group }),
  ]);
  await eventually('it fails', () => run.stats().jobs[0].state === 'down');
  // One that is no better does not help, and the run says so.
  await expect(run.replace(0, bad('factoryThrows'))).rejects.toMatchObject({ code: 'APP_THREW' });
  await run.replace(0, counting('new'));
  expect(run.stats().jobs.map((j) => j.state)).toEqual(['running', 'running']);
  await flowing(run, 0);
  await flowing(run, 1);
  await stopBalanced(run);
});

it('mends an application that hangs, before that has been noticed', async () => {
  const engine = await engineWith(['null:a', 'null:b'], QUICK);
  const run = await engine.run([job(bad('hanging', { after: 1 }), 'null:a', ['null:b'])]);
  await run.replace(0, counting('new'));
  await flowing(run);
  await eventually('it counts', () => run.stats().jobs[0].counters.new > 0n);
  await stopBalanced(run);
});

it('is what a worker is restarted with', async () => {
  const engine = await engineWith(['null:a', 'null:b'], QUICK);
  const run = await engine.run([job(counting('old'), 'null:a', ['null:b'])]);
  const events = eventsOf(run);
  await run.replace(0, bad('exiting', { after: 100 }));
  await eventually('it dies', () => events.includes('worker-failed 0 WORKER_EXITED'));
  await eventually('and again', () => events.filter((event) => event === 'worker-failed 0 WORKER_EXITED').length >= 2);
  await run.replace(0, counting('new'));
  await eventually('the new one counts', () => run.stats().jobs[0].counters.new > 0n);
  await stopBalanced(run);
});

it('many at once are done one after the other; the last one stays', async () => {
  const engine = await engineWith(['null:a', 'null:b']);
  const run = await engine.run([job(forward, 'null:a', ['null:b'])]);
  const names = Array.from({ length: 10 }, (_, i) => `n${i}`);
  await Promise.all(names.map((name) => run.replace(0, counting(name))));
  await eventually('the last one counts', () => run.stats().jobs[0].counters.n9 > 0n);
  await stopBalanced(run);
});

it('the same application again goes on counting', async () => {
  const engine = await engineWith(['null:a', 'null:b']);
  const run = await engine.run([job(counting('c'), 'null:a', ['null:b'])]);
  await eventually('it counts', () => run.stats().jobs[0].counters.c > 1000n);
  const then = run.stats().jobs[0].counters.c;
  await run.replace(0, counting('c'));
  expect(run.stats().jobs[0].counters.c).toBeGreaterThanOrEqual(then);
  await run.replace(0, counting('d'));
  expect(run.stats().jobs[0].counters.d).toBeLessThan(then * 1000n);
  await stopBalanced(run);
});

it('one that is finished is not, once it has been replaced', async () => {
  const engine = await engineWith(['null:a', 'null:b']);
  const gen = (count: number) => ({ module: 'gen', options: { count } });
  const run = await engine.run([job(gen(10), undefined, ['null:a']), job(gen(0), undefined, ['null:b'])]);
  await eventually('the first is finished', () => run.stats().jobs[0].counters.sent === 10n);
  await run.replace(0, gen(0));
  await run.replace(1, gen(5)); // finishes; the other does not
  await flowingOut(run, 0);
  expect(engine.activeRun).toBe(run);
  await stopBalanced(run);
});

async function flowingOut(run: Run, index: number): Promise<void> {
  const then = run.stats().jobs[index].frames.allocated;
  await eventually('packets are made', () => run.stats().jobs[index].frames.allocated > then + 100n);
}

it('of a job that there is not, or in a run that has ended, is refused', async () => {
  const engine = await engineWith(['null:a', 'null:b']);
  const run = await engine.run([job(forward, 'null:a', ['null:b'])]);
  await expect(run.replace(1, forward)).rejects.toMatchObject({ name: 'PlanError', code: 'NO_SUCH_JOB' });
  await expect(run.replace(-1, forward)).rejects.toMatchObject({ code: 'NO_SUCH_JOB' });
  const stopping = run.stop();
  await expect(run.replace(0, forward)).rejects.toMatchObject({ code: 'RUN_ENDED' });
  await stopping;
  await expect(run.replace(0, forward)).rejects.toMatchObject({ code: 'RUN_ENDED' });
});
