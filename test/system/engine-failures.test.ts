import type { JobSpec, RunResult, WorkerError } from 'linecard';
import { describe, expect, it } from 'vitest';
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
  refusal,
  stopBalanced,
} from '../fakes/linecard.ts';

const PORTS = ['null:a', 'null:b', 'null:c', 'null:d'];
/** A job that must not notice anything, in a worker of its own where there are two cpus. */
const bystander = job(forward, 'null:c', ['null:d']);
const bad = (name: string, options: Record<string, unknown> = {}): JobSpec =>
  job(fake('misbehave', name, options), 'null:a', ['null:b']);

/** Every frame that the failing job had is somewhere: written off, or where it should be. */
function expectCounted({ jobs, ports }: RunResult): void {
  const { frames } = jobs[0];
  const { delivered, allocated, accepted, consumed, dropped_app_died, dropped_stopped } = frames;
  expect(delivered + allocated).toBe(accepted + consumed + dropped_app_died + dropped_stopped + frames.dropped_tx_full);
  expect(ports['null:a'].rx.packets).toBe(delivered);
  expect(ports['null:b'].tx.packets).toBe(accepted);
  expect(ports['null:b'].tx.completed).toBe(accepted);
}

describe('an application that throws', () => {
  it('at its first call: is started again, with its frames counted and given back', async () => {
    const engine = await engineWith(PORTS, QUICK);
    const times = new Int32Array(new SharedArrayBuffer(4)).fill(5);
    const run = await engine.run([bad('throwing', { times: times.buffer }), bystander]);
    const events = eventsOf(run);
    const errors: WorkerError[] = [];
    run.on('job-failed', (_, error, retryMs) => {
      errors.push(error as WorkerError);
      expect(retryMs).toBe(Math.min(20, 5 * 2 ** (errors.length - 1)));
    });
    await eventually('it goes on after five failures', () => times[0] < 0);
    await eventually('all frames are back', () => run.stats().framesMissing === 0);
    const result = await stopBalanced(run);
    expectCounted(result);
    // It grabs one burst each time, and nothing else happens to it.
    const { failures, frames } = result.jobs[0];
    expect(failures).toBe(5);
    expect(frames.dropped_app_died).toBe(32n * BigInt(failures));
    expect(frames).toMatchObject({ delivered: 32n * BigInt(failures), accepted: 0n });
    expect(errors[0]).toMatchObject({ name: 'WorkerError', code: 'APP_THREW' });
    expect(errors[0].message).toMatch(
      /application file:.*misbehave\.mjs#throwing in worker 0: the application is broken; mend/,
    );
    expect((errors[0].cause as Error).stack).toContain('misbehave.mjs');
    expect(new Set(events)).toEqual(new Set(['job-failed 0 APP_THREW', 'job-restarted 0']));
    expect(result.jobs[1].failures).toBe(0);
  });

  it('now and then: goes on where it was, hundreds of times', async () => {
    const engine = await engineWith(PORTS, { ...QUICK, restartMs: [1, 1] });
    const run = await engine.run([bad('sometimes', { every: 10_000 }), bystander]);
    await eventually('a hundred failures', () => run.stats().jobs[0].failures >= 100, 60_000);
    await eventually('all frames are back', () => run.stats().framesMissing === 0);
    const result = await stopBalanced(run);
    expectCounted(result);
    const { failures, frames } = result.jobs[0];
    expect(frames.dropped_app_died).toBe(32n * BigInt(failures));
    expect(frames.accepted).toBeGreaterThan(9_998n * 32n * 99n);
    // More were lost in between than the pool has: they have come back.
    expect(Number(frames.dropped_app_died)).toBeGreaterThan(3000);
    expect(result.jobs[1].frames.dropped_no_frame).toBe(0n);
  });

  it('does not keep another job of its worker from working', async () => {
    const engine = await engineWith(PORTS, QUICK);
    const run = await engine.run([
      { ...bad('throwing'), group: 'g' },
      { ...bystander, group: 'g' },
    ]);
    await eventually('three failures', () => run.stats().jobs[0].failures >= 3);
    const then = run.stats().jobs[1].frames.accepted;
    await eventually('the other goes on', () => run.stats().jobs[1].frames.accepted > then + 100_000n);
    const result = await stopBalanced(run);
    expect(result.jobs.map((j) => j.failures > 0)).toEqual([true, false]);
  });

  it('loads its module once, however often it is started again', async () => {
    const engine = await engineWith(PORTS, { ...QUICK, restartMs: [1, 1], heapMb: 32 });
    const run = await engine.run([bad('throwing')]);
    const events = eventsOf(run);
    await eventually('four hundred failures', () => run.stats().jobs[0].failures >= 400, 60_000);
    await stopBalanced(run);
    expect(events.filter((event) => event.startsWith('worker'))).toEqual([]);
  });
});

