import { fc, test } from '@fast-check/vitest';
import { expect } from 'vitest';
import { type PlanCpus, type PlanPort, plan } from '../../lib/engine/plan.ts';
import type { JobSpec } from '../../lib/engine/types.ts';
import { PlanError } from '../../lib/errors.ts';

const MAX_TX = 4;

interface Problem {
  readonly jobs: JobSpec[];
  readonly ports: PlanPort[];
  readonly cpus: PlanCpus;
}

const cpus = fc.integer({ min: 1, max: 6 }).chain((count) => {
  const present = Array.from({ length: count }, (_, i) => i);
  const some = fc.subarray(present, { minLength: 1 });
  return some.chain((allowed) =>
    fc.record({
      present: fc.constant(present),
      allowed: fc.constant(allowed),
      isolated: fc.subarray(present),
      nodes: fc
        .array(fc.integer({ min: 0, max: 1 }), { minLength: count, maxLength: count })
        .map((n) => new Map(n.entries())),
      chosen: fc.option(fc.shuffledSubarray(allowed, { minLength: 1 }), { nil: undefined }),
    }),
  );
});

const ports = fc
  .array(
    fc.record({
      rxQueues: fc.integer({ min: 1, max: 4 }),
      node: fc.option(fc.integer({ min: 0, max: 1 }), { nil: undefined }),
    }),
    {
      minLength: 1,
      maxLength: 4,
    },
  )
  .map((list) => list.map((port, i): PlanPort => ({ name: `port ${i}`, maxTxQueues: MAX_TX, ...port })));

const queuesOf = ({ name, rxQueues }: PlanPort) =>
  Array.from({ length: rxQueues }, (_, queue) => ({ port: name, queue }));

/** Each port is received from on all of its queues, or on none. */
const covered = ({ jobs, ports: list }: Problem): boolean =>
  list.every(({ name, rxQueues }) => [0, rxQueues].includes(jobs.filter(({ rx }) => rx?.port === name).length));

const problem: fc.Arbitrary<Problem> = fc.record({ ports, cpus }).chain(({ ports: list, cpus: machine }) => {
  const queues = list.flatMap(queuesOf);
  // Mostly whole ports: to receive from only some of a port's queues is refused.
  const whole = fc.subarray(list, { minLength: 1 }).map((some) => some.flatMap(queuesOf));
  const received = fc.oneof({ weight: 5, arbitrary: whole }, fc.subarray(queues, { minLength: 1 }));
  const rest = fc.record({
    tx: fc.subarray(list.map(({ name }) => name)),
    group: fc.option(fc.constantFrom('x', 'y'), { nil: undefined }),
    cpu: fc.option(fc.constantFrom(...machine.allowed), { nil: undefined, freq: 8 }),
  });
  const jobs = received.chain((rx) =>
    fc.array(rest, { minLength: rx.length, maxLength: rx.length }).map((more) =>
      more.map(
        ({ tx, group, cpu }, i): JobSpec => ({
          app: { module: 'l2fwd' },
          rx: rx[i],
          tx,
          ...(group === undefined ? {} : { group }),
          ...(cpu === undefined ? {} : { cpu }),
        }),
      ),
    ),
  );
  return jobs.map((made) => ({ jobs: made, ports: list, cpus: machine }));
});

test.prop([problem], { numRuns: 1000 })(
  'a plan keeps every rule, or is refused with a code',
  ({ jobs, ports: list, cpus: machine }) => {
    let made: ReturnType<typeof plan>;
    try {
      made = plan(jobs, list, machine);
    } catch (error) {
      expect(error).toBeInstanceOf(PlanError);
      const { code } = error as PlanError;
      if (covered({ jobs, ports: list, cpus: machine }))
        expect(['CPU_CONFLICT', 'CPU_TAKEN', 'TX_QUEUES']).toContain(code);
      else expect(code).toBe('QUEUE_WITHOUT_JOB');
      return;
    }
    expect(covered({ jobs, ports: list, cpus: machine })).toBe(true);
    const { workers, txQueues } = made;
    const placed = workers.flatMap((worker) => worker.jobs);

    // Each job, and with it each rx queue, is in exactly one worker.
    expect(placed.map((j) => j.job).sort((a, b) => a - b)).toEqual(jobs.map((_, i) => i));
    for (const { job, rx } of placed) expect(rx).toEqual(jobs[job].rx);
    const received = placed.map(({ rx }) => `${rx?.port} ${rx?.queue}`);
    expect(new Set(received).size).toBe(received.length);

    // No worker is empty, and no cpu has two; each is one that the process may use.
    expect(workers.every((worker) => worker.jobs.length > 0)).toBe(true);
    const used = workers.map((worker) => worker.cpu);
    expect(new Set(used).size).toBe(used.length);
    for (const cpu of used) expect(machine.allowed).toContain(cpu);

    // Jobs of a group are together, and where they asked to be.
    const cpuOf = (job: number) => workers.find((worker) => worker.jobs.some((j) => j.job === job))?.cpu;
    for (const [i, { group, cpu }] of jobs.entries()) {
      if (cpu !== undefined) expect(cpuOf(i)).toBe(cpu);
      for (const [k, other] of jobs.entries())
        if (group !== undefined && other.group === group) expect(cpuOf(k)).toBe(cpuOf(i));
    }

    // A tx queue has one worker, a worker one tx queue of a port, and they are numbered from 0.
    for (const { name } of list) {
      const owners = workers.map(
        (worker) => new Set(worker.jobs.flatMap((j) => j.tx.filter((t) => t.port === name).map((t) => t.queue))),
      );
      for (const queues of owners) expect(queues.size).toBeLessThanOrEqual(1);
      const numbers = owners.flatMap((queues) => [...queues]).sort((a, b) => a - b);
      expect(numbers).toEqual(Array.from({ length: txQueues[name] ?? 0 }, (_, i) => i));
      expect(numbers.length).toBeLessThanOrEqual(MAX_TX);
    }
    for (const { job, tx } of placed) expect(tx.map((t) => t.port)).toEqual(jobs[job].tx);
  },
);

test.prop([problem])('the same problem has the same plan', ({ jobs, ports: list, cpus: machine }) => {
  const attempt = () => {
    try {
      return plan(jobs, list, machine);
    } catch (error) {
      return (error as PlanError).message;
    }
  };
  expect(attempt()).toEqual(attempt());
});

test.prop([problem], { numRuns: 500 })(
  'without wishes, jobs never fail for want of a cpu',
  ({ jobs, ports: list, cpus: machine }) => {
    fc.pre(covered({ jobs, ports: list, cpus: machine }));
    const free = jobs.map(({ app, rx, tx }): JobSpec => ({ app, ...(rx === undefined ? {} : { rx }), tx: tx ?? [] }));
    const { chosen, allowed } = machine;
    const { workers } = plan(
      free,
      list.map((port) => ({ ...port, maxTxQueues: 8 })),
      machine,
    );
    expect(workers.length).toBe(Math.min(free.length, (chosen ?? allowed).length));
  },
);
