/**
 * A worker's loop: call each job's burst function, kick what was transmitted, and when there is nothing to do for a
 * while, arm the interrupts and sleep. Data half. See docs/adr/0004-poll-modes.md.
 */
import { makeCounters } from '../lib/arena/counters.ts';
import type { BurstFunction, Clock, RxQueue, TxQueue } from '../lib/queue.ts';
import type { Native } from '../native/index.ts';
import { CONTROL, STATE, WORKER, WORKER_COUNTERS } from './control.ts';
import type { WorkerPlan } from './plan.ts';

/** Rounds between looks at the control word: some microseconds under load. */
const SLICE = 32;
/** More calls than V8 needs before it keeps what it sees. */
const WARM_UP_ROUNDS = 100;
/** The longest sleep with a queue that cannot interrupt. */
const POLL_US = 1000;
/** The longest of the first sleep after work; each of those that follow may be twice as long: an idle worker is hardly woken. */
const FIRST_SLEEP_US = 100_000;

/** Why the loop was left. */
export type LeaveReason = 'command' | 'mail' | 'threw' | 'slices';

/** What the loop works on. */
export interface Work {
  /** What is called each round. */
  readonly polls: BurstFunction[];
  readonly rx: RxQueue[];
  readonly tx: TxQueue[];
}

/** The loop's state, between calls. */
export interface Loop {
  /** Exchanged between calls of `run` only. */
  work: Work;
  /**
   * Runs until the control word or the mailbox changes, something throws, or `slices` have passed. No sleep is longer
   * than `sleepUs` microseconds.
   */
  run(slices: number, sleepUs: number): LeaveReason;
  /** Index in `polls` of the one that threw, or -1 when it was a queue; and what it threw. */
  readonly thrown: { job: number; error: unknown };
}

/** Makes the loop of `plan`. */
export function makeLoop(plan: WorkerPlan, clock: Clock, native: Native): Loop {
  const words = new Int32Array(plan.wasm.buffer, plan.control, CONTROL.counters);
  const count = makeCounters(plan.wasm.buffer, plan.control + CONTROL.counters * 4, WORKER_COUNTERS.length);
  const idleNs = plan.mode === 'busy' ? Number.POSITIVE_INFINITY : plan.mode === 'adaptive' ? plan.idleUs * 1000 : 0;
  const thrown = { job: 0, error: undefined as unknown };
  let current = -1;

  function round({ polls, tx }: Work): number {
    let work = 0;
    for (let job = 0; job < polls.length; job = (job + 1) | 0) {
      current = job;
      work = (work + (polls[job]() | 0)) | 0;
    }
    current = -1;
    for (let i = 0; i < tx.length; i = (i + 1) | 0) tx[i].kick();
    return work;
  }

  /** Runs a slice; returns how many of its rounds found nothing. */
  function slice(work: Work): number {
    const { tx } = work;
    let idle = 0;
    for (let i = 0; i < SLICE; i = (i + 1) | 0) if (round(work) === 0) idle = (idle + 1) | 0;
    for (let i = 0; i < tx.length; i = (i + 1) | 0) tx[i].reclaim();
    count(WORKER.polls, SLICE);
    if (idle > 0) count(WORKER.idlePolls, idle);
    words[CONTROL.heartbeat] = (words[CONTROL.heartbeat] + 1) | 0;
    return idle;
  }

  /**
   * Sleeps until a queue interrupts, the main thread calls, or the time is up. In this order, so that no wake-up is
   * lost: (1) arm, which stores our wish and then looks at the ring, while the other side publishes and then looks at
   * our wish; (2) if a ring had something, or the control word changed, don't sleep; (3) sleep. A signal that comes
   * between (1) and (3) makes the eventfd readable, and epoll returns at once.
   */
  function sleep({ rx }: Work, command: number, posted: number, longest: number): void {
    let waiting = false;
    let most = Math.min(words[CONTROL.timer], longest);
    for (let i = 0; i < rx.length; i = (i + 1) | 0) if (rx[i].fd < 0 && most > POLL_US) most = POLL_US;
    Atomics.store(words, CONTROL.state, STATE.asleep);
    for (let i = 0; i < rx.length; i = (i + 1) | 0) waiting = rx[i].arm() || waiting;
    if (
      !waiting &&
      Atomics.load(words, CONTROL.command) === command &&
      Atomics.load(words, CONTROL.posted) === posted
    ) {
      for (let i = 0; i < rx.length; i = (i + 1) | 0)
        if (rx[i].onlyAsleep) native.epollWatch(plan.epoll, rx[i].fd, true);
      const ready = native.epollWait(plan.epoll, most);
      for (let i = 0; i < rx.length; i = (i + 1) | 0)
        if (rx[i].onlyAsleep) native.epollWatch(plan.epoll, rx[i].fd, false);
      count(WORKER.sleeps, 1);
      if (ready > 0) count(WORKER.interrupts, 1);
    }
    for (let i = 0; i < rx.length; i = (i + 1) | 0) rx[i].disarm();
    Atomics.store(words, CONTROL.state, STATE.live);
    words[CONTROL.heartbeat] = (words[CONTROL.heartbeat] + 1) | 0;
  }

  function guarded(work: Work): number {
    try {
      return slice(work);
    } catch (error) {
      thrown.job = current;
      thrown.error = error;
      return -1;
    }
  }

  function run(slices: number, sleepUs: number): LeaveReason {
    const { work } = loop;
    const command = words[CONTROL.acknowledged];
    const posted = words[CONTROL.read];
    let lastWork = clock.now();
    let longest = FIRST_SLEEP_US;
    for (let i = 0; i < slices; i++) {
      words[CONTROL.timer] = sleepUs;
      const idle = guarded(work);
      if (idle < 0) return 'threw';
      // Plain loads: the slice before is full of calls and stores that V8 must take for writes to these words.
      if (words[CONTROL.command] !== command) return 'command';
      if (words[CONTROL.posted] !== posted) return 'mail';
      if (idleNs === Number.POSITIVE_INFINITY) continue;
      if (idle < SLICE) {
        lastWork = -1;
        longest = FIRST_SLEEP_US;
      } else if (lastWork < 0) lastWork = clock.now();
      else if (clock.now() - lastWork >= idleNs) {
        sleep(work, command, posted, longest);
        longest = Math.min(longest * 2, sleepUs);
      }
    }
    return 'slices';
  }

  // Called with two functions before the first job comes, this call has no target that V8 knows: it keeps every job's
  // function apart, where what it takes in is compiled for that job alone (docs/adr/0008-inlining.md).
  const none = { rx: [], tx: [] };
  for (let i = 0; i < WARM_UP_ROUNDS; i++) round({ ...none, polls: [() => 0, () => +0] });

  const loop: Loop = { work: { polls: [], rx: [], tx: [] }, run, thrown };
  return loop;
}
