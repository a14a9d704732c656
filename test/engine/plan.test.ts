import { describe, expect, it } from 'vitest';
import { type PlanCpus, type PlanPort, plan, ranges } from '../../lib/engine/plan.ts';
import type { JobSpec } from '../../lib/engine/types.ts';
import { PlanError } from '../../lib/errors.ts';

const app = { module: 'l2fwd' };
const port = (name: string, more: Partial<PlanPort> = {}): PlanPort => ({ name, rxQueues: 1, maxTxQueues: 8, ...more });
const PORTS = [port('a'), port('b'), port('c'), port('d')];
const job = (rx: string | undefined, tx: string[] = [], more: Partial<JobSpec> = {}): JobSpec => ({
  app,
  ...(rx === undefined ? {} : { rx: { port: rx } }),
  tx,
  ...more,
});

/** A machine with `count` cpus, all of them allowed. */
const machine = (count: number, more: Partial<PlanCpus> = {}): PlanCpus => {
  const all = Array.from({ length: count }, (_, i) => i);
  return { present: all, allowed: all, isolated: [], nodes: new Map(), ...more };
};
const cpusOf = (jobs: JobSpec[], cpus: PlanCpus, ports = PORTS) => plan(jobs, ports, cpus).workers.map((w) => w.cpu);
const jobsOf = (jobs: JobSpec[], cpus: PlanCpus, ports = PORTS) =>
  plan(jobs, ports, cpus).workers.map((w) => w.jobs.map((j) => j.job));

function refusal(jobs: JobSpec[], cpus: PlanCpus = machine(8), ports = PORTS): PlanError {
  try {
    plan(jobs, ports, cpus);
  } catch (error) {
    expect(error).toBeInstanceOf(PlanError);
    return error as PlanError;
  }
  throw new Error('the plan was accepted');
}

describe('jobs and queues', () => {
  it('gives each job a worker of its own', () => {
    expect(jobsOf([job('a'), job('b')], machine(4))).toEqual([[0], [1]]);
  });

  it('refuses a port of whose rx queues only some are received from: the others would lose packets unseen', () => {
    const ports = [port('a', { rxQueues: 3 }), port('b')];
    const error = refusal([job('a'), job('b', [], {}), { app, rx: { port: 'a', queue: 2 } }], machine(4), ports);
    expect(error).toMatchObject({ code: 'QUEUE_WITHOUT_JOB', detail: { port: 'a', queue: 1 } });
    expect(error.message).toBe(
      'rx queue 1 of port a: no job receives from it, so what arrives there would be lost; give it a job, or open the port with rxQueues: 2',
    );
  });

  it('lets a port be that is only sent to, however many queues it has', () => {
    const ports = [port('a', { rxQueues: 3 }), port('b')];
    expect(plan([job(undefined, ['a'])], ports, machine(2)).workers).toHaveLength(1);
  });

  it('takes queue 0 when the job names none', () => {
    expect(plan([job('a')], PORTS, machine(2)).workers[0].jobs[0].rx).toEqual({ port: 'a', queue: 0 });
  });

  it('refuses an empty list', () => {
    expect(refusal([]).code).toBe('NO_JOBS');
  });

  it('names a port that is not open, and those that are', () => {
    const error = refusal([job('a'), job('x')]);
    expect(error).toMatchObject({ code: 'NO_SUCH_PORT', detail: { port: 'x' } });
    expect(error.message).toBe('job 1: port x is not open; open it first; open are: a, b, c, d');
  });

  it('looks for the tx ports too', () => {
    expect(refusal([job('a', ['b', 'y'])])).toMatchObject({ code: 'NO_SUCH_PORT', detail: { port: 'y' } });
  });

  it('says that no port is open', () => {
    expect(refusal([job('a')], machine(2), []).message).toContain('open are: none');
  });

  it.each([1, -1, 0.5, Number.NaN])('refuses rx queue %s of a port that has one', (queue) => {
    const error = refusal([job('a', [], { rx: { port: 'a', queue } })]);
    expect(error).toMatchObject({ code: 'NO_SUCH_QUEUE', detail: { port: 'a', queue } });
    expect(error.message).toContain('use 0 to 0');
  });

  it('refuses two jobs on one rx queue, naming the first', () => {
    const error = refusal([job('b'), job('a'), job('a', [], { rx: { port: 'a', queue: 0 } })]);
    expect(error).toMatchObject({ code: 'QUEUE_TAKEN', detail: { port: 'a', queue: 0 } });
    expect(error.message).toContain('job 1 has it');
  });

  it('takes two jobs on two queues of one port', () => {
    const jobs = [0, 1].map((queue) => job('a', [], { rx: { port: 'a', queue } }));
    expect(jobsOf(jobs, machine(4), [port('a', { rxQueues: 2 })])).toEqual([[0], [1]]);
  });

  it('refuses a job with neither rx queue nor tx port', () => {
    expect(refusal([job('a'), job(undefined)])).toMatchObject({ code: 'IDLE_JOB' });
  });

  it('takes a job without an rx queue: it makes packets', () => {
    expect(plan([job(undefined, ['a'])], PORTS, machine(2)).workers[0].jobs[0].rx).toBeNull();
  });
});

