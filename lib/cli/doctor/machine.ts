/** Checks of what every port needs, and of what makes workers fast. */
import { parseCpuList } from '../../engine/cpus.ts';
import { ranges } from '../../engine/plan.ts';
import { byteCount } from '../text.ts';
import { type Check, optional, required } from './check.ts';
import { atLeast, field, meminfo, names, read, type Sources, softLimit } from './sources.ts';

const LEAST_NODE = '20.19';
/** Address space of an arena with what V8 keeps free around it, and the memory of a pool of the default size with its workers. */
const ARENA_BYTES = 12 * 2 ** 30;
const MEMORY_BYTES = 256 * 2 ** 20;

/** Node, the addon, memory. */
export function basics(sources: Sources): Check[] {
  const { proc, nodeVersion } = sources;
  const memory = meminfo(read(proc, 'meminfo'), 'MemAvailable');
  const space = softLimit(read(proc, 'self/limits'), 'Max address space');
  return [
    required('node', 'everything', {
      ok: atLeast(nodeVersion, LEAST_NODE),
      found: `Node.js ${nodeVersion}`,
      fix: `install Node.js ${LEAST_NODE} or later`,
    }),
    nativeAddon(sources),
    required('memory', 'frames, rings, workers', {
      ok: !(memory < MEMORY_BYTES),
      found: `memory: ${Number.isNaN(memory) ? 'unknown' : `${byteCount(memory)} available`}`,
      fix: `free some: ${byteCount(MEMORY_BYTES)} are needed, or use fewer frames (--frames 4096)`,
    }),
    required('address-space', 'the arena: 4 GiB of addresses', {
      ok: space >= ARENA_BYTES,
      found: `address space: ${Number.isFinite(space) ? `limited to ${byteCount(space)}` : 'not limited'}`,
      fix: 'ulimit -v unlimited',
    }),
  ];
}

function nativeAddon({ loadNative }: Sources): Check {
  const purpose = 'memory, pinned workers, interrupts';
  try {
    loadNative();
    return required('addon', purpose, { ok: true, found: 'native addon loaded', fix: '' });
  } catch (error) {
    const found = `native addon does not load (${(error as Error).message.split('; ')[0]})`;
    return required('addon', purpose, { ok: false, found, fix: 'npm run build' });
  }
}

/** Cpus and pages. */
export function speed({ proc, sys }: Sources): Check[] {
  const allowed = parseCpuList(field(read(proc, 'self/status'), 'Cpus_allowed_list'));
  const isolated = parseCpuList(read(sys, 'devices/system/cpu/isolated')).filter((cpu) => allowed.includes(cpu));
  const last = allowed.at(-1) ?? 0;
  return [
    optional('cpus', 'a cpu for each worker, one for the main thread', {
      ok: allowed.length > 1,
      found: allowed.length === 1 ? `only cpu ${ranges(allowed)} is allowed` : `cpus ${ranges(allowed)} are allowed`,
      fix: 'give the process more (taskset -c, docker --cpuset-cpus, AllowedCPUs= in systemd); workers share the one until then',
    }),
    optional('isolated-cpus', 'workers that nothing interrupts', {
      ok: isolated.length > 0,
      found: isolated.length > 0 ? `cpus ${ranges(isolated)} are isolated` : 'no cpu is isolated',
      fix: `boot with isolcpus=${last} nohz_full=${last} rcu_nocbs=${last} (/etc/default/grub, then update-grub)`,
    }),
    governor(sys),
    hugepages(sys),
  ];
}

function governor(sys: string): Check {
  const cpus = names(sys, 'devices/system/cpu').filter((name) => /^cpu\d+$/.test(name));
  const governors = [
    ...new Set(cpus.map((cpu) => read(sys, 'devices/system/cpu', cpu, 'cpufreq/scaling_governor').trim())),
  ].filter((g) => g !== '');
  return optional('governor', 'full speed from the first packet on', {
    ok: governors.every((name) => name === 'performance'),
    found:
      governors.length === 0
        ? 'no frequency control here (most virtual machines)'
        : `frequency governor ${governors.join(', ')}`,
    fix: 'cpupower frequency-set -g performance',
  });
}

function hugepages(sys: string): Check {
  const folder = 'kernel/mm/hugepages/hugepages-2048kB';
  const pages = (name: string) => Number.parseInt(read(sys, folder, name), 10);
  const free = pages('free_hugepages');
  const total = pages('nr_hugepages');
  const wanted = 64;
  return optional('hugepages', '--hugepages: fewer TLB misses, DMA', {
    ok: free > 0,
    found: Number.isNaN(total) ? 'this kernel has no 2 MiB pages' : `2 MiB pages: ${free} free of ${total}`,
    fix: Number.isNaN(total) ? 'use a kernel with CONFIG_HUGETLBFS' : `sysctl -w vm.nr_hugepages=${wanted}`,
  });
}
