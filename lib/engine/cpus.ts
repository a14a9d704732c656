/** What the kernel says about cpus. */
import { readdirSync, readFileSync } from 'node:fs';
import type { Native } from '../../native/index.ts';
import type { PlanCpus } from './plan.ts';

/** Reads a kernel cpu list: `0-3,8`. */
export function parseCpuList(text: string): number[] {
  return text
    .trim()
    .split(',')
    .filter((part) => part !== '')
    .flatMap((part) => {
      const [first, last = first] = part.split('-').map(Number);
      return Array.from({ length: last - first + 1 }, (_, i) => first + i);
    });
}

function list(path: string): number[] {
  try {
    return parseCpuList(readFileSync(path, 'utf8'));
  } catch {
    return []; // a kernel without it: nothing is isolated, nothing is known of nodes
  }
}

/** Reads the machine's cpus. `sys` is where sysfs is. */
export function readCpus(native: Native, chosen?: readonly number[], sys = '/sys'): PlanCpus {
  const allowed = native.affinity();
  const online = list(`${sys}/devices/system/cpu/online`);
  const nodes = new Map<number, number>();
  for (const name of nodeNames(`${sys}/devices/system/node`)) {
    for (const cpu of list(`${sys}/devices/system/node/${name}/cpulist`)) nodes.set(cpu, Number(name.slice(4)));
  }
  return {
    present: online.length > 0 ? online : allowed,
    allowed,
    isolated: list(`${sys}/devices/system/cpu/isolated`),
    nodes,
    chosen,
  };
}

function nodeNames(path: string): string[] {
  try {
    return readdirSync(path).filter((name) => /^node\d+$/.test(name));
  } catch {
    return [];
  }
}