describe('groups', () => {
  it('puts jobs of one group into one worker', () => {
    const jobs = [job('a', [], { group: 'x' }), job('b'), job('c', [], { group: 'x' })];
    expect(jobsOf(jobs, machine(8))).toEqual([[0, 2], [1]]);
  });

  it('puts jobs for one cpu into one worker, too', () => {
    expect(jobsOf([job('a', [], { cpu: 3 }), job('b', [], { cpu: 3 })], machine(8))).toEqual([[0, 1]]);
  });

  it('takes the cpu of a group from whichever of its jobs names it', () => {
    const named = job('a', [], { group: 'x', cpu: 5 });
    const plain = job('b', [], { group: 'x' });
    expect(cpusOf([named, plain], machine(8))).toEqual([5]);
    expect(cpusOf([plain, named], machine(8))).toEqual([5]);
  });

  it('refuses two cpus for one group', () => {
    const jobs = [job('a', [], { group: 'x', cpu: 1 }), job('b', [], { group: 'x', cpu: 2 })];
    expect(refusal(jobs)).toMatchObject({ code: 'CPU_CONFLICT', detail: { cpu: 2 } });
  });

  it('tells a group from the names that it uses itself', () => {
    const jobs = [
      job('a', [], { group: 'job 1' }),
      job('b'),
      job('c', [], { cpu: 4 }),
      job('d', [], { group: 'cpu 4' }),
    ];
    expect(jobsOf(jobs, machine(8))).toEqual([[0], [1], [2], [3]]);
  });

  it('deals jobs out again when there are more of them than cpus', () => {
    expect(jobsOf([job('a'), job('b'), job('c'), job('d')], machine(3))).toEqual([[0, 3], [1], [2]]);
  });

  it('keeps workers with a cpu of their own out of that', () => {
    const jobs = [job('a'), job('b', [], { cpu: 0 }), job('c')];
    const { workers } = plan(jobs, PORTS, machine(2));
    expect(workers.map((w) => [w.cpu, w.jobs.map((j) => j.job)])).toEqual([
      [0, [1]],
      [1, [0, 2]],
    ]);
  });

  it('counts only cpus that a fixed worker does not take', () => {
    // cpu 2 is not among the chosen ones: both of them are left for the others.
    const jobs = [job('a', [], { cpu: 2 }), job('b'), job('c')];
    expect(cpusOf(jobs, machine(4, { chosen: [0, 1] }))).toEqual([2, 0, 1]);
  });
});

