/** Which cpu each worker gets. Pure. */
import { PlanError } from '../errors.ts';
import type { Group } from './plan.ts';

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

function fail(code: string, what: string, why: string, fix: string, detail = {}): never {
  throw new PlanError(code, { what, why, fix }, { detail });
}

/** The cpus for workers, the best first. Throws `NO_SUCH_CPU`, `CPU_NOT_ALLOWED`, `CPU_TAKEN`, `NO_CPUS`. */
export function usableCpus(cpus: PlanCpus): number[] {
  const { allowed, isolated, chosen } = cpus;
  if (chosen === undefined) {
    const first = allowed.filter((cpu) => isolated.includes(cpu));
    return [...first, ...allowed.filter((cpu) => !isolated.includes(cpu))];
  }
  for (const [index, cpu] of chosen.entries()) {
    checkCpu(cpu, cpus);
    if (chosen.indexOf(cpu) !== index)
      fail('CPU_TAKEN', `cpu ${cpu}`, 'it is named twice', 'name each cpu once', { cpu });
  }
  if (chosen.length === 0) fail('NO_CPUS', 'cpus', 'the list is empty', 'name at least one, or leave it out');
  return [...chosen];
}

function checkCpu(cpu: number, { present, allowed }: PlanCpus): void {
  if (!present.includes(cpu)) {
    fail('NO_SUCH_CPU', `cpu ${cpu}`, `this machine has ${ranges(present)}`, 'name one of these', { cpu });
  }
  if (!allowed.includes(cpu)) {
    const why = `this process may use ${ranges(allowed)} (affinity or cgroup)`;
    fail('CPU_NOT_ALLOWED', `cpu ${cpu}`, why, 'name one of these, or widen the set with taskset or cpuset.cpus', {
      cpu,
    });
  }
}

/** The cpu of each group; `nodes` are the NUMA nodes that they want to be near, in the same order. */
export function place(
  groups: readonly Group[],
  nodes: readonly (number | undefined)[],
  cpus: PlanCpus,
  usable: readonly number[],
): number[] {
  const taken = new Set<number>();
  for (const { cpu } of groups) {
    if (cpu === undefined) continue;
    checkCpu(cpu, cpus);
    if (taken.has(cpu)) {
      fail('CPU_TAKEN', `cpu ${cpu}`, 'two workers want it', 'give their jobs the same group, or different cpus', {
        cpu,
      });
    }
    taken.add(cpu);
  }
  const wanting = groups.filter((g) => g.cpu === undefined).length;
  const free = spareOne(
    usable.filter((cpu) => !taken.has(cpu)),
    wanting,
    cpus,
  );
  return groups.map(({ cpu, jobs }, i) => {
    if (cpu !== undefined) return cpu;
    const near = free.findIndex((c) => nodes[i] !== undefined && cpus.nodes.get(c) === nodes[i]);
    const [best] = free.splice(Math.max(0, near), 1);
    if (best !== undefined) return best;
    const why = `all cpus (${ranges(usable)}) have a worker already`;
    return fail('CPU_TAKEN', `worker of job ${jobs[0]}`, why, 'name more cpus, or put jobs into one group');
  });
}

/** The main thread gets a cpu of its own when there is one to spare: the first that is not isolated, where it is likely to be. */
function spareOne(free: readonly number[], wanting: number, { chosen, allowed, isolated }: PlanCpus): number[] {
  const main = allowed.find((cpu) => !isolated.includes(cpu)) ?? allowed[0];
  if (chosen !== undefined || free.length <= wanting) return [...free];
  return free.filter((cpu) => cpu !== main);
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
