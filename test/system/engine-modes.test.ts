import { expect, it } from 'vitest';
import {
  belongings,
  consume,
  engineWith,
  eventsOf,
  eventually,
  forward,
  givenBack,
  job,
  stopBalanced,
  threadCpus,
} from '../fakes/linecard.ts';

const COUNT = 20_000;
const gen = (options: Record<string, unknown> = {}) => ({ module: 'gen', options: { count: COUNT, ...options } });
const sink = { module: 'sink' };
const MODES = ['busy', 'adaptive', 'interrupt'] as const;

it.each(MODES)(
  '%s: every packet comes through a pair, intact and counted, and the run ends by itself',
  async (mode) => {
    const engine = await engineWith(['pair:p/0', 'pair:p/1'], { mode });
    const run = await engine.run([job(gen(), undefined, ['pair:p/0']), job(sink, 'pair:p/1')]);
    const events = eventsOf(run);
    const { ledger, jobs, ports, errors } = await run.done;
    expect(ledger).toMatchObject({ errors: [], balanced: true, held: 0, lost: 0, missing: 0, inRings: 0, free: 4096 });
    const count = BigInt(COUNT);
    expect(jobs[0]).toMatchObject({ frames: { allocated: count, accepted: count }, counters: { sent: count } });
    expect(jobs[1]).toMatchObject({
      frames: { delivered: count, consumed: count },
      counters: { ok: count, skipped: 0n },
    });
    expect(ports['pair:p/0'].tx).toMatchObject({ packets: count, completed: count, bytes: count * 60n, stopped: 0n });
    expect(ports['pair:p/1'].rx).toMatchObject({ packets: count, bytes: count * 60n });
    expect([events, errors, engine.activeRun]).toEqual([[], [], undefined]);
  },
);

it.each(MODES)('%s: there and back over two pairs and three jobs', async (mode) => {
  const engine = await engineWith(['pair:a/0', 'pair:a/1', 'pair:b/0', 'pair:b/1'], { mode });
  const run = await engine.run([
    job(gen(), undefined, ['pair:a/0'], { group: 'ends' }),
    job(forward, 'pair:a/1', ['pair:b/0']),
    job(sink, 'pair:b/1', [], { group: 'ends' }),
  ]);
  const { ledger, jobs } = await run.done;
  expect(ledger).toMatchObject({ errors: [], missing: 0 });
  // The forwarder drops what does not fit: the sink has what it did not drop, in order.
  const { delivered, accepted, dropped_tx_full } = jobs[1].frames;
  expect([delivered, accepted + dropped_tx_full]).toEqual([BigInt(COUNT), BigInt(COUNT)]);
  expect(jobs[2].counters).toMatchObject({ ok: accepted, late: 0n, duplicate: 0n, corrupt: 0n, foreign: 0n });
});

it.each(MODES)('%s: a loop receives what it sends', async (mode) => {
  const engine = await engineWith(['loop:x'], { mode });
  const run = await engine.run([
    job(gen(), undefined, ['loop:x'], { group: 'g' }),
    job(sink, 'loop:x', [], { group: 'g' }),
  ]);
  const { ledger, jobs } = await run.done;
  expect(ledger).toMatchObject({ errors: [], missing: 0 });
  const { ok } = jobs[1].counters;
  // A loop stops receiving when it is quiesced: what is in its ring then is counted as stopped.
  expect(jobs[1].frames.delivered).toBe(ok);
  expect(jobs[0].frames.accepted).toBe(BigInt(COUNT));
});

it.each(MODES)('%s: null to null, both ways in one worker, for as long as one likes', async (mode) => {
  const engine = await engineWith(['null:0', 'null:1'], { mode });
  const run = await engine.run([
    job({ module: 'l2fwd' }, 'null:0', ['null:1'], { group: 'g' }),
    job({ module: 'l2fwd' }, 'null:1', ['null:0'], { group: 'g' }),
  ]);
  await eventually(
    'a million packets each way',
    () => run.stats().jobs.every((j) => j.frames.accepted > 1_000_000n),
    60_000,
  );
  const { ledger, ports } = await stopBalanced(run);
  expect(ledger.missing).toBe(0);
  for (const name of ['null:0', 'null:1']) {
    const { tx } = ports[name];
    expect(tx.completed).toBe(tx.packets);
    expect(tx.bytes).toBe(tx.packets * 60n);
  }
});

