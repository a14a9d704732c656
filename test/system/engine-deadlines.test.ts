/** What the engine gives time to, and then gives up. Most of that is waiting, so these tests wait at once. */
import { setTimeout as sleep } from 'node:timers/promises';
import { beforeAll, describe, expect, it } from 'vitest';
import {
  type Belongings,
  belongings,
  engineWith,
  eventsOf,
  eventually,
  fake,
  forward,
  givenBack,
  job,
  QUICK,
  refusal,
  stopBalanced,
} from '../fakes/linecard.ts';

let before: Belongings;
beforeAll(() => {
  before = belongings();
});

describe.concurrent('an application', { timeout: 60_000 }, () => {
  it('that waits in a system call is told of, and started again when that has returned', async ({ onTestFinished }) => {
    const ports = ['null:a', 'null:b', 'null:c', 'null:d'];
    const engine = await engineWith(ports, QUICK, onTestFinished);
    const run = await engine.run([
      job(fake('misbehave', 'waiting', { seconds: 12, waited: new SharedArrayBuffer(4) }), 'null:a', ['null:b']),
      job(forward, 'null:c', ['null:d']), // in a worker of its own where there are two cpus
    ]);
    const events = eventsOf(run);
    await eventually('it is up again', () => events.includes('worker-restarted 0'), 40_000);
    expect(events.slice(0, 3)).toEqual([
      'worker-failed 0 WORKER_STUCK',
      'worker-failed 0 WORKER_STALLED',
      'worker-restarted 0',
    ]);
    await eventually('all frames are back', () => run.stats().framesMissing === 0);
    const { jobs } = await stopBalanced(run);
    expect(jobs[0].frames).toMatchObject({ delivered: 32n, dropped_app_died: 32n });
    if (run.assignment.workers.length > 1) expect(jobs[1].failures).toBe(0);
  });

  it('that cannot be ended is told of, and no other run starts before it has', async ({ onTestFinished }) => {
    const engine = await engineWith(['null:a', 'null:b'], QUICK, onTestFinished);
    const { dma } = engine.arena.used;
    const run = await engine.run([job(fake('misbehave', 'waiting', { seconds: 12 }), 'null:a', ['null:b'])]);
    const events = eventsOf(run);
    await eventually('it waits', () => run.stats().jobs[0].frames.delivered > 0n);
    const { errors } = await run.stop();
    expect(events).toEqual([]);
    expect(errors).toMatchObject([{ code: 'WORKER_STUCK' }]);
    const another = () => engine.run([job(forward, 'null:a', ['null:b'])]);
    for (let refused = 0; ; refused++) {
      const started = await another().catch((error: Error & { code?: string }) => error);
      if (!(started instanceof Error)) {
        expect(refused).toBeGreaterThan(0);
        await stopBalanced(started);
        break;
      }
      expect(started.code).toBe('WORKER_STUCK');
      await sleep(100);
    }
    expect(engine.arena.used.dma).toBe(dma);
  });

  it('that takes for ever to load: the run does not start', async ({ onTestFinished }) => {
    const engine = await engineWith(['null:a', 'null:b'], QUICK, onTestFinished);
    expect(await refusal(engine.run([job(fake('never-loads'), 'null:a', ['null:b'])]))).toMatchObject({
      name: 'WorkerError',
      code: 'APP_LOAD_TIMEOUT',
      message: expect.stringMatching(/its module was not loaded after 10 s/),
    });
    expect(engine.activeRun).toBeUndefined();
  });

  it('that takes for ever to load does not take the place of another', async ({ onTestFinished }) => {
    const engine = await engineWith(['null:a', 'null:b'], {}, onTestFinished);
    const run = await engine.run([job(forward, 'null:a', ['null:b'])]);
    await expect(run.replace(0, fake('never-loads'))).rejects.toMatchObject({ code: 'APP_LOAD_TIMEOUT' });
    const { delivered } = run.stats().jobs[0].frames;
    await eventually('packets flow', () => run.stats().jobs[0].frames.delivered > delivered + 1000n);
    await stopBalanced(run);
  });
});

it('nothing of them is left', async () => {
  await givenBack(before);
});
