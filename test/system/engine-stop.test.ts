import { expect, it } from 'vitest';
import {
  belongings,
  consume,
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

const bad = (name: string, options: Record<string, unknown> = {}) => fake('misbehave', name, options);
const PORTS = ['null:a', 'null:b', 'null:c', 'null:d'];

it('stops the sources first, and lets what is under way arrive', async () => {
  const engine = await engineWith(['pair:a/0', 'pair:a/1', 'pair:b/0', 'pair:b/1']);
  const run = await engine.run([
    job({ module: 'gen', options: { rate: 300_000 } }, undefined, ['pair:a/0'], { group: 'ends' }),
    job(forward, 'pair:a/1', ['pair:b/0']),
    job({ module: 'sink' }, 'pair:b/1', [], { group: 'ends' }),
  ]);
  await eventually('packets arrive', () => run.stats().jobs[2].counters.ok > 5000n);
  const { jobs, ledger, ports } = await stopBalanced(run);
  expect(ledger).toMatchObject({ inRings: 0, lost: 0 });
  expect(ports['pair:a/0'].tx).toMatchObject({ stopped: 0n, completed: jobs[0].frames.accepted });
  expect(jobs[1].frames.delivered).toBe(jobs[0].frames.accepted);
  expect(jobs[2].counters.ok).toBe(jobs[1].frames.accepted);
});

it('counts what nobody receives as stopped', async () => {
  const engine = await engineWith(['pair:a/0', 'pair:a/1'], { drainMs: 50 });
  const run = await engine.run([job({ module: 'gen', options: { count: 100 } }, undefined, ['pair:a/0'])]);
  const { ledger, ports, jobs } = await run.done;
  expect(ledger).toMatchObject({ inRings: 100, held: 0, errors: [] });
  expect(jobs[0].frames.accepted).toBe(100n);
  // The result is from the moment before the rings were emptied; the port has it all.
  expect(ports['pair:a/0'].tx.packets).toBe(100n);
  expect(engine.ports.get('pair:a/0')?.stats().tx).toMatchObject({ packets: 100n, completed: 0n, stopped: 100n });
});

it('counts what an application keeps as stopped', async () => {
  const engine = await engineWith(PORTS);
  const run = await engine.run([job(fake('forward', 'hoarding', { hold: 77 }), 'null:a', ['null:b'])]);
  await eventually('it has them', () => run.stats().jobs[0].frames.accepted > 0n);
  const { ledger, jobs } = await stopBalanced(run);
  expect(ledger).toMatchObject({ held: 77, missing: 77, lost: 0 });
  expect(jobs[0].frames.dropped_stopped).toBe(77n);
});

it('does not wait for longer than it is told', async () => {
  const engine = await engineWith(['loop:x'], { drainMs: 0 });
  const run = await engine.run([
    job({ module: 'gen' }, undefined, ['loop:x'], { group: 'g' }),
    job(consume, 'loop:x', [], { group: 'g' }),
  ]);
  await stopBalanced(run);
});

it('leaves figures that can be read for ever', async () => {
  const engine = await engineWith(PORTS);
  const run = await engine.run([job(forward, 'null:a', ['null:b'])]);
  await eventually('packets flow', () => run.stats().jobs[0].frames.accepted > 1000n);
  const { ledger, errors, ...figures } = await stopBalanced(run);
  await (await engine.run([job(consume, 'null:c')])).stop(); // has the memory that the first run had
  expect(run.stats()).toEqual(figures);
  await engine.close();
  expect(run.stats()).toEqual(figures);
});

it('twice is once, and the same result', async () => {
  const engine = await engineWith(PORTS);
  const run = await engine.run([job(forward, 'null:a', ['null:b'])]);
  let ends = 0;
  run.on('end', () => ends++);
  const [first, second, done] = await Promise.all([run.stop(), run.stop(), run.done]);
  expect(first).toBe(second);
  expect(first).toBe(done);
  expect(await run.stop()).toBe(first);
  expect(ends).toBe(1);
});

it.each(['hanging', 'busy'])('while a worker is %s: it is ended, and the rest is in order', async (name) => {
  const engine = await engineWith(PORTS, { ...QUICK, stallMs: 60_000 });
  const before = belongings();
  const run = await engine.run([
    job(bad(name, { after: 10 }), 'null:a', ['null:b']),
    job(forward, 'null:c', ['null:d']),
  ]);
  const events = eventsOf(run);
  await eventually('it hangs', () => run.stats().jobs[0].frames.delivered >= 32n * 10n);
  const { jobs, errors, workers } = await stopBalanced(run);
  // `busy` may have been ended with nothing in its hands; what it had is counted in any case.
  if (name === 'hanging') expect(jobs[0].frames.dropped_app_died).toBe(32n);
  expect(jobs[0].state).toBe('down');
  expect(workers.map((worker) => worker.state)).toEqual(['dead', 'left'].slice(0, workers.length));
  expect(events).toEqual(['worker-failed 0 WORKER_STALLED']);
  expect(errors).toMatchObject([{ code: 'WORKER_STALLED' }]);
  await engine.close();
  await givenBack(before);
});

it.each(['exiting', 'throwing'])('while %s is about to be started again: it is not', async (name) => {
  const engine = await engineWith(PORTS, { restartMs: [300, 300] });
  const run = await engine.run([job(bad(name), 'null:a', ['null:b'])]);
  const events = eventsOf(run);
  await eventually('it fails', () => run.stats().jobs[0].state === 'down');
  await stopBalanced(run);
  const then = [...events];
  await new Promise((resolve) => setTimeout(resolve, 600));
  expect(events).toEqual(then);
  expect(events.some((event) => event.includes('restarted'))).toBe(false);
});

it('while a worker is just being started again', async () => {
  const engine = await engineWith(PORTS, { ...QUICK, restartMs: [1, 1] });
  for (let i = 0; i < 10; i++) {
    const run = await engine.run([job(bad('exiting'), 'null:a', ['null:b']), job(forward, 'null:c', ['null:d'])]);
    await new Promise<void>((resolve) => {
      run.once('worker-failed', () => setTimeout(resolve, 1 + i * 8));
    });
    await stopBalanced(run);
  }
});

it('while an application is being replaced: that is refused, and nothing hangs', async () => {
  const engine = await engineWith(PORTS);
  const run = await engine.run([job(forward, 'null:a', ['null:b'])]);
  const replacing = run.replace(0, fake('never-loads'));
  const refused = expect(replacing).rejects.toMatchObject({ code: 'RUN_ENDED' });
  await stopBalanced(run);
  await refused;
});

it('closing the engine stops the run', async () => {
  const engine = await engineWith(['pair:a/0', 'pair:a/1']);
  const before = belongings();
  const run = await engine.run([job({ module: 'gen' }, undefined, ['pair:a/0']), job({ module: 'sink' }, 'pair:a/1')]);
  await eventually('packets flow', () => run.stats().jobs[1].counters.ok > 1000n);
  await Promise.all([engine.close(), engine.close()]);
  const { ledger } = await run.done;
  expect(ledger.errors).toEqual([]);
  expect(belongings().fds).toBeLessThan(before.fds);
  expect(engine.arena.mapped()).toEqual([]);
  expect(await refusal(engine.run([]))).toMatchObject({ code: 'ENGINE_CLOSED' });
  await expect(engine.open('null:x')).rejects.toMatchObject({ code: 'ENGINE_CLOSED' });
});

it('closing the engine while a run starts takes that back', async () => {
  for (const wait of [0, 1, 5, 20, 60]) {
    const before = belongings();
    const engine = await engineWith(['null:a', 'null:b']);
    const starting = engine.run([job(forward, 'null:a', ['null:b'])]);
    let runs = false;
    const refused = starting.then(
      () => {
        runs = true;
      },
      (error) => expect(error).toMatchObject({ code: 'ENGINE_CLOSED' }),
    );
    await new Promise((resolve) => setTimeout(resolve, wait));
    const began = runs; // a fast machine may have been done by now
    await engine.close();
    await refused;
    expect([began, wait]).toEqual([runs, wait]);
    if (wait === 0) expect(runs).toBe(false);
    await givenBack(before);
  }
});

it('stopping in the listener of an event, and closing in that of the end, is fine', async () => {
  const engine = await engineWith(PORTS, QUICK);
  const run = await engine.run([job(bad('exiting', { after: 10 }), 'null:a', ['null:b'])]);
  run.on('worker-failed', () => void run.stop());
  await new Promise<void>((resolve, reject) => {
    run.on('end', () => engine.close().then(resolve, reject));
  });
  expect((await run.done).ledger.errors).toEqual([]);
});

it('a second run is refused while the first goes on, and while it starts', async () => {
  const engine = await engineWith(PORTS);
  const starting = engine.run([job(forward, 'null:a', ['null:b'])]);
  expect(await refusal(engine.run([job(forward, 'null:c', ['null:d'])]))).toMatchObject({ code: 'RUNNING' });
  const run = await starting;
  expect(await refusal(engine.run([job(forward, 'null:c', ['null:d'])]))).toMatchObject({ code: 'RUNNING' });
  await stopBalanced(run);
  await stopBalanced(await engine.run([job(forward, 'null:c', ['null:d'])]));
});

it('a driver that fails at the end does not keep the run from ending, or the rest from being given back', async () => {
  const engine = await engineWith(PORTS);
  const before = { ...belongings(), used: engine.arena.used };
  for (const method of ['held', 'settle', 'clear'] as const) {
    const run = await engine.run([job(forward, 'null:a', ['null:b'])]);
    const [queue] = engine.ports.get('null:b')?.queues.tx ?? [];
    Object.assign(queue, {
      [method]: () => {
        throw new Error(`${method} is broken`);
      },
    });
    const { ledger, errors } = await run.stop();
    expect(ledger.balanced).toBe(false);
    expect(ledger.errors.join()).toContain(`${method} is broken`);
    expect(errors[0].message).toContain(`${method} is broken`);
    await givenBack(before);
    expect(engine.arena.used).toEqual(before.used);
  }
  await stopBalanced(await engine.run([job(forward, 'null:a', ['null:b'])]));
});

it('await using closes it', async () => {
  let mapped = () => [{}] as readonly unknown[];
  {
    await using engine = await engineWith(['null:a']);
    mapped = () => engine.arena.mapped();
    expect(mapped().length).toBeGreaterThan(0);
  }
  expect(mapped()).toEqual([]);
});
