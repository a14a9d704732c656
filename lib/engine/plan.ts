/** The plan: which worker, on which cpu, runs which queues. Pure. */
import { PlanError } from '../errors.ts';
import { type PlanCpus, place, usableCpus } from './place.ts';
import type { Assignment, JobSpec, PlannedJob, PlannedWorker } from './types.ts';

export { type PlanCpus, ranges } from './place.ts';

/** A port, as far as planning goes. */
export interface PlanPort {
  readonly name: string;
  readonly rxQueues: number;
  readonly maxTxQueues: number;
  /** NUMA node, or undefined when it has none. */
  readonly node?: number | undefined;
}

/** Jobs that share a worker. */
export interface Group {
  readonly jobs: number[];
  cpu: number | undefined;
}

function fail(code: string, what: string, why: string, fix: string, detail = {}): never {
  throw new PlanError(code, { what, why, fix }, { detail });
}

/** Jobs × ports × cpus → workers. Throws PlanError with the job, port or cpu that does not fit. */
export function plan(jobs: readonly JobSpec[], ports: readonly PlanPort[], cpus: PlanCpus): Assignment {
  if (jobs.length === 0) fail('NO_JOBS', 'plan', 'there are no jobs', 'give at least one');
  checkQueues(jobs, new Map(ports.map((port) => [port.name, port])));
  const usable = usableCpus(cpus);
  const groups = merge(group(jobs), usable);
  const nodes = groups.map((g) => nodeOf(jobs[g.jobs[0]], ports));
  const placed = place(groups, nodes, cpus, usable);
  return assignTx(
    groups.map((g, i) => ({ cpu: placed[i], jobs: g.jobs })),
    jobs,
    ports,
  );
}

function checkQueues(jobs: readonly JobSpec[], ports: ReadonlyMap<string, PlanPort>): void {
  const taken = new Map<string, number>();
  for (const [index, { rx, tx = [] }] of jobs.entries()) {
    const unknown = [...(rx === undefined ? [] : [rx.port]), ...tx].find((name) => !ports.has(name));
    if (unknown !== undefined) {
      const open = [...ports.keys()].join(', ') || 'none';
      fail('NO_SUCH_PORT', `job ${index}`, `port ${unknown} is not open`, `open it first; open are: ${open}`, {
        port: unknown,
      });
    }
    if (rx !== undefined) checkRx(index, rx, ports.get(rx.port) as PlanPort, taken);
    else if (tx.length === 0) {
      fail('IDLE_JOB', `job ${index}`, 'it has neither an rx queue nor a tx port', 'give it one of them');
    }
  }
  for (const port of ports.values()) checkCovered(port, taken);
}

/** A device spreads packets over all queues of a port: those of one that nobody polls would be lost without a word. */
function checkCovered({ name, rxQueues }: PlanPort, taken: ReadonlyMap<string, number>): void {
  const idle = Array.from({ length: rxQueues }, (_, queue) => queue).filter((queue) => !taken.has(`${name} ${queue}`));
  // A port that is only sent to is another thing.
  if (idle.length === 0 || idle.length === rxQueues) return;
  const why = `no job receives from it, so what arrives there would be lost`;
  const fix = `give it a job, or open the port with rxQueues: ${rxQueues - idle.length}`;
  fail('QUEUE_WITHOUT_JOB', `rx queue ${idle[0]} of port ${name}`, why, fix, { port: name, queue: idle[0] });
}

function checkRx(
  index: number,
  { port, queue = 0 }: { port: string; queue?: number },
  { rxQueues }: PlanPort,
  taken: Map<string, number>,
): void {
  const what = `job ${index}: rx queue ${queue} of port ${port}`;
  if (!Number.isInteger(queue) || queue < 0 || queue >= rxQueues) {
    const fix = `use 0 to ${rxQueues - 1}, or open the port with more queues (rxQueues)`;
    fail('NO_SUCH_QUEUE', what, `the port has ${rxQueues}`, fix, { port, queue });
  }
  const key = `${port} ${queue}`;
  const first = taken.get(key);
  if (first !== undefined)
    fail('QUEUE_TAKEN', what, `job ${first} has it`, 'give each rx queue to one job', { port, queue });
  taken.set(key, index);
}

function group(jobs: readonly JobSpec[]): Group[] {
  const groups = new Map<string, Group>();
  for (const [index, { group: name, cpu }] of jobs.entries()) {
    const key = name !== undefined ? `group ${name}` : cpu !== undefined ? `cpu ${cpu}` : `job ${index}`;
    const known = groups.get(key);
    if (known === undefined) groups.set(key, { jobs: [index], cpu });
    else {
      known.cpu ??= cpu;
      if (cpu !== undefined && cpu !== known.cpu) {
        const why = `it wants cpu ${cpu}, but its group "${name}" is on cpu ${known.cpu}`;
        fail('CPU_CONFLICT', `job ${index}`, why, 'give all jobs of a group the same cpu', { cpu });
      }
      known.jobs.push(index);
    }
  }
  return [...groups.values()];
}

/** More groups than cpus: those without a cpu of their own are dealt out again, several to a worker. */
function merge(groups: Group[], usable: readonly number[]): Group[] {
  const fixed = groups.filter((g) => g.cpu !== undefined);
  const free = groups.filter((g) => g.cpu === undefined);
  const places = Math.max(1, usable.filter((cpu) => fixed.every((g) => g.cpu !== cpu)).length);
  if (free.length <= places) return groups;
  const merged: Group[] = Array.from({ length: places }, () => ({ jobs: [], cpu: undefined }));
  for (const [i, { jobs }] of free.entries()) merged[i % places].jobs.push(...jobs);
  return [...fixed, ...merged];
}

function nodeOf({ rx, tx }: JobSpec, ports: readonly PlanPort[]): number | undefined {
  const name = rx?.port ?? tx?.[0];
  return ports.find((port) => port.name === name)?.node;
}

/** A worker has a tx queue of its own on each port that any of its jobs sends to. */
function assignTx(
  placed: readonly { readonly cpu: number; readonly jobs: readonly number[] }[],
  jobs: readonly JobSpec[],
  ports: readonly PlanPort[],
): Assignment {
  const used = new Map<string, number>();
  const workers = placed.map(({ cpu, jobs: mine }): PlannedWorker => {
    const queues = new Map<string, number>();
    const queueOf = (port: string): number => {
      const known = queues.get(port);
      if (known !== undefined) return known;
      const queue = used.get(port) ?? 0;
      used.set(port, queue + 1);
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
    const count = used.get(name) ?? 0;
    if (count <= maxTxQueues) continue;
    const why = `${count} workers send to it and it has at most ${maxTxQueues} tx queues`;
    fail('TX_QUEUES', `port ${name}`, why, 'use fewer workers: put jobs into one group', { port: name });
  }
  return { workers, txQueues: Object.fromEntries(used) };
}
