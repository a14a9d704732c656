/** What an engine is told, and what it tells. */

import type { PollMode } from '../../workers/plan.ts';
import type { FramePoolOptions } from '../arena/frame-pool.ts';
import type { Keeper } from '../pci/keeper.ts';

export type { PollMode } from '../../workers/plan.ts';

/** How to open an engine. Unknown keys are refused by name. */
export interface EngineOptions extends FramePoolOptions {
  /** Address space to reserve, in bytes: 4 GiB if absent. */
  readonly arenaBytes?: number;
  /** Another process that stops PCI functions when this one dies: `linecard supervise` is one. It stays the caller's. */
  readonly keeper?: Keeper;
  /** The cpus for workers, in order. If absent: those that the process may use, isolated ones first. */
  readonly cpus?: readonly number[];
  /** `adaptive` if absent. */
  readonly mode?: PollMode;
  /** Adaptive: microseconds without work before a worker sleeps. 100 if absent. */
  readonly idleUs?: number;
  /** Frames per burst, 1 to 512: 32 if absent. */
  readonly burst?: number;
  /** A worker whose heartbeat stands still for so long is taken for hung: 2,000 ms if absent. */
  readonly stallMs?: number;
  /** Wait before a failed application or worker is started again: doubles from the first to the last of these (ms). */
  readonly restartMs?: readonly [first: number, last: number];
  /** Longest that stopping waits for packets under way: 1,000 ms if absent. */
  readonly drainMs?: number;
  /**
   * Raise V8's limits of inlining, which hold for the whole process: true if absent. Without it a packet costs two to
   * three times as much.
   */
  readonly inlining?: boolean;
  /** Limits of a worker's heap, in MiB: 128 if absent. */
  readonly heapMb?: number;
  /** Track who has each frame, and throw at the call that frees or sends one twice. LINECARD_DEBUG=frames sets it. */
  readonly debugFrames?: boolean;
}

/** An application: a short name (`l2fwd`, `gen`, `sink`), or a module and its export. */
export interface AppSpec {
  /** Short name, URL, path (from the working directory), or package specifier. */
  readonly module: string | URL;
  /** The exported factory's name; if absent, the module's short name, or `default`. */
  readonly export?: string;
  /** Handed to the factory: plain data. */
  readonly options?: Readonly<Record<string, unknown>>;
}

/** A job: packets from one rx queue (or made by the application itself), through one application, to tx ports. */
export interface JobSpec {
  readonly app: AppSpec;
  /** Port name as opened, and its queue (0 if absent). A job without one makes packets. */
  readonly rx?: { readonly port: string; readonly queue?: number };
  /** Ports to which it may send, in the order in which the application sees them. */
  readonly tx?: readonly string[];
  /** Jobs of the same group share a worker. A job without one has a worker of its own, as long as there are cpus. */
  readonly group?: string;
  /** The cpu of its worker. */
  readonly cpu?: number;
}

/** A job's place. */
export interface PlannedJob {
  /** Index in the list of jobs. */
  readonly job: number;
  readonly rx: { readonly port: string; readonly queue: number } | null;
  readonly tx: readonly { readonly port: string; readonly queue: number }[];
}

/** A worker's place, and its jobs. */
export interface PlannedWorker {
  readonly cpu: number;
  readonly jobs: readonly PlannedJob[];
}

/** What `plan()` returns. */
export interface Assignment {
  readonly workers: readonly PlannedWorker[];
  /** Tx queues that each port needs: one per worker that sends to it. */
  readonly txQueues: Readonly<Record<string, number>>;
}
