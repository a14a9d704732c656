/** Where a benchmark ran: what a reader needs to compare two reports. */
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { cpus, release } from 'node:os';

/** The machine, as far as it explains numbers. */
export interface Machine {
  readonly kernel: string;
  readonly cpu: string;
  /** Cpus that this process may run on. */
  readonly cpus: readonly number[];
  /** Frequency governor, or `none` where the system shows no frequency control (most virtual machines). */
  readonly governor: string;
  /** Cpus that the scheduler leaves alone, as the kernel prints them; empty when there are none. */
  readonly isolated: string;
  readonly hypervisor: boolean;
  /** Hugepages of 2 MiB: total and free. */
  readonly hugepages: { readonly total: number; readonly free: number };
  readonly node: string;
  readonly v8: string;
  /** Load average over the last minute when the run began. */
  readonly load: number;
  /** Commit that was measured, with `+` when files had been changed; empty outside a checkout. */
  readonly commit: string;
}

/** Reads a small file; the empty string when it is not there. */
export type ReadText = (path: string) => string;

/** Reads a file of /proc or /sys, or returns the empty string. */
export function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch {
    return '';
  }
}

/** Returns the numbers in a kernel list such as `0-2,5`. */
export function parseCpuList(list: string): number[] {
  return list
    .trim()
    .split(',')
    .filter((part) => part !== '')
    .flatMap((part) => {
      const [from, to] = part.split('-').map(Number) as [number, number?];
      return Array.from({ length: (to ?? from) - from + 1 }, (_, i) => from + i);
    });
}

/** Returns the value of `key` in a file of `key: value` lines, or the empty string. */
export function field(text: string, key: string): string {
  const line = text.split('\n').find((l) => l.startsWith(`${key}:`) || l.startsWith(`${key}\t`));
  return line === undefined ? '' : line.slice(line.indexOf(':') + 1).trim();
}

/** Describes this machine. `read` is replaced by tests. */
export function readMachine(read: ReadText = readText, commit = gitCommit()): Machine {
  const cpuinfo = read('/proc/cpuinfo');
  const meminfo = read('/proc/meminfo');
  const allowed = parseCpuList(field(read('/proc/self/status'), 'Cpus_allowed_list'));
  return {
    kernel: release(),
    cpu: field(cpuinfo, 'model name') || cpus()[0]?.model || 'unknown',
    cpus: allowed.length > 0 ? allowed : cpus().map((_, i) => i),
    governor: read('/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor').trim() || 'none',
    isolated: read('/sys/devices/system/cpu/isolated').trim(),
    hypervisor: / hypervisor( |$)/m.test(cpuinfo),
    hugepages: { total: count(meminfo, 'HugePages_Total'), free: count(meminfo, 'HugePages_Free') },
    node: process.versions.node,
    v8: process.versions.v8,
    load: Number.parseFloat(read('/proc/loadavg')) || 0,
    commit,
  };
}

const count = (text: string, key: string): number => Number.parseInt(field(text, key), 10) || 0;

function gitCommit(): string {
  try {
    const git = (...args: string[]) =>
      execFileSync('git', args, { cwd: new URL('.', import.meta.url), stdio: 'pipe', timeout: 5000 })
        .toString()
        .trim();
    const changed = git('status', '--porcelain', '--untracked-files=no') !== '';
    return git('rev-parse', '--short', 'HEAD') + (changed ? '+' : '');
  } catch {
    return '';
  }
}

/** Returns the machine in one line. */
export function machineLine(m: Machine): string {
  return [
    `linux ${m.kernel}`,
    `${m.cpu}${m.hypervisor ? ' (virtual)' : ''}`,
    `cpus ${m.cpus.join(',')}`,
    `isolated ${m.isolated || 'none'}`,
    `governor ${m.governor}`,
    `hugepages ${m.hugepages.free}/${m.hugepages.total}`,
    `load ${m.load}`,
    `node ${m.node} (V8 ${m.v8})`,
    ...(m.commit === '' ? [] : [`commit ${m.commit}`]),
  ].join(' · ');
}

/** Where the two sides of a benchmark run. */
export interface Placement {
  /** For main threads, helpers and this process. */
  readonly main: number;
  /** For the forwarding loop. */
  readonly loop: number;
}

/** Chooses cpus: the forwarding loop on an isolated one if there is any, else on the last; the rest on the first. */
export function place(m: Pick<Machine, 'cpus' | 'isolated'>): Placement {
  const isolated = parseCpuList(m.isolated).filter((cpu) => m.cpus.includes(cpu));
  const loop = isolated.at(-1) ?? m.cpus.at(-1) ?? 0;
  return { main: m.cpus.find((cpu) => cpu !== loop) ?? loop, loop };
}
