/** What the kernel says about a thread: one that hangs is told from one that the machine does not let run. Control half. */
import { readFileSync } from 'node:fs';

/** Time on a cpu in /proc/…/stat is in ticks of this many milliseconds. */
const TICK_MS = 10;

/** A thread at one moment. */
export interface ThreadState {
  /** Whether it runs or waits for a cpu. */
  readonly runnable: boolean;
  /** Time on a cpu so far. */
  readonly cpuMs: number;
  /** Time so far that it was ready to run and had no cpu, as of when it last got one; 0 where the kernel does not count it. */
  readonly waitedMs: number;
}

/** Reads thread `tid` of this process; undefined when there is no such thread. */
export function threadState(tid: number, proc = '/proc/self/task'): ThreadState | undefined {
  try {
    const stat = readFileSync(`${proc}/${tid}/stat`, 'latin1');
    // After the name, which may contain anything: the state, and 11 and 12 fields further utime and stime (proc(5)).
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    const cpuMs = (Number(fields[11]) + Number(fields[12])) * TICK_MS;
    return { runnable: fields[0] === 'R', cpuMs, waitedMs: waitedMs(`${proc}/${tid}/schedstat`) };
  } catch {
    return undefined;
  }
}

/** The second number is the time on the run queue in nanoseconds (Documentation/scheduler/sched-stats.rst). */
function waitedMs(file: string): number {
  try {
    return Number(readFileSync(file, 'latin1').split(' ')[1]) / 1e6;
  } catch {
    return 0; // no CONFIG_SCHED_INFO
  }
}

/** What a thread had done when it began to be waited for. */
export class Grace {
  private readonly tid: number;
  private readonly before: ThreadState | undefined;

  constructor(tid: number) {
    this.tid = tid;
    this.before = threadState(tid);
  }

  /**
   * Whether the thread is to be blamed: it was to do something within `ms` milliseconds, and `elapsedMs` have passed. Not
   * while it waits for a cpu, unless it has had one for a quarter of `ms`; and the time that it waited is not its own.
   */
  over(ms: number, elapsedMs: number): boolean {
    if (elapsedMs < ms) return false;
    const { before } = this;
    const now = threadState(this.tid);
    if (now === undefined || before === undefined || now.cpuMs - before.cpuMs >= ms / 4) return true;
    return !now.runnable && elapsedMs - (now.waitedMs - before.waitedMs) >= ms;
  }
}
