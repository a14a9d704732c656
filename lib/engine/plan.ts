/** The plan: which worker, on which cpu, runs which queues. Pure. */
import { PlanError } from '../errors.ts';
import type { Assignment, JobSpec, PlannedJob } from './types.ts';

/** A port, as far as planning goes. */
export interface PlanPort {
  readonly name: string;
  readonly rxQueues: number;
  readonly maxTxQueues: number;
  /** NUMA node, or undefined when it has none. */
  readonly node?: number | undefined;
}

/** The machine, as far as planning goes. */
export interface PlanCpus {
  /** Cpus that exist. */
  readonly present: readonly number[];
  /** Cpus that the process may use. */
  readonly allowed: readonly number[];
  /** Cpus that the kernel leaves alone (isolcpus). */
  readonly isolated: readonly number[];
  /** NUMA node of each cpu. */
  readonly nodes: ReadonlyMap<number, number>;
  /** The user's choice, in order. */
  readonly chosen?: readonly number[] | undefined;
}

interface Group {
  readonly jobs: number[];
  readonly cpu: number | undefined;
}

function fail(code: string, what: string, why: string, fix: string, detail = {}): never {
  throw new PlanError(code, { what, why, fix }, { detail });
}

/** Jobs × ports × cpus → workers. Throws PlanError with the job, port or cpu that does not fit. */
export function plan(jobs: readonly JobSpec[], ports: readonly PlanPort[], cpus: PlanCpus): Assignment {
  if (jobs.length === 0) fail('NO_JOBS', 'plan', 'there are no jobs', 'give at least one');
  checkQueues(jobs, new Map(ports.map((port) => [port.name, port])));
  const usable = usableCpus(cpus);
  const groups = merge(group(jobs), usable.length);
  const placed = place(groups, jobs, ports, cpus, usable);
  return assignTx(placed, jobs, ports);
}

function checkQueues(jobs: readonly JobSpec[], ports: ReadonlyMap<string, PlanPort>): void {
  const taken = new Map<string, number>();
  for (const [index, { rx, tx = [] }] of jobs.entries()) {
    const unknown = [...(rx === undefined ? [] : [rx.port]), ...tx].find((name) => !ports.has(name));
    if (unknown !== undefined) {
      fail(
        'NO_SUCH_PORT',
        `job ${index}`,
        `port ${unknown} is not open`,
        `open it first; open are: ${[...ports.keys()].join(', ') || 'none'}`,
        { port: unknown },
      );
    }
    if (rx === undefined) {
      if (tx.length === 0)
        fail('IDLE_JOB', `job ${index}`, 'it has neither an rx queue nor a tx port', 'give it one of them');
      continue;
    }
    const { port, queue = 0 } = rx;
    const { rxQueues } = ports.get(port) as PlanPort;
    if (!Number.isInteger(queue) || queue < 0 || queue >= rxQueues) {
      fail(
        'NO_SUCH_QUEUE',
        `job ${index}: rx queue ${queue} of port ${port}`,
        `the port has ${rxQueues}`,
        `use 0 to ${rxQueues - 1}, or configure the port with more rxQueues`,
        { port, queue },
      );
    }
    const key = `${port} ${queue}`;
    const first = taken.get(key);
    if (first !== undefined) {
      fail(
        'QUEUE_TAKEN',
        `job ${index}: rx queue ${queue} of port ${port}`,
        `job ${first} has it`,
        'give each rx queue to one job',
        { port, queue },
      );
    }
    taken.set(key, index);
  }
}

function usableCpus({ present, allowed, isolated, chosen }: PlanCpus): number[] {
  if (chosen === undefined) {
    const first = allowed.filter((cpu) => isolated.includes(cpu));
    return [...first, ...allowed.filter((cpu) => !isolated.includes(cpu))];
  }
  for (const [index, cpu] of chosen.entries()) {
    checkCpu(cpu, present, allowed);
    if (chosen.indexOf(cpu) !== index)
      fail('CPU_TAKEN', `cpu ${cpu}`, 'it is named twice', 'name each cpu once', { cpu });
  }
  if (chosen.length === 0) fail('NO_CPUS', 'cpus', 'the list is empty', 'name at least one, or leave it out');
  return [...chosen];
}

function checkCpu(cpu: number, present: readonly number[], allowed: readonly number[]): void {
  if (!present.includes(cpu))
    fail('NO_SUCH_CPU', `cpu ${cpu}`, `this machine has ${ranges(present)}`, 'name one of these', { cpu });
  if (!allowed.includes(cpu)) {
    fail(
      'CPU_NOT_ALLOWED',
      `cpu ${cpu}`,
      `this process may use ${ranges(allowed)} (affinity or cgroup)`,
      'name one of these, or widen the set with taskset or cpuset.cpus',
      { cpu },
    );
  }
}

