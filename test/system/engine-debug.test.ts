import { spawnSync } from 'node:child_process';
import { describe, expect, it } from 'vitest';
import { engineWith, eventually, fake, job, QUICK, stopBalanced } from '../fakes/linecard.ts';

const bad = (name: string, options: Record<string, unknown> = {}) => fake('misbehave', name, options);
const DEBUG = { ...QUICK, debugFrames: true };

describe('tracked frames: the call that is wrong throws', () => {
  it.each<[string, RegExp]>([
    ['freesTwice', /free offset \d+ in worker 0: the frame is free; free or transmit each frame once/],
    ['sendsTwice', /transmit offset \d+ in worker 0: the frame is (free|in a ring)/],
    ['freesSent', /free offset \d+ in worker 0: the frame is (free|in a ring)/],
    ['dropsFreed', /free offset \d+ in worker 0: the frame is free/],
    ['freesNonsense', /free offset 12 in worker 0: there is no such frame/],
  ])('%s', async (name, message) => {
    for (const ports of [
      ['null:a', 'null:b'],
      ['null:a', 'pair:p/0'],
    ]) {
      const engine = await engineWith(ports, DEBUG);
      const run = await engine.run([job(bad(name, { after: 3 }), ports[0], [ports[1]])]);
      const errors: Error[] = [];
      run.on('job-failed', (_, error) => errors.push(error));
      await eventually('it is caught three times', () => errors.length >= 3);
      await eventually('all frames are back', () => run.stats().framesMissing === 0);
      await stopBalanced(run); // what was freed or sent wrongly has not been counted twice
      expect(errors[0]).toMatchObject({ name: 'WorkerError', code: 'FRAME_NOT_OWNED', detail: { worker: 0 } });
      expect(errors[0].message).toMatch(message);
      expect(errors[0].stack).toContain('misbehave.mjs');
    }
  });
});

describe('tracked frames: applications that are right', () => {
  it('run with it: null, loop, pair, lengths that are refused, across workers', async () => {
    const engine = await engineWith(['null:a', 'null:b', 'pair:p/0', 'pair:p/1', 'loop:x'], { debugFrames: true });
    const run = await engine.run([
      job({ module: 'gen', options: { count: 20_000 } }, undefined, ['pair:p/0'], { group: 'g' }),
      job({ module: 'sink' }, 'pair:p/1'),
      job(fake('forward', 'lengths', { lengths: [13, 60, 5000, 0, 1518] }), undefined, ['loop:x'], { group: 'g' }),
      job(fake('forward', 'consume'), 'loop:x', [], { group: 'g' }),
    ]);
    const { jobs, ledger } = await run.done;
    expect(ledger).toMatchObject({ errors: [], missing: 0 });
    expect(jobs.map((j) => j.failures)).toEqual([0, 0, 0, 0]);
    expect(jobs[1].counters.ok).toBe(20_000n);
  });

  it('and after others have died: what they held is free again', async () => {
    const engine = await engineWith(['null:a', 'null:b', 'null:c', 'null:d'], {
      ...DEBUG,
      frames: 512,
      restartMs: [1, 1],
    });
    const run = await engine.run([
      job(bad('throwing', { after: 5 }), 'null:a', ['null:b']),
      job({ module: 'l2fwd' }, 'null:c', ['null:d']),
    ]);
    await eventually('it dies fifty times', () => run.stats().jobs[0].failures >= 50);
    await eventually('all frames are back', () => run.stats().framesMissing === 0);
    const { jobs } = await stopBalanced(run);
    expect(Number(jobs[0].frames.dropped_app_died)).toBeGreaterThan(512);
    expect(jobs[1].failures).toBe(0);
  });
});

it('without it, nothing is tracked: nobody pays for it', async () => {
  const engine = await engineWith(['null:a', 'null:b']);
  const { frames } = (engine as unknown as { means: { frames: { plan: { owners: number } } } }).means;
  expect(frames.plan.owners).toBe(0);
});

it('LINECARD_DEBUG=frames tracks frames in any program', () => {
  const program = `
    import { openEngine } from 'linecard';
    const engine = await openEngine({ frames: 512 });
    for (const name of ['null:a', 'null:b']) await engine.open(name);
    const app = { module: process.argv[1], export: 'freesTwice' };
    const run = await engine.run([{ app, rx: { port: 'null:a' }, tx: ['null:b'] }]);
    const [, error] = await new Promise((resolve) => run.once('job-failed', (...args) => resolve(args)));
    console.log(error.code);
    await engine.close();`;
  const { href } = bad('freesTwice').module;
  const { stdout, stderr, status } = spawnSync(process.execPath, ['--input-type=module', '-e', program, href], {
    encoding: 'utf8',
    timeout: 20_000,
    env: { ...process.env, LINECARD_DEBUG: 'frames' },
  });
  expect([stdout, stderr, status]).toEqual(['FRAME_NOT_OWNED\n', '', 0]);
});
