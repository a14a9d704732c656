import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeEach, describe, expect, it } from 'vitest';
import { makeCounters, readCounters } from '../../lib/arena/counters.ts';
import type { RxQueue, TxQueue } from '../../lib/queue.ts';
import { callFactory } from '../../workers/apps.ts';
import type { Attached } from '../../workers/attach.ts';
import { APP_COUNTERS, JOB, JOB_BYTES, JOB_COUNTERS, LEDGER } from '../../workers/control.ts';
import { Jobs } from '../../workers/jobs.ts';
import type { AppName, JobPlan, WorkerPlan } from '../../workers/plan.ts';

const folder = mkdtempSync(join(tmpdir(), 'linecard-jobs-'));
afterAll(() => rmSync(folder, { recursive: true }));
let files = 0;

/** An application as a user would write it: a module in a file. */
function appOf(text: string, name = 'default'): AppName {
  const file = join(folder, `app${files++}.mjs`);
  writeFileSync(file, text);
  return { module: pathToFileURL(file).href, export: name, options: {} };
}
const counting = (...names: string[]) =>
  appOf(`export default ({ counter }) => { ${names.map((n) => `counter('${n}');`).join('')} return () => 7; }`);

/** Two jobs with a block each: job 0 receives, job 1 makes packets; they share tx queue `t`. */
function makeWorld() {
  const memory = new SharedArrayBuffer(2 * 1024);
  const queue = (name: string) => ({ name }) as unknown as RxQueue & TxQueue;
  const queues = { r: queue('r'), t: queue('t'), u: queue('u') };
  const plan = (id: number, rx: boolean): JobPlan =>
    ({
      ...{ id, block: id * 1024, counterNames: [], app: {}, version: 0 },
      rx: rx ? { port: 'r' } : null,
      tx: id === 10 ? [{ port: 't' }, { port: 'u' }] : [{ port: 't' }],
    }) as unknown as JobPlan;
  const plans = [plan(10, true), plan(1, false)];
  plans[0] = { ...plans[0], block: 0 };
  const count = (job: number) =>
    makeCounters(memory, plans[job].block + JOB.counters * 4, JOB_COUNTERS.length + APP_COUNTERS);
  const renewed: string[] = [];
  const attached: Attached = {
    memory,
    clock: {} as Attached['clock'],
    rxOf: ({ rx }) => (rx === null ? undefined : queues.r),
    txOf: ({ id }) => (id === 10 ? [queues.t, queues.u] : [queues.t]),
    renew: async (port, jobs) => void renewed.push(`${port}: ${jobs.map(({ version }) => version)}`),
    makeJob(job, factory, app) {
      const counterNames: string[] = [];
      const index = plans.findIndex((p) => p.block === job.block);
      const poll = callFactory(factory, app, {
        counter: (name: string) => void counterNames.push(name),
        frames: { allocate: (n: number) => count(index)(LEDGER.allocated, n) },
        finish: () => Atomics.store(new Int32Array(memory, job.block, 1), JOB.finished, 1),
      } as never);
      return { counterNames, poll };
    },
  };
  const jobs = new Jobs({ jobs: plans } as unknown as WorkerPlan, attached);
  const ledger = (job: number) =>
    Object.fromEntries(
      Object.entries(readCounters(memory, plans[job].block + JOB.counters * 4, JOB_COUNTERS)).filter(([, n]) => n > 0n),
    );
  const own = new Int32Array(memory, (JOB.counters + JOB_COUNTERS.length * 2) * 4, 4);
  const finished = () => new Int32Array(memory, 0, 1)[JOB.finished] === 1;
  return { jobs, count, ledger, own, finished, queues, plans, renewed };
}

let world: ReturnType<typeof makeWorld>;
beforeEach(() => {
  world = makeWorld();
  expect(JOB_BYTES).toBeLessThanOrEqual(1024);
});

