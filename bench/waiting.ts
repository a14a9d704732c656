/** How long a thread was ready to run and did not, because something else had its cpu: noise that can be subtracted. */
import { readdirSync } from 'node:fs';
import { field, type ReadText, readText } from './machine.ts';

/** Lists a directory. */
export type List = (path: string) => string[];

/** A thread of this or another process, by its directory in /proc. */
export interface ThreadTime {
  /** Nanoseconds spent waiting for a cpu since it began (Documentation/scheduler/sched-stats.rst, `/proc/<pid>/schedstat`). */
  waited(): number;
}

/** Returns the one thread of process `pid` that is pinned to `cpu`, or undefined when it isn't one. */
export function threadPinnedTo(
  pid: number | 'self',
  cpu: number,
  read: ReadText = readText,
  list: List = readdirSync,
): ThreadTime | undefined {
  const tasks = `/proc/${pid}/task`;
  const pinned = list(tasks).filter(
    (tid) => field(read(`${tasks}/${tid}/status`), 'Cpus_allowed_list') === String(cpu),
  );
  if (pinned.length !== 1) return undefined;
  const path = `${tasks}/${pinned[0]}/schedstat`;
  return { waited: () => Number(read(path).split(' ')[1] ?? 0) };
}

/** A reading that took longer says too little about when it was. */
const PROMPT_MS = 1;
const ATTEMPTS = 10;

/** Repeats `read` until it takes no time to speak of; after some attempts, whatever the last one gave. */
export async function promptly<T>(read: () => Promise<T>): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    const start = performance.now();
    const value = await read();
    if (performance.now() - start < PROMPT_MS || attempt === ATTEMPTS) return value;
  }
}