const DEADLY: [name: string, code: string, why: RegExp, options?: Record<string, unknown>][] = [
  ['hanging', 'WORKER_STALLED', /heartbeat has stood still for 500 ms/],
  ['busy', 'WORKER_STALLED', /heartbeat/],
  ['hoarding', 'WORKER_OUT_OF_MEMORY', /memory limit/],
  ['leaking', 'WORKER_OUT_OF_MEMORY', /memory limit/, { every: 1 }],
  ['leaking', 'WORKER_OUT_OF_MEMORY', /memory limit/, { every: 200 }], // when V8 has made all it can of the worker's loop
  ['exiting', 'WORKER_EXITED', /exited with code: 3/],
  ['rejecting', 'WORKER_THREW', /nobody waits for this/],
];

describe.each(DEADLY)('an application that is %s', (name, code, why, options = {}) => {
  it(`ends its worker with ${code}; that is started again, and nobody else notices`, { timeout: 60_000 }, async () => {
    // Near its limit a worker may collect garbage for longer than a heartbeat of the quick ones may take.
    const stallMs = code === 'WORKER_OUT_OF_MEMORY' ? 5000 : 500;
    const engine = await engineWith(PORTS, { ...QUICK, stallMs, heapMb: 32 });
    const run = await engine.run([bad(name, { after: 1000, ...options }), bystander]);
    const events = eventsOf(run);
    const errors: Error[] = [];
    run.on('worker-failed', (_, error) => errors.push(error));
    const threads = belongings().threads;
    await eventually('it fails three times', () => errors.length >= 3, 50_000);
    await eventually('it is up again', () => events.filter((event) => event === 'worker-restarted 0').length >= 3);
    await eventually('all frames are back', () => run.stats().framesMissing === 0);
    const result = await stopBalanced(run);
    expectCounted(result);
    expect(errors[0]).toMatchObject({ name: 'WorkerError', code, detail: { worker: 0 } });
    expect(errors[0].message).toMatch(why);
    const others = events.filter((event) => !event.startsWith('job-failed 0') && !event.startsWith('job-restarted 0'));
    expect(new Set(others)).toEqual(new Set([`worker-failed 0 ${code}`, 'worker-restarted 0']));
    if (result.workers.length > 1) expect(result.jobs[1].failures).toBe(0);
    expect(belongings().threads).toBeLessThanOrEqual(threads);
  });
});