describe('placing an application', () => {
  it('has the loop call it, and tells its counters', async () => {
    const { jobs } = world;
    expect(jobs.counterNames).toEqual([null, null]);
    await jobs.place(0, counting('a', 'b'), 0);
    expect(jobs.counterNames).toEqual([['a', 'b'], null]);
    expect(jobs.work(false).polls.map((poll) => poll())).toEqual([7, 0]);
  });

  it('imports each version anew, and each only once', async () => {
    const { jobs } = world;
    const app = appOf('globalThis.loads = (globalThis.loads ?? 0) + 1; export default () => () => globalThis.loads;');
    const loads = () => jobs.work(false).polls[0]();
    await jobs.place(0, app, 0);
    expect(loads()).toBe(1);
    await jobs.place(0, app, 0);
    expect(loads()).toBe(1);
    await jobs.place(0, app, 1);
    expect(loads()).toBe(2);
    await jobs.place(1, app, 1); // another job has an instance of its own (ADR 7)
    expect(loads()).toBe(3);
  });

  it('takes a module from a data: URL as it is', async () => {
    const app = { module: 'data:text/javascript,export default () => () => 3', export: 'default', options: {} };
    await world.jobs.place(0, app, 2);
    expect(world.jobs.work(false).polls[0]()).toBe(3);
  });

  it.each([
    ['export const other = 1;', 'APP_EXPORT_MISSING', /exports other, no function "default"/],
    ['', 'APP_EXPORT_MISSING', /exports nothing/],
    ['export default 5;', 'APP_EXPORT_MISSING', /no function "default"/],
    ['this is not JavaScript', 'APP_MODULE_MISSING', /cannot be loaded/],
    ['throw "text";', 'APP_MODULE_MISSING', /cannot be loaded \(text\)/],
    ['export default () => { throw new Error("no"); };', 'APP_THREW', /its factory threw \(no\)/],
    ['export default () => { throw "text"; };', 'APP_THREW', /its factory threw \(text\)/],
    ['export default () => 1;', 'APP_NOT_A_FACTORY', /it returned number/],
    ['export default async () => () => 1;', 'APP_NOT_A_FACTORY', /it returned a promise/],
  ])('fails with %j, and leaves what was there', async (text, code, message) => {
    const { jobs } = world;
    await jobs.place(0, counting('a'), 0);
    await expect(jobs.place(0, appOf(text), 1)).rejects.toMatchObject({
      code,
      message: expect.stringMatching(message),
    });
    expect(jobs.counterNames[0]).toEqual(['a']);
    expect(jobs.work(false).polls[0]()).toBe(7);
  });
});

describe('frames', () => {
  it('of the application before are counted as stopped, those of the new one are its own', async () => {
    const { jobs, count, ledger } = world;
    await jobs.place(0, counting('a'), 0);
    count(0)(LEDGER.delivered, 10);
    count(0)(LEDGER.accepted, 4);
    await jobs.place(0, appOf('export default ({ frames }) => { frames.allocate(5); return () => 1; }'), 1);
    expect(ledger(0)).toEqual({ delivered: 10n, allocated: 5n, accepted: 4n, dropped_stopped: 6n });
  });

  it('that a failing factory took are counted as died, those of the one before stay its own', async () => {
    const { jobs, count, ledger } = world;
    await jobs.place(0, counting('a'), 0);
    count(0)(LEDGER.delivered, 10);
    const failing = appOf('export default ({ frames }) => { frames.allocate(5); throw new Error("no"); }');
    await expect(jobs.place(0, failing, 1)).rejects.toMatchObject({ code: 'APP_THREW' });
    expect(ledger(0)).toEqual({ delivered: 10n, allocated: 5n, dropped_app_died: 5n });
  });

  it('of one that threw are counted as died, of one that is taken out as stopped', async () => {
    const { jobs, count, ledger } = world;
    await jobs.place(0, counting(), 0);
    await jobs.place(1, counting(), 0);
    count(0)(LEDGER.delivered, 3);
    count(1)(LEDGER.allocated, 2);
    jobs.setAside(0);
    jobs.detach(1);
    jobs.detach(1);
    expect([ledger(0), ledger(1)]).toEqual([
      { delivered: 3n, dropped_app_died: 3n },
      { allocated: 2n, dropped_stopped: 2n },
    ]);
  });
});

describe('counters of its own', () => {
  it('go on when the application is the same, and start anew when it is not', async () => {
    const { jobs, count, own } = world;
    const same = counting('a', 'b');
    await jobs.place(0, same, 0);
    count(0)(JOB_COUNTERS.length, 5);
    await jobs.place(0, same, 1);
    expect(own[0]).toBe(5);
    jobs.setAside(0);
    await jobs.place(0, same, 1);
    expect(own[0]).toBe(5);
    await jobs.place(0, counting('b'), 2);
    expect(own[0]).toBe(0);
  });
});

