/** How much memory there is to be had, before it is asked for: a cgroup answers too much by killing. Control half. */
import { readFileSync } from 'node:fs';

const HUGE_PAGES = '/sys/kernel/mm/hugepages/hugepages-2048kB';

/** Bytes that are available, by `/proc/meminfo`, a cgroup's limit (0 when unknown) and what this process has of it. */
export function availableBytes(meminfo: string, limit: number, resident: number): number {
  const line = /^MemAvailable:\s+(\d+) kB/m.exec(meminfo);
  const machine = line === null ? Number.POSITIVE_INFINITY : Number(line[1]) * 1024;
  return limit > 0 ? Math.min(machine, Math.max(0, limit - resident)) : machine;
}

/** Bytes of memory that this process can have now. */
export function memoryAvailable(): number {
  const meminfo = readFileSync('/proc/meminfo', 'utf8');
  return availableBytes(meminfo, process.constrainedMemory(), process.memoryUsage.rss());
}

/** The machine's 2 MiB pages: how many are reserved, and how many of these nobody has. Undefined without any such pages. */
export function hugePages(): { readonly total: number; readonly free: number } | undefined {
  const read = (name: string) => Number(readFileSync(`${HUGE_PAGES}/${name}`, 'utf8'));
  try {
    return { total: read('nr_hugepages'), free: read('free_hugepages') };
  } catch {
    return undefined;
  }
}

/** The command that makes `pages` of them free. */
export function reserveHugePages(pages: number): string {
  const { total, free } = hugePages() ?? { total: 0, free: 0 };
  return `echo ${total + Math.max(0, pages - free)} > ${HUGE_PAGES}/nr_hugepages`;
}