function group(jobs: readonly JobSpec[]): Group[] {
  const groups = new Map<string, Group>();
  for (const [index, job] of jobs.entries()) {
    const key = job.group ?? (job.cpu === undefined ? `job ${index}` : `cpu ${job.cpu}`);
    const known = groups.get(key);
    if (known === undefined) groups.set(key, { jobs: [index], cpu: job.cpu });
    else if (job.cpu !== undefined && job.cpu !== known.cpu) {
      fail(
        'CPU_CONFLICT',
        `job ${index}`,
        `it wants cpu ${job.cpu}, but its group "${key}" is on ${known.cpu === undefined ? 'any' : `cpu ${known.cpu}`}`,
        'give all jobs of a group the same cpu',
      );
    } else known.jobs.push(index);
  }
  return [...groups.values()];
}

/** More groups than cpus: those without a cpu of their own are dealt out again, several to a worker. */
function merge(groups: Group[], cpuCount: number): Group[] {
  const fixed = groups.filter((g) => g.cpu !== undefined);
  const free = groups.filter((g) => g.cpu === undefined);
  const places = Math.max(1, cpuCount - fixed.length);
  if (free.length <= places) return groups;
  const merged: Group[] = Array.from({ length: places }, () => ({ jobs: [], cpu: undefined }));
  for (const [i, { jobs }] of free.entries()) merged[i % places].jobs.push(...jobs);
  return [...fixed, ...merged];
}

interface Placed {
  readonly cpu: number;
  readonly jobs: readonly number[];
}

function place(
  groups: Group[],
  jobs: readonly JobSpec[],
  ports: readonly PlanPort[],
  cpus: PlanCpus,
  usable: number[],
): Placed[] {
  const taken = new Set<number>();
  for (const { cpu } of groups) {
    if (cpu === undefined) continue;
    checkCpu(cpu, cpus.present, cpus.allowed);
    if (taken.has(cpu))
      fail('CPU_TAKEN', `cpu ${cpu}`, 'two workers want it', 'give their jobs the same group, or different cpus', {
        cpu,
      });
    taken.add(cpu);
  }
  let free = usable.filter((cpu) => !taken.has(cpu));
  // The main thread gets a cpu of its own when there is one to spare: the first, where it most likely is.
  const spare = cpus.chosen === undefined && free.length > groups.filter((g) => g.cpu === undefined).length;
  if (spare && free.includes(cpus.allowed[0])) free = free.filter((cpu) => cpu !== cpus.allowed[0]);
  return groups.map((g) => {
    if (g.cpu !== undefined) return { cpu: g.cpu, jobs: g.jobs };
    const wanted = nodeOf(g.jobs[0], jobs, ports);
    const near = free.findIndex((cpu) => wanted !== undefined && cpus.nodes.get(cpu) === wanted);
    const cpu = free.splice(Math.max(0, near), 1)[0];
    if (cpu !== undefined) return { cpu, jobs: g.jobs };
    return fail(
      'CPU_TAKEN',
      `worker of job ${g.jobs[0]}`,
      `all cpus (${ranges(usable)}) have a worker already`,
      'name more cpus, or put jobs into one group',
    );
  });
}

function nodeOf(job: number, jobs: readonly JobSpec[], ports: readonly PlanPort[]): number | undefined {
  const name = jobs[job].rx?.port ?? jobs[job].tx?.[0];
  return ports.find((port) => port.name === name)?.node;
}

function assignTx(placed: readonly Placed[], jobs: readonly JobSpec[], ports: readonly PlanPort[]): Assignment {
  const txQueues: Record<string, number> = {};
  const workers = placed.map(({ cpu, jobs: mine }) => {
    const queues = new Map<string, number>();
    const queueOf = (port: string): number => {
      const queue = queues.get(port) ?? txQueues[port] ?? 0;
      if (!queues.has(port)) txQueues[port] = queue + 1;
      queues.set(port, queue);
      return queue;
    };
    const planned = mine.map((job): PlannedJob => {
      const { rx, tx = [] } = jobs[job];
      const from = rx === undefined ? null : { port: rx.port, queue: rx.queue ?? 0 };
      return { job, rx: from, tx: tx.map((port) => ({ port, queue: queueOf(port) })) };
    });
    return { cpu, jobs: planned };
  });
  for (const { name, maxTxQueues } of ports) {
    if ((txQueues[name] ?? 0) <= maxTxQueues) continue;
    fail(
      'TX_QUEUES',
      `port ${name}`,
      `${txQueues[name]} workers send to it and it has at most ${maxTxQueues} tx queues`,
      'use fewer workers',
      { port: name },
    );
  }
  return { workers, txQueues };
}

/** Numbers as people write them: `0-3,8`. */
export function ranges(numbers: readonly number[]): string {
  const sorted = [...numbers].sort((a, b) => a - b);
  const parts: string[] = [];
  for (let i = 0; i < sorted.length; ) {
    let end = i;
    while (sorted[end + 1] === sorted[end] + 1) end++;
    parts.push(end === i ? `${sorted[i]}` : `${sorted[i]}-${sorted[end]}`);
    i = end + 1;
  }
  return parts.join(',');
}
