/** Looks at the workers' heartbeats, and tells a worker that hangs from one that the machine does not let run. Control half. */
import { LONGEST_SLEEP_MS } from '../../workers/control.ts';
import { everyMs, type Pulse } from '../pulse.ts';
import { Grace } from './thread-state.ts';
import type { Worker } from './worker.ts';

/** How often heartbeats are looked at, in milliseconds. */
const LOOK_MS = 100;
/** How long a killed thread may take to end before that is told, in milliseconds. */
const STUCK_MS = 5000;

interface Beat {
  heartbeat: number;
  /** Looks since it moved. */
  looks: number;
  /** Of the thread since the first look that found it unmoved, and not asleep: only then is the kernel asked, which takes two files. */
  grace: Grace | undefined;
}

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
  private pulse: Pulse | undefined;

  constructor(workers: () => readonly Worker[], stallMs: number, listener: HeartbeatListener) {
    this.workers = workers;
    this.stallMs = stallMs;
    this.listener = listener;
  }

  start(): void {
    const look = () => {
      for (const worker of this.workers()) this.look(worker);
    };
    this.pulse = everyMs(LOOK_MS, look, true);
  }

  stop(): void {
    this.pulse?.stop();
  }

  private look(worker: Worker): void {
    const { heartbeat } = worker;
    const beat = this.beats.get(worker);
    const watched = worker.alive && (worker.hears || worker.killed);
    if (beat === undefined || beat.heartbeat !== heartbeat || !watched) {
      this.beats.set(worker, { heartbeat, looks: 0, grace: undefined });
      return;
    }
    // Looks are counted, not time: a process that was stopped for a while has not hung.
    beat.looks++;
    const ms = beat.looks * LOOK_MS;
    const sleepMs = worker.asleep ? LONGEST_SLEEP_MS : 0;
    if (ms <= sleepMs) return;
    beat.grace ??= new Grace(worker.tid);
    if (worker.killed) {
      if (ms === STUCK_MS) this.listener.stuck(worker);
    } else if (beat.grace.over(this.stallMs + sleepMs, ms)) {
      this.beats.delete(worker);
      this.listener.hangs(worker);
    }
  }
}
