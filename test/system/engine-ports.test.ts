import type { Device, Engine, Pktio, Run } from 'linecard';
import { describe, expect, it } from 'vitest';
import {
  type Belongings,
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

const port = (engine: Engine, name: string): Pktio => engine.ports.get(name) ?? expect.fail(`${name} is not open`);
const device = (engine: Engine, name: string): Device =>
  engine.framework.devices().find((d) => d.address === name) ?? expect.fail(`no device ${name}`);
const states = (run: Run) => run.stats().jobs.map((j) => j.state);
const goesOn = async (run: Run, index: number) => {
  const then = run.stats().jobs[index].frames.delivered;
  await eventually(`job ${index} goes on`, () => run.stats().jobs[index].frames.delivered > then + 1000n);
};

/** How a port can go away. */
const WAYS: [string, (engine: Engine, name: string) => Promise<void>][] = [
  ['engine.close(port)', (engine, name) => engine.close(port(engine, name))],
  ['framework.unbind', (engine, name) => engine.framework.unbind(device(engine, name))],
  ['unregisterDriver', (engine, name) => engine.framework.unregisterDriver(name.split(':')[0])],
];

describe.each(WAYS)('%s while a run goes on', (_, goAway) => {
  it('takes out the jobs that use the port, and only those', async () => {
    const engine = await engineWith(['null:a', 'loop:x', 'pair:p/0', 'pair:p/1']);
    const run = await engine.run([
      job({ module: 'gen' }, undefined, ['pair:p/0'], { group: 'g' }),
      job(consume, 'pair:p/1'),
      job(forward, 'null:a', ['loop:x'], { group: 'g' }),
      job(consume, 'loop:x', [], { group: 'g' }),
    ]);
    const events = eventsOf(run);
    await goesOn(run, 2);
    await goesOn(run, 1);
    await goAway(engine, 'loop:x');
    expect(states(run)).toEqual(['running', 'running', 'detached', 'detached']);
    expect(engine.ports.has('loop:x')).toBe(false);
    await goesOn(run, 1);
    const then = run
      .stats()
      .jobs.slice(2)
      .map((j) => j.frames);
    const { jobs, ports } = await stopBalanced(run);
    expect(jobs.slice(2).map((j) => j.frames)).toEqual(then);
    expect(ports['loop:x'].tx.packets).toBe(jobs[2].frames.accepted);
    expect(ports['loop:x'].rx.packets).toBe(jobs[3].frames.delivered);
    expect(events).toEqual([]);
  });
});

it('one end of a pair under load goes away: the other goes on, and nothing is lost uncounted', async () => {
  const engine = await engineWith(['null:a', 'pair:p/0', 'pair:p/1']);
  const run = await engine.run([job(forward, 'null:a', ['pair:p/0']), job(consume, 'pair:p/1')]);
  await goesOn(run, 1);
  const fds = belongings().fds;
  await engine.close(port(engine, 'pair:p/1'));
  expect(states(run)).toEqual(['running', 'detached']);
  await goesOn(run, 0); // into a ring that nobody empties: dropped, once it is full
  await eventually('it drops', () => run.stats().jobs[0].frames.dropped_tx_full > 10_000n);
  expect(belongings().fds).toBeLessThanOrEqual(fds);
  const { ledger, ports, jobs } = await stopBalanced(run);
  expect(ledger.inRings).toBe(1024);
  expect(ports['pair:p/0'].tx.completed).toBe(jobs[1].frames.delivered);
});

it('the sending end of a pair goes away: what is in its ring is counted as stopped, and the frames come back', async () => {
  const engine = await engineWith(['null:a', 'null:b', 'pair:p/0', 'pair:p/1'], { frames: 2048 });
  const run = await engine.run([job(forward, 'null:a', ['pair:p/0']), job(forward, 'null:b', ['null:b'])]);
  await eventually('the ring is full', () => run.stats().jobs[0].frames.accepted === 1024n);
  await engine.close(port(engine, 'pair:p/0'));
  await eventually('the frames are back', () => run.stats().framesMissing === 0);
  const { ledger, ports } = await stopBalanced(run);
  expect(ports['pair:p/0'].tx).toMatchObject({ packets: 1024n, completed: 0n, stopped: 1024n });
  expect(ledger).toMatchObject({ inRings: 0, free: 2048 });
});

it('a run whose every job has lost its port ends', async () => {
  const engine = await engineWith(['null:a', 'null:b']);
  const run = await engine.run([job(forward, 'null:a', ['null:b'])]);
  await engine.close(port(engine, 'null:b'));
  const { ledger, jobs } = await run.done;
  expect(ledger.errors).toEqual([]);
  expect(jobs[0].state).toBe('detached');
});

it('a port that has gone can be opened again meanwhile: it is another, and not in the run', async () => {
  const engine = await engineWith(['null:a', 'pair:p/0', 'pair:p/1']);
  const run = await engine.run([job(forward, 'null:a', ['null:a']), job(consume, 'pair:p/1')]);
  const first = port(engine, 'pair:p/1');
  await engine.close(first);
  const again = await engine.open('pair:p/1');
  expect(again).not.toBe(first);
  expect([first.state, again.state]).toEqual(['closed', 'stopped']);
  await engine.close(again); // no job of the run is disturbed by that
  expect(states(run)).toEqual(['running', 'detached']);
  await goesOn(run, 0);
  await stopBalanced(run);
});

it('ports are opened and closed all the time while others forward', { timeout: 60_000 }, async () => {
  const engine = await engineWith(['null:a', 'null:b']);
  const run = await engine.run([job(forward, 'null:a', ['null:b'])]);
  const events = eventsOf(run);
  let before: (Belongings & { used: unknown }) | undefined;
  for (let i = 0; i < 50; i++) {
    const opened = await Promise.all(['pair:x/0', 'pair:x/1', 'loop:y', 'null:z'].map((name) => engine.open(name)));
    await Promise.all(opened.map((one) => engine.close(one)));
    if (i === 0) before = { ...belongings(), used: engine.arena.used };
  }
  await givenBack(before ?? belongings());
  expect(engine.arena.used).toEqual(before?.used);
  await goesOn(run, 0);
  expect(events).toEqual([]);
  await stopBalanced(run);
});

it.each(['hanging', 'throwing', 'exiting'])(
  'a port goes away whose application is %s; the rest goes on',
  async (name) => {
    const engine = await engineWith(['null:a', 'null:b', 'null:c', 'null:d'], { ...QUICK, restartMs: [1, 1] });
    const bad = fake('misbehave', name, { after: 20 });
    const run = await engine.run([job(bad, 'null:a', ['null:b']), job(forward, 'null:c', ['null:d'])]);
    await eventually('it fails', () => run.stats().jobs[0].failures > 0);
    for (const gone of ['null:a', 'null:b']) await engine.close(port(engine, gone));
    expect(states(run)[0]).toBe('detached');
    await goesOn(run, 1);
    const { failures } = run.stats().jobs[0];
    await goesOn(run, 1);
    expect(run.stats().jobs[0].failures).toBe(failures);
    await stopBalanced(run);
  },
);

it('a job of a worker that dies comes back without the one whose port has gone', async () => {
  const engine = await engineWith(['null:a', 'null:b', 'null:c', 'null:d'], QUICK);
  const exiting = fake('misbehave', 'exiting', { after: 5000 });
  const group = 'g';
  const run = await engine.run([
    job(forward, 'null:a', ['null:b'], { group }),
    job(exiting, 'null:c', ['null:d'], { group }),
  ]);
  await engine.close(port(engine, 'null:a'));
  await eventually('it dies twice', () => run.stats().jobs[1].failures >= 2);
  expect(states(run)[0]).toBe('detached');
  await eventually('all frames are back', () => run.stats().framesMissing === 0);
  await stopBalanced(run);
});

it('a port that goes away while a run starts takes the start back', async () => {
  const engine = await engineWith(['null:a', 'null:b']);
  const before = { ...belongings(), used: engine.arena.used };
  const starting = engine.run([job(forward, 'null:a', ['null:b'])]);
  const refused = refusal(starting).then((error) =>
    expect(error).toMatchObject({ name: 'PlanError', code: 'PORT_GONE' }),
  );
  await engine.close(port(engine, 'null:b'));
  await refused;
  expect(engine.activeRun).toBeUndefined();
  expect(port(engine, 'null:a').state).toBe('stopped');
  await givenBack(before);
  await engine.open('null:b');
  const run = await engine.run([job(forward, 'null:a', ['null:b'])]);
  await goesOn(run, 0);
  await stopBalanced(run);
});

it('a port that goes away while the run stops waits for that', async () => {
  const engine = await engineWith(['null:a', 'null:b']);
  const run = await engine.run([job(forward, 'null:a', ['null:b'])]);
  await goesOn(run, 0);
  const stopping = stopBalanced(run);
  await engine.close(port(engine, 'null:a'));
  await stopping;
});

it('a second port of the same name is refused while the first is open', async () => {
  const engine = await engineWith(['null:a']);
  await expect(engine.open('null:a')).rejects.toMatchObject({ code: 'PORT_TAKEN' });
  await engine.close(port(engine, 'null:a'));
  await expect(engine.open('null:a')).resolves.toMatchObject({ state: 'stopped' });
});

it('a port is closed once', async () => {
  const engine = await engineWith(['null:a']);
  const open = port(engine, 'null:a');
  await engine.close(open);
  await expect(engine.close(open)).rejects.toMatchObject({ code: 'NOT_OPEN' });
});
