import { describe, expect, test } from 'vitest';
import { demoJobs, endsIn } from '../../lib/cli/commands/demo.ts';
import { jobsOf } from '../../lib/cli/commands/l2fwd.ts';
import { planJson, planLines } from '../../lib/cli/commands/plan.ts';
import { engineOptions, paceOf, portWishes } from '../../lib/cli/options.ts';
import { plan } from '../../lib/engine/plan.ts';

describe('options for the engine', () => {
  test('what was not given is not there: the engine has its own defaults', () => {
    expect(engineOptions({})).toEqual({});
    expect(engineOptions({ burst: 64, cpus: [0, 2], mode: 'busy' })).toEqual({ burst: 64, cpus: [0, 2], mode: 'busy' });
  });

  test.each([
    [1500, undefined],
    [1774, undefined],
    [1775, 4096],
    [9000, 16_384],
    [65_000, 65_536],
    [70_000, undefined],
  ])('an MTU of %d makes frames of %s bytes', (mtu, frameSize) => {
    expect(engineOptions({ mtu }).frameSize).toBe(frameSize);
  });

  test('a frame size that was chosen stays, if it holds the MTU', () => {
    expect(engineOptions({ mtu: 1500, frameSize: 8192 }).frameSize).toBe(8192);
    expect(() => engineOptions({ mtu: 9000, frameSize: 2048 })).toThrow(/9000 bytes takes 9274/);
  });
});

test('options for ports are settings under the names that ports have for them', () => {
  expect(portWishes(['a', 'b'], { q: 2, P: true, mtu: 9000, rxd: 256, txd: 512 })).toEqual(
    ['a', 'b'].map((name) => ({
      name,
      settings: { rxQueues: 2, promiscuous: true, mtu: 9000, rxRing: 256, txRing: 512 },
    })),
  );
  expect(portWishes(['a'], {})).toEqual([{ name: 'a', settings: {} }]);
});

test('a second between looks, no end and no JSON, unless asked for', () => {
  expect(paceOf({})).toEqual({ period: 1, time: 0, json: false });
  expect(paceOf({ T: 0, time: 2.5, json: true })).toEqual({ period: 0, time: 2.5, json: true });
});

describe('the jobs of l2fwd', () => {
  test('are one per rx queue, each with the neighbour to send to', () => {
    expect(jobsOf(['a', 'b'], { q: 2 }).map(({ rx, tx }) => [rx?.port, rx?.queue, tx])).toEqual([
      ['a', 0, ['b']],
      ['a', 1, ['b']],
      ['b', 0, ['a']],
      ['b', 1, ['a']],
    ]);
  });

  test('follow --portmap and --no-mac-updating', () => {
    const [first] = jobsOf(['a', 'b', 'c', 'd'], { portmap: '(0,3),(1,2)', macUpdating: false });
    expect(first).toEqual({
      app: { module: 'l2fwd', options: { macUpdating: false } },
      rx: { port: 'a', queue: 0 },
      tx: ['d'],
    });
  });

  test('run another application with its own options', () => {
    const [job] = jobsOf(['a'], {
      app: { module: './fw.js', export: 'fw' },
      appOptions: { deny: 1 },
      macUpdating: true,
    });
    expect(job.app).toEqual({ module: './fw.js', export: 'fw', options: { deny: 1 } });
    expect(jobsOf(['a'], { app: { module: './fw.js' } })[0].app.options).toEqual({});
  });

  test('leave the addresses to l2fwd, which sees the ports, unless something was said', () => {
    expect(jobsOf(['a'], {})[0].app.options).toEqual({});
    expect(jobsOf(['a'], { macUpdating: true })[0].app.options).toEqual({ macUpdating: true });
  });
});

describe('the demo', () => {
  const groups = (cpus: number) => demoJobs(cpus, {}, endsIn('/run')).map(({ group }) => group);

  test.each([1, 2])('with %d cpus has forwarding apart from traffic', (cpus) => {
    expect(groups(cpus)).toEqual(['forward', 'forward', 'traffic', 'traffic', 'traffic']);
  });

  test('with more cpus has more workers, and leaves one for the main thread', () => {
    expect(new Set(groups(4)).size).toBe(3);
    expect(new Set(groups(5)).size).toBe(4);
    expect(new Set(groups(64)).size).toBe(4);
  });

  test('hands the generator only what was given', () => {
    const gen = (traffic: Parameters<typeof demoJobs>[1]) =>
      demoJobs(2, traffic, endsIn('/run')).find(({ app }) => app.module === 'gen')?.app.options;
    expect(gen({ size: undefined })).toEqual({});
    expect(gen({ size: 128, rate: 5 })).toEqual({ size: 128, rate: 5 });
  });
});

describe('the plan', () => {
  const jobs = jobsOf(['a', 'b'], { q: 1 });
  const ports = ['a', 'b'].map((name) => ({ name, rxQueues: 1, maxTxQueues: 8 }));
  const cpus = { present: [0, 1, 2], allowed: [0, 1, 2], isolated: [], nodes: new Map() };
  const assignment = plan(jobs, ports, cpus);

  test('is a line per rx queue: worker, cpu, from, what, to', () => {
    expect(planLines(jobs, assignment)).toEqual([
      'Worker  Cpu  Receives from  Runs   Sends to',
      '     0    1  a queue 0      l2fwd  b queue 0',
      '     1    2  b queue 0      l2fwd  a queue 0',
      '',
      'Tx queues: b 1, a 1',
    ]);
  });

  test('as JSON has the same', () => {
    expect(JSON.parse(planJson(jobs, assignment))).toEqual({
      workers: [
        {
          worker: 0,
          cpu: 1,
          jobs: [{ job: 0, app: 'l2fwd', rx: { port: 'a', queue: 0 }, tx: [{ port: 'b', queue: 0 }] }],
        },
        {
          worker: 1,
          cpu: 2,
          jobs: [{ job: 1, app: 'l2fwd', rx: { port: 'b', queue: 0 }, tx: [{ port: 'a', queue: 0 }] }],
        },
      ],
      txQueues: { b: 1, a: 1 },
      notes: [],
    });
  });
});