describe('cpus', () => {
  it('leaves the first cpu to the main thread when there is one to spare', () => {
    expect(cpusOf([job('a'), job('b')], machine(4))).toEqual([1, 2]);
    expect(cpusOf([job('a')], machine(2))).toEqual([1]);
  });

  it('uses all of them when there is none to spare', () => {
    expect(cpusOf([job('a'), job('b')], machine(2))).toEqual([0, 1]);
    expect(cpusOf([job('a')], machine(1))).toEqual([0]);
  });

  it('takes isolated cpus first, and spares one that is not', () => {
    expect(cpusOf([job('a'), job('b'), job('c')], machine(4, { isolated: [2, 3] }))).toEqual([2, 3, 1]);
    expect(cpusOf([job('a')], machine(2, { isolated: [0] }))).toEqual([0]);
  });

  it('uses only cpus that the process may use', () => {
    expect(cpusOf([job('a'), job('b')], machine(8, { allowed: [4, 6, 7] }))).toEqual([6, 7]);
  });

  it("takes the user's choice in its order, with nothing spared", () => {
    expect(cpusOf([job('a'), job('b')], machine(8, { chosen: [5, 0, 3] }))).toEqual([5, 0]);
  });

  it('prefers the NUMA node of the port', () => {
    const nodes = new Map([0, 1, 2, 3].map((cpu) => [cpu, cpu < 2 ? 0 : 1]));
    const ports = [port('a', { node: 1 }), port('b', { node: 0 }), port('c')];
    expect(cpusOf([job('a'), job('b'), job('c')], machine(4, { nodes }), ports)).toEqual([2, 1, 3]);
    expect(cpusOf([job(undefined, ['a'])], machine(4, { nodes }), ports)).toEqual([2]);
  });

  it('goes to the other node when its own is full', () => {
    const nodes = new Map([
      [0, 0],
      [1, 1],
    ]);
    const ports = [port('a', { node: 0, rxQueues: 2 })];
    const jobs = [0, 1].map((queue) => job('a', [], { rx: { port: 'a', queue } }));
    expect(cpusOf(jobs, machine(2, { nodes }), ports)).toEqual([0, 1]);
  });

  it.each([9, -1, 1.5, Number.NaN])('refuses cpu %s, which does not exist', (cpu) => {
    expect(refusal([job('a', [], { cpu })])).toMatchObject({ code: 'NO_SUCH_CPU', detail: { cpu } });
    expect(refusal([job('a')], machine(8, { chosen: [cpu] })).message).toContain('this machine has 0-7');
  });

  it('refuses a cpu that the process may not use, in a job and in the choice', () => {
    const cpus = machine(4, { allowed: [0, 1] });
    expect(refusal([job('a', [], { cpu: 3 })], cpus)).toMatchObject({ code: 'CPU_NOT_ALLOWED', detail: { cpu: 3 } });
    expect(refusal([job('a')], { ...cpus, chosen: [2] })).toMatchObject({
      code: 'CPU_NOT_ALLOWED',
      detail: { cpu: 2 },
    });
  });

  it('refuses a cpu that is chosen twice, and an empty choice', () => {
    expect(refusal([job('a')], machine(4, { chosen: [1, 1] }))).toMatchObject({
      code: 'CPU_TAKEN',
      detail: { cpu: 1 },
    });
    expect(refusal([job('a')], machine(4, { chosen: [] })).code).toBe('NO_CPUS');
  });

  it('refuses two workers on one cpu', () => {
    const jobs = [job('a', [], { cpu: 1, group: 'x' }), job('b', [], { cpu: 1 })];
    expect(refusal(jobs)).toMatchObject({ code: 'CPU_TAKEN', detail: { cpu: 1 } });
  });

  it('says that fixed workers have left no cpu', () => {
    const error = refusal([job('a', [], { cpu: 0 }), job('b', [], { cpu: 1 }), job('c')], machine(2));
    expect(error.code).toBe('CPU_TAKEN');
    expect(error.message).toContain('all cpus (0-1) have a worker already');
  });
});

describe('tx queues', () => {
  it('gives each worker one of its own on each port that it sends to', () => {
    const { workers, txQueues } = plan([job('a', ['c', 'd']), job('b', ['c'])], PORTS, machine(4));
    expect(workers.map((w) => w.jobs[0].tx)).toEqual([
      [
        { port: 'c', queue: 0 },
        { port: 'd', queue: 0 },
      ],
      [{ port: 'c', queue: 1 }],
    ]);
    expect(txQueues).toEqual({ c: 2, d: 1 });
  });

  it('has jobs of one worker share it', () => {
    const jobs = [job('a', ['c'], { group: 'x' }), job('b', ['c', 'c'], { group: 'x' })];
    const { workers, txQueues } = plan(jobs, PORTS, machine(4));
    expect(workers[0].jobs.flatMap((j) => j.tx)).toEqual([0, 0, 0].map((queue) => ({ port: 'c', queue })));
    expect(txQueues).toEqual({ c: 1 });
  });

  it('refuses more workers than the port has tx queues', () => {
    const ports = [port('a'), port('b'), port('c', { maxTxQueues: 1 })];
    const error = refusal([job('a', ['c']), job('b', ['c'])], machine(4), ports);
    expect(error).toMatchObject({ code: 'TX_QUEUES', detail: { port: 'c' } });
    expect(error.message).toContain('2 workers send to it and it has at most 1');
  });

  it('is not confused by a port that is called like a property of every object', () => {
    const ports = [port('a'), port('constructor'), port('__proto__')];
    const { txQueues } = plan([job('a', ['constructor', '__proto__'])], ports, machine(2));
    expect(Object.entries(txQueues)).toEqual([
      ['constructor', 1],
      ['__proto__', 1],
    ]);
  });
});

it('writes numbers as people do', () => {
  expect(ranges([])).toBe('');
  expect(ranges([3])).toBe('3');
  expect(ranges([8, 1, 0, 2, 10, 11])).toBe('0-2,8,10-11');
});