describe('being finished', () => {
  const finishing = () => appOf('export default ({ finish }) => { finish(); return () => 0; }');

  it('ends when another application takes over', async () => {
    const { jobs, finished } = world;
    await jobs.place(0, finishing(), 0);
    expect(finished()).toBe(true);
    await jobs.place(0, counting(), 1);
    expect(finished()).toBe(false);
    await jobs.place(0, finishing(), 2);
    expect(finished()).toBe(true);
  });

  it('stays when the other cannot be made', async () => {
    const { jobs, finished } = world;
    await jobs.place(0, finishing(), 0);
    await expect(jobs.place(0, appOf('export default () => 1'), 1)).rejects.toThrow();
    expect(finished()).toBe(true);
  });
});

describe('the work', () => {
  it('has the queues of all jobs, a shared one once', async () => {
    const { jobs, queues } = world;
    const { rx, tx, polls } = jobs.work(false);
    expect([rx, tx, polls.length]).toEqual([[queues.r], [queues.t, queues.u], 2]);
  });

  it('keeps the queues of a job that threw: what is in them must be kicked and reclaimed', async () => {
    const { jobs, queues } = world;
    await jobs.place(0, counting(), 0);
    jobs.setAside(0);
    const { rx, tx, polls } = jobs.work(false);
    expect([rx, tx, polls[0]()]).toEqual([[queues.r], [queues.t, queues.u], 0]);
  });

  it('leaves the queues of a job that is taken out, except those that another uses too', async () => {
    const { jobs, queues } = world;
    await jobs.place(1, counting(), 0);
    jobs.detach(0);
    const { rx, tx, polls } = jobs.work(false);
    expect([rx, tx, polls.map((poll) => poll())]).toEqual([[], [queues.t], [0, 7]]);
    await expect(jobs.place(0, counting(), 1)).rejects.toMatchObject({ code: 'NO_SUCH_JOB' });
  });

  it('calls those that make packets no more when all is to come to rest', async () => {
    const { jobs } = world;
    await jobs.place(0, counting(), 0);
    await jobs.place(1, counting(), 0);
    expect(jobs.work(true).polls.map((poll) => poll())).toEqual([7, 0]);
  });
});

describe('while the driver of a port is exchanged', () => {
  it('its jobs are not called, their frames are counted as stopped, and only the queues of other ports are kicked', async () => {
    const { jobs, count, ledger, queues } = world;
    const app = counting('a');
    await jobs.place(0, app, 0);
    await jobs.place(1, app, 0);
    count(0)(LEDGER.delivered, 3);
    jobs.park('t', [0, 1]);
    const { polls, rx, tx } = jobs.work(false);
    expect(polls.map((poll) => poll())).toEqual([0, 0]);
    expect([rx, tx]).toEqual([[queues.r], [queues.u]]);
    expect(ledger(0)).toEqual({ delivered: 3n, dropped_stopped: 3n });
  });

  it('they come back to queues made anew, as they are planned then', async () => {
    const { jobs, plans, renewed, queues } = world;
    const app = counting('a');
    await jobs.place(0, app, 0);
    jobs.park('r', [0]);
    expect(jobs.work(false).rx).toEqual([]);
    await jobs.attach('r', [{ job: 0, plan: { ...plans[0], version: 7 } as JobPlan, place: true }]);
    expect(renewed).toEqual(['r: 7']);
    expect(jobs.work(false).polls[0]()).toBe(0); // until its application has been placed
    await jobs.place(0, app, 7);
    const { polls, rx, tx } = jobs.work(false);
    expect([polls[0](), rx, tx]).toEqual([7, [queues.r], [queues.t, queues.u]]);
  });

  it('one that is taken out meanwhile stays out', async () => {
    const { jobs, plans } = world;
    jobs.park('r', [0]);
    jobs.detach(0);
    await jobs.attach('r', [{ job: 0, plan: plans[0], place: false }]);
    expect(jobs.work(false).rx).toEqual([]);
  });
});
