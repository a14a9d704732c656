import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it, onTestFinished } from 'vitest';
import { engineWith, eventsOf, eventually, fake, forward, job, QUICK, stopBalanced } from '../fakes/linecard.ts';

/** Runs a program that uses linecard; what it prints comes line by line. */
function program(text: string, ...args: string[]) {
  const child: ChildProcess = spawn(process.execPath, ['--input-type=module', '-e', text, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
  });
  onTestFinished(() => void child.kill('SIGKILL'));
  let out = '';
  let err = '';
  child.stdout?.on('data', (data) => {
    out += data;
  });
  child.stderr?.on('data', (data) => {
    err += data;
  });
  const closed = once(child, 'close');
  return {
    child,
    lines: () => out.split('\n').slice(0, -1),
    /** Resolves to the exit code and what was printed. */
    async end(ms = 20_000): Promise<[code: number | null, out: string, err: string]> {
      await Promise.race([closed, sleep(ms, undefined, { ref: false })]);
      return [child.exitCode, out, err];
    },
  };
}

const OPEN = `
  import { openEngine } from 'linecard';
  const engine = await openEngine({ frames: 1024 });
  for (const name of ['null:a', 'null:b', 'pair:p/0', 'pair:p/1']) await engine.open(name);
  const l2fwd = { app: { module: 'l2fwd' }, rx: { port: 'null:a' }, tx: ['null:b'] };
`;

describe('a process', () => {
  it.each([
    ['that closed its engine', `${OPEN} await engine.close();`],
    ['that closed its engine while a run went on', `${OPEN} await engine.run([l2fwd]); await engine.close();`],
    [
      'whose run has failed to start',
      `${OPEN} await engine.run([{ ...l2fwd, app: { module: 'l2fwd', export: 'x' } }]).catch(() => {}); await engine.close();`,
    ],
    ['whose run has stopped, engine open', `${OPEN} const run = await engine.run([l2fwd]); await run.stop();`],
    ['that only opened ports', OPEN],
    ['that only opened an engine', `import { openEngine } from 'linecard'; await openEngine();`],
  ])('%s ends by itself', async (_, text) => {
    expect(await program(`${text} console.log('done');`).end()).toEqual([0, 'done\n', '']);
  });

  it('goes on as long as its run does, and ends with it', async () => {
    const text = `${OPEN}
      const gen = { app: { module: 'gen', options: { rate: 1000, count: 1500 } }, tx: ['pair:p/0'] };
      const run = await engine.run([gen, { app: { module: 'sink' }, rx: { port: 'pair:p/1' } }]);
      run.on('end', ({ jobs, ledger }) => console.log(jobs[1].counters.ok, ledger.balanced));`;
    expect(await program(text).end()).toEqual([0, '1500n true\n', '']);
  });

  it.each(['process.exit(5)', "setImmediate(() => { throw new Error('main') })"])(
    'ends at once when its main thread does: %s',
    async (how) => {
      const { end } = program(`${OPEN} await engine.run([l2fwd]); setTimeout(() => { ${how} }, 100);`);
      const [code] = await end();
      expect(code).toBe(how.includes('exit') ? 5 : 1);
    },
  );

  it('that is stopped for seconds and goes on has no hung worker', { timeout: 30_000 }, async () => {
    const text = `
      import { openEngine } from 'linecard';
      const engine = await openEngine({ frames: 1024, stallMs: 500 });
      for (const name of ['null:a', 'null:b', 'pair:p/0']) await engine.open(name);
      const run = await engine.run([
        { app: { module: 'l2fwd' }, rx: { port: 'null:a' }, tx: ['null:b'] },
        { app: { module: 'sink' }, rx: { port: 'pair:p/0' } },
      ]);
      run.on('worker-failed', (worker, error) => console.log(error.code));
      process.on('SIGUSR2', async () => {
        const then = run.stats().jobs[0].frames.accepted;
        setTimeout(async () => {
          console.log('goes on', run.stats().jobs[0].frames.accepted > then);
          console.log('balanced', (await run.stop()).ledger.balanced);
        }, 1500);
      });
      console.log('runs'); // last: from now on we send it signals`;
    const { child, lines, end } = program(text);
    await eventually('it runs', () => lines().includes('runs'));
    child.kill('SIGSTOP');
    await sleep(3000);
    child.kill('SIGCONT');
    child.kill('SIGUSR2');
    expect(await end()).toEqual([0, 'runs\ngoes on true\nbalanced true\n', '']);
  });
});

describe('a main thread that does something else for seconds', () => {
  const block = (ms: number) => Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);

  it('finds its workers at work', async () => {
    const engine = await engineWith(['null:a', 'null:b', 'pair:p/0'], QUICK);
    const run = await engine.run([job(forward, 'null:a', ['null:b']), job({ module: 'sink' }, 'pair:p/0')]);
    const events = eventsOf(run);
    const then = run.stats().jobs[0].frames.accepted;
    block(2000);
    expect(run.stats().jobs[0].frames.accepted).toBeGreaterThan(then + 10_000n);
    await sleep(1200);
    expect(events).toEqual([]);
    await stopBalanced(run);
  });

  it('finds those that failed meanwhile, and starts them again', async () => {
    const engine = await engineWith(['null:a', 'null:b', 'null:c', 'null:d'], QUICK);
    const bad = (name: string) => fake('misbehave', name, { after: 100 });
    const run = await engine.run([
      job(bad('exiting'), 'null:a', ['null:b']),
      job(bad('throwing'), 'null:c', ['null:d']),
    ]);
    const events = eventsOf(run);
    block(1500);
    await eventually(
      'both are up again',
      () => events.includes('worker-restarted 0') && events.includes('job-restarted 1'),
    );
    await stopBalanced(run);
  });
});
