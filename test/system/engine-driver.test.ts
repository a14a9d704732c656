/** A driver is exchanged for a later release of it while packets flow: every frame is accounted for, and the ports go on. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Driver, Engine, FrameworkEvent, Run } from 'linecard';
import { expect, it, onTestFinished } from 'vitest';
import {
  belongings,
  engineWith,
  eventsOf,
  eventually,
  fake,
  forward,
  givenBack,
  job,
  QUICK,
  stopBalanced,
} from '../fakes/linecard.ts';

/** The number is 1000; a tenth of it in the ordinary run. */
const REPLACEMENTS = Number(process.env.LINECARD_REPLACEMENTS ?? 100);

const driverOf = async (name: string): Promise<() => Driver> => {
  const module = await import(new URL(`../../dist/lib/drivers/${name}/device.js`, import.meta.url).href);
  return Object.values(module).find((value) => /Driver$/.test((value as { name: string }).name)) as () => Driver;
};

/** Replaces driver `name` `times` times; returns what the framework said, one word each. */
async function replaceAgain(engine: Engine, name: string, times: number, pause = () => sleep(2)): Promise<string[]> {
  const make = await driverOf(name);
  const said: string[] = [];
  const forget = engine.framework.on((event: FrameworkEvent) => {
    if (event.type === 'driver-replaced') said.push(event.kept ? 'kept' : 'anew');
    else said.push(event.type === 'error' ? `${event.source}: ${event.error.message}` : event.type);
  });
  for (let i = 1; i <= times; i++) {
    await engine.framework.replaceDriver({ ...make(), version: `1.1.${i}` });
    await pause();
  }
  forget();
  return [...new Set(said)];
}

const received = (run: Run) => run.stats().jobs[1].counters.ok ?? 0n;
const flowing = async (run: Run) => {
  const before = run.stats().jobs[1].frames.delivered;
  await eventually('packets flow', () => run.stats().jobs[1].frames.delivered > before + 1000n);
};

/** What applications had in their hands when they were made anew is looked for, until all of it is back in the pool. */
const broughtBack = (run: Run) => eventually('nothing is missing', () => run.stats().framesMissing === 0);

const GEN = { module: 'gen', options: { rate: 200_000 } };

it(`virtio-net, ${REPLACEMENTS} times: the rings go on, and not one frame is lost`, async () => {
  const folder = mkdtempSync(join(tmpdir(), 'linecard-driver-'));
  onTestFinished(() => rmSync(folder, { recursive: true }));
  const socket = join(folder, 's');
  const engine = await engineWith([`vhost-user:${socket}`, `virtio-user:${socket}`]);
  const [back, front] = [...engine.ports.keys()];
  const run = await engine.run([job(GEN, undefined, [back]), job({ module: 'sink' }, front)]);
  const events = eventsOf(run);
  await flowing(run);
  const port = engine.ports.get(front);
  expect(await replaceAgain(engine, 'virtio-net', REPLACEMENTS)).toEqual(['kept']);
  expect([engine.ports.get(front) === port, port?.state]).toEqual([true, 'started']);
  await flowing(run);
  await broughtBack(run);
  const { jobs, ports, ledger } = await stopBalanced(run);
  // What the sink had in its hands when it was made anew has been counted as stopped; nothing is lost on the way.
  expect(ledger.lost).toBe(0);
  expect(ports[front].rx.packets).toBe(jobs[1].frames.delivered);
  expect([ports[front].rx.lost, ports[front].rx.invalid, ports[back].tx.stopped]).toEqual([0n, 0n, 0n]);
  expect(jobs[1].counters).toMatchObject({ corrupt: 0n });
  expect(events).toEqual([]);
}, 300_000);

it('one that cannot hand over, many times: its device is set up anew, and what was in its rings is counted', async () => {
  const engine = await engineWith(['loop:a', 'null:b', 'null:c']);
  const run = await engine.run([
    job(GEN, undefined, ['loop:a']),
    job({ module: 'sink' }, 'loop:a'),
    job(forward, 'null:b', ['null:c']),
  ]);
  const events = eventsOf(run);
  await flowing(run);
  expect(await replaceAgain(engine, 'loop', 20)).toEqual(['anew']);
  const others = run.stats().jobs[2].frames.delivered;
  await flowing(run);
  expect(received(run)).toBeGreaterThan(0n);
  await eventually('the others go on', () => run.stats().jobs[2].frames.delivered > others);
  await broughtBack(run);
  const { jobs, ports, ledger } = await stopBalanced(run);
  const { rx, tx } = ports['loop:a'];
  expect(tx.packets).toBe(rx.packets + tx.stopped);
  expect([jobs[0].frames.accepted, jobs[1].frames.delivered, ledger.lost]).toEqual([tx.packets, rx.packets, 0]);
  expect(events).toEqual([]);
});

it('an application that cannot be made again, and one that dies meanwhile, are started again on the new queues', async () => {
  const engine = await engineWith(['loop:a', 'null:b'], QUICK);
  const run = await engine.run([
    job(GEN, undefined, ['loop:a']),
    job(fake('misbehave', 'sometimes', { every: 50 }), 'loop:a', ['null:b']),
  ]);
  const events = eventsOf(run);
  const failures = () => run.stats().jobs[1].failures;
  expect(await replaceAgain(engine, 'loop', 30, () => sleep(10))).toEqual(['anew']);
  await eventually('it fails now and then', () => failures() > 0);
  const { ledger } = await stopBalanced(run);
  expect(ledger.balanced).toBe(true);
  const kinds = new Set(events.map((event) => event.split(' ')[0]));
  kinds.delete('job-restarted'); // or placed again with its queues
  expect([...kinds]).toEqual(['job-failed']);
}, 60_000);

it('without a run, and in the middle of stopping one, nothing is left behind', async () => {
  const before = belongings();
  const engine = await engineWith(['loop:a']);
  expect(await replaceAgain(engine, 'loop', 3)).toEqual(['anew']);
  for (let i = 0; i < 5; i++) {
    const run = await engine.run([job(GEN, undefined, ['loop:a']), job({ module: 'sink' }, 'loop:a')]);
    await flowing(run);
    const make = await driverOf('loop');
    const replaced = engine.framework.replaceDriver({ ...make(), version: `2.${i}` });
    const result = await run.stop();
    await replaced;
    expect(result.ledger.errors).toEqual([]);
    expect(engine.ports.get('loop:a')?.state).toBe('stopped');
  }
  await engine.close();
  await givenBack(before, 'exchanges');
});
