/** Layout of what the main thread and a worker say to each other in the arena. Words are 32 bits, counters 64. */
import { DROP } from '../lib/queue.ts';

/** A worker's control block, in words. Lines 0 and 1 (64 bytes each) have one writer each. */
export const CONTROL = {
  /** Written by the main thread: one of `COMMAND`, with the order's number: see `orderWord`. */
  command: 0,
  /** Written by the main thread: messages posted so far. */
  posted: 1,
  /** Written by the worker: one of `STATE`. */
  state: 16,
  /** Written by the worker: goes on while it lives, awake or asleep. */
  heartbeat: 17,
  /** Written by the worker: the last command that it has acted on, and the last message. */
  acknowledged: 18,
  read: 19,
  /** Written by the worker: microseconds until an application wants to be called, reset each slice. */
  timer: 20,
  /** Written by the worker: the kernel's number of its thread. */
  tid: 21,
  /** The worker's clock: see `Native.bindClock`. */
  clock: 32,
  /** Counters, in the order of `WORKER_COUNTERS`. */
  counters: 48,
} as const;

/** Bytes of a control block. */
export const CONTROL_BYTES = 512;

/** What the main thread wants. */
export const COMMAND = {
  /** Attach, warm up, wait. */
  prepare: 0,
  run: 1,
  /** Stand still at a burst boundary. */
  pause: 2,
  /** Start nothing new, finish what is under way. */
  quiesce: 3,
  /** Leave the loop and return. */
  leave: 4,
} as const;

/**
 * A command as it stands in its word: below the order's number, so that no two orders are alike. The worker
 * acknowledges the whole word: an old acknowledgement of the same command is not one of this order.
 */
export const orderWord = (order: number, command: number): number => (order << 3) | command;

/** The command of an order's word. */
export const commandOf = (word: number): number => word & 7;

/** The longest that a worker sleeps, in milliseconds: meanwhile its heartbeat stands still. The addon waits no longer at a time. */
export const LONGEST_SLEEP_MS = 1000;

/** Where a worker is. */
export const STATE = { starting: 0, ready: 1, live: 2, asleep: 3, paused: 4, left: 5 } as const;

/** A worker's counters. A poll is one call of each of its jobs. */
export const WORKER_COUNTERS = ['polls', 'idlePolls', 'sleeps', 'interrupts'] as const;

/** Index of each in `WORKER_COUNTERS`. */
export const WORKER = { polls: 0, idlePolls: 1, sleeps: 2, interrupts: 3 } as const;

/** A job's block, in words, then its counters. */
export const JOB = {
  /** Written by the worker: 1 when the job has said that it is finished. */
  finished: 0,
  /** Counters, in the order of `JOB_COUNTERS`, then the application's own. */
  counters: 16,
} as const;

/** Where a job's frames came from and went to. What is not in one of the last is held by the job. */
export const JOB_COUNTERS = [
  'delivered',
  'allocated',
  'accepted',
  'consumed',
  ...Object.keys(DROP).map((reason) => `dropped_${reason}`),
] as const;

/** Index of each in `JOB_COUNTERS`; `dropped` is the first of the reasons. */
export const LEDGER = { delivered: 0, allocated: 1, accepted: 2, consumed: 3, dropped: 4 } as const;

/** Counters that an application may have of its own. */
export const APP_COUNTERS = 16;

/** Bytes of a job's block. */
export const JOB_BYTES = JOB.counters * 4 + (JOB_COUNTERS.length + APP_COUNTERS) * 8;
