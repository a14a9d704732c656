/** Looks at the workers' heartbeats, and tells a worker that hangs from one that the machine does not let run. Control half. */
import { readFileSync } from 'node:fs';
import type { Worker } from './worker.ts';

/** How often heartbeats are looked at, in milliseconds. */
const LOOK_MS = 100;
/** How long a killed thread may take to end before that is told, in milliseconds. */
const STUCK_MS = 5000;
/** Time on a cpu in /proc is in ticks of this many milliseconds. */
const TICK_MS = 10;

interface Beat {
  heartbeat: number;
  /** Looks since it moved. */
  looks: number;
  /** Time that the thread had spent on a cpu at the first of them. */
  cpuMs: number;
}

/** What the kernel says about a thread. */
export interface ThreadState {
  /** Whether it runs or waits for a cpu. */
  readonly runnable: boolean;
  readonly cpuMs: number;
}

/** Reads thread `tid` of this process; undefined when there is no such thread. */
export function threadState(tid: number, proc = '/proc/self/task'): ThreadState | undefined {
  try {
    const stat = readFileSync(`${proc}/${tid}/stat`, 'latin1');
    // After the name, which may contain anything: the state, and 11 and 12 fields further utime and stime (proc(5)).
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return { runnable: fields[0] === 'R', cpuMs: (Number(fields[11]) + Number(fields[12])) * TICK_MS };
  } catch {
    return undefined;
  }
}

/** A thread that waits for a cpu, and has had one for less than a quarter of `ms` since it had used `cpuMs`: not to blame. */
export const starved = (now: ThreadState | undefined, cpuMs: number, ms: number): boolean =>
  now?.runnable === true && now.cpuMs - cpuMs < ms / 4;

/** Who hears what is seen. */
export interface HeartbeatListener {
  /** `worker` hangs: its heartbeat has stood still, and not for want of a cpu. */
  hangs(worker: Worker): void;
  /** `worker` was killed, and its thread has not ended. Told once. */
  stuck(worker: Worker): void;
}

/** Watches the workers of one run. */
export class Heartbeats {
  private readonly workers: () => readonly Worker[];
  private readonly stallMs: number;
  private readonly listener: HeartbeatListener;
  private readonly beats = new Map<Worker, Beat>();
  private timer: NodeJS.Timeout | undefined;

  constructor(workers: () => readonly Worker[], stallMs: number, listener: HeartbeatListener) {
    this.workers = workers;
    this.stallMs = stallMs;
    this.listener = listener;
  }

  start(): void {
    this.timer = setInterval(() => {
      for (const worker of this.workers()) this.look(worker);
    }, LOOK_MS);
  }

  stop(): void {
    clearInterval(this.timer);
  }

  private look(worker: Worker): void {
    const { heartbeat } = worker;
    const beat = this.beats.get(worker);
    const watched = worker.alive && (worker.hears || worker.killed);
    if (beat === undefined || beat.heartbeat !== heartbeat || !watched) {
      this.beats.set(worker, { heartbeat, looks: 0, cpuMs: threadState(worker.tid)?.cpuMs ?? 0 });
      return;
    }
    // Looks are counted, not time: a process that was stopped for a while has not hung.
    beat.looks++;
    const ms = beat.looks * LOOK_MS;
    if (worker.killed) {
      if (ms === STUCK_MS) this.listener.stuck(worker);
    } else if (ms >= this.stallMs && !starved(threadState(worker.tid), beat.cpuMs, this.stallMs)) {
      this.beats.delete(worker);
      this.listener.hangs(worker);
    }
  }
}