it.each(MODES)('%s: two queues of a port, two workers, one sink', async (mode) => {
  const engine = await engineWith(['pair:a/0'], { mode });
  await engine.open('pair:a/1', { rxQueues: 2 });
  const run = await engine.run([
    job(gen({ flows: 2 }), undefined, ['pair:a/0'], { group: 'one' }),
    job(gen({ firstFlow: 2 }), undefined, ['pair:a/0'], { group: 'two' }),
    job(sink, undefined, [], { rx: { port: 'pair:a/1', queue: 0 }, group: 'one' }),
    job(sink, undefined, [], { rx: { port: 'pair:a/1', queue: 1 }, group: 'two' }),
  ]);
  const { ledger, jobs } = await run.done;
  expect(ledger).toMatchObject({ errors: [], missing: 0 });
  expect(jobs[2].counters.ok + jobs[3].counters.ok).toBe(2n * BigInt(COUNT));
});

it('pins each worker to its cpu, and nobody else', async () => {
  const engine = await engineWith(['null:0', 'null:1']);
  const everywhere = threadCpus()[0];
  const pinned = () => threadCpus().filter((cpus) => cpus !== everywhere);
  const before = pinned();
  const jobs = [job(consume, 'null:0'), job(consume, 'null:1')];
  const cpus = engine.plan(jobs).workers.map((worker) => String(worker.cpu));
  const run = await engine.run(jobs);
  if (everywhere.match(/^\d+$/) === null) expect(pinned().sort()).toEqual([...before, ...cpus].sort());
  expect(run.stats().workers.map((worker) => String(worker.cpu))).toEqual(cpus);
  await run.stop();
});

it('tells what its workers do: awake, asleep, interrupted', async () => {
  const engine = await engineWith(['pair:a/0', 'pair:a/1'], { mode: 'interrupt' });
  const run = await engine.run([
    job({ module: 'gen', options: { rate: 1000 } }, undefined, ['pair:a/0']),
    job(sink, 'pair:a/1'),
  ]);
  await eventually('200 packets', () => run.stats().jobs[1].frames.delivered >= 200n);
  const { workers, seconds, jobs } = run.stats();
  const sleeper = workers[workers.length - 1];
  expect(['live', 'asleep']).toContain(sleeper.state);
  expect(sleeper.counters.sleeps).toBeGreaterThan(10n);
  expect(sleeper.counters.interrupts).toBeGreaterThan(10n);
  expect(sleeper.counters.interrupts).toBeLessThanOrEqual(sleeper.counters.sleeps);
  expect(sleeper.counters.idlePolls).toBeLessThan(sleeper.counters.polls);
  expect(seconds).toBeGreaterThan(0.1);
  expect(jobs.map(({ job: number, state, failures }) => [number, state, failures])).toEqual([[0, 'running', 0], [1, 'running', 0]]); // biome-ignore format: a table
  const { workers: after, seconds: whole } = await stopBalanced(run);
  expect(after.map((worker) => worker.state)).toEqual(after.map(() => 'left'));
  expect(whole).toBeGreaterThanOrEqual(seconds);
});

it('gives everything back when it is closed', async () => {
  const engine0 = await engineWith([]); // what is loaded once stays
  await engine0.close();
  const before = belongings();
  const engine = await engineWith(['pair:a/0', 'pair:a/1', 'null:0', 'loop:x']);
  const run = await engine.run([job(gen(), undefined, ['pair:a/0']), job(sink, 'pair:a/1')]);
  await run.done;
  await engine.close();
  await givenBack(before);
  expect(engine.arena.mapped()).toEqual([]);
});