describe('an application that cannot be made', () => {
  it.each([
    ['factoryThrows', 'APP_THREW', /its factory threw \(no application today\)/],
    ['factoryReturnsNothing', 'APP_NOT_A_FACTORY', /it returned undefined, not a burst function/],
    ['asyncFactory', 'APP_NOT_A_FACTORY', /it returned a promise/],
    ['notAFunction', 'APP_EXPORT_MISSING', /no function "notAFunction"/],
    ['missing', 'APP_EXPORT_MISSING', /the module exports .*throwing/],
    ['seventeenCounters', 'APP_COUNTERS', /it has 16 counters already/],
    ['sameCounterTwice', 'APP_COUNTERS', /counter "c" exists already/],
    ['factoryExits', 'WORKER_EXITED', /code: 4/],
    ['factoryRejects', 'WORKER_THREW', /nobody waits for this/],
  ])('%s: the run does not start, and says %s', async (name, code, why) => {
    const engine = await engineWith(PORTS, QUICK);
    const before = { ...belongings(), used: engine.arena.used };
    expect(await refusal(engine.run([bystander, bad(name)]))).toMatchObject({
      name: 'WorkerError',
      code,
      message: expect.stringMatching(why),
    });
    await givenBack(before);
    expect(engine.arena.used).toEqual(before.used);
    // The ports are as they were, and nothing stands in the way of another run.
    expect([...engine.ports.values()].map((port) => port.state)).toEqual(PORTS.map(() => 'stopped'));
    const run = await engine.run([job(forward, 'null:a', ['null:b']), bystander]);
    await stopBalanced(run);
  });

  it.each([
    ['top-level', 'APP_MODULE_MISSING', /the module cannot be loaded \(not even loaded\)/],
    ['no-such-file', 'APP_MODULE_MISSING', /the module cannot be loaded \(Cannot find module/],
  ])('module %s: the run does not start, and says %s', async (file, code, why) => {
    const engine = await engineWith(PORTS, QUICK);
    const failing = engine.run([job(fake(file), 'null:a', ['null:b'])]);
    expect(await refusal(failing)).toMatchObject({ name: 'WorkerError', code, message: expect.stringMatching(why) });
    expect(engine.activeRun).toBeUndefined();
  });

  it('frames that its factory had taken are in the pool again', async () => {
    const engine = await engineWith(['null:a', 'null:b'], { ...QUICK, frames: 512 });
    expect(await refusal(engine.run([bad('factoryThrowsWithFrames', { take: 512 })]))).toMatchObject({
      code: 'APP_THREW',
    });
    const run = await engine.run([job(forward, 'null:a', ['null:b'])]);
    await eventually('packets flow', () => run.stats().jobs[0].frames.accepted > 1000n);
    const { ledger } = await stopBalanced(run);
    expect(ledger.free).toBe(512);
  });
});

it('a lock that a dead worker held is taken from it', async () => {
  const engine = await engineWith(PORTS, QUICK);
  const { frames } = (engine as unknown as { means: { frames: { plan: { depot: number } } } }).means;
  const lock = frames.plan.depot;
  const run = await engine.run([bad('locking', { after: 100, lock }), bystander]);
  const events = eventsOf(run);
  await eventually('it is up again', () => events.includes('worker-restarted 0'));
  await eventually('all frames are back', () => run.stats().framesMissing === 0);
  await stopBalanced(run);
});

it('a bad worker is restarted even when a listener throws; the error is the listener’s', async () => {
  const thrown: unknown[] = [];
  const listeners = process.listeners('uncaughtException');
  process.removeAllListeners('uncaughtException');
  process.on('uncaughtException', (error) => thrown.push(error));
  try {
    const engine = await engineWith(PORTS, QUICK);
    const run = await engine.run([bad('exiting', { after: 10 })]);
    run.on('worker-failed', () => {
      throw new Error('listener');
    });
    const events = eventsOf(run);
    await eventually('it is up again', () => events.includes('worker-restarted 0'));
    run.on('end', () => {
      throw new Error('at the end');
    });
    await stopBalanced(run);
    await eventually('both are thrown', () => thrown.some((error) => (error as Error).message === 'at the end'));
    expect(thrown).toContainEqual(expect.objectContaining({ message: 'listener' }));
  } finally {
    process.removeAllListeners('uncaughtException');
    for (const listener of listeners) process.on('uncaughtException', listener);
  }
});
