/** What a worker is sent, once: plain data. And the messages that follow. */
import type { FramesPlan } from '../lib/arena/frames-plan.ts';
import type { WasmMemory } from '../lib/arena/reserve.ts';
import type { PlainError } from '../lib/errors.ts';
import type { PortFacts, QueuePlan } from '../lib/queue.ts';

/** How a worker waits: never; after a while without work; at once. */
export type PollMode = 'busy' | 'adaptive' | 'interrupt';

/** An application by name: functions cannot be sent to a worker. */
export interface AppName {
  /** URL, absolute path, or package specifier of the module. */
  readonly module: string;
  /** The exported factory's name. */
  readonly export: string;
  /** Handed to the factory: plain data. */
  readonly options: Readonly<Record<string, unknown>>;
}

/** One rx queue (or none), the tx queues that its packets may go to, and the application between them. */
export interface JobPlan {
  readonly id: number;
  readonly app: AppName;
  /** Counts the replacements of the application: each is imported anew. */
  readonly version: number;
  /** Names of the application's own counters so far. */
  readonly counterNames: readonly string[];
  readonly rx: QueuePlan | null;
  readonly rxPort: PortFacts | null;
  readonly tx: readonly QueuePlan[];
  readonly txPorts: readonly PortFacts[];
  /** Arena offset of the job's block: see `JOB`. */
  readonly block: number;
}

/** Everything a worker needs. */
export interface WorkerPlan {
  readonly id: number;
  readonly cpu: number;
  readonly wasm: WasmMemory;
  readonly mode: PollMode;
  /** Adaptive: microseconds without work before it sleeps. */
  readonly idleUs: number;
  readonly burst: number;
  /** Raise V8's limits of inlining, for the whole process. */
  readonly inlining: boolean;
  readonly frames: FramesPlan;
  /** Arena offsets: the worker's frame stack, control block and scratch area. */
  readonly stack: number;
  readonly control: number;
  readonly scratch: { readonly offset: number; readonly bytes: number };
  /** Eventfd by which the main thread wakes it, and the epoll set with it and the rx queues' eventfds. The main thread owns them. */
  readonly wakeFd: number;
  readonly epoll: number;
  /** Null: the job has been taken out. */
  readonly jobs: readonly (JobPlan | null)[];
  /** The worker ran before: a job whose application cannot be made again is reported, and the others go on. */
  readonly restarted: boolean;
}

/** Main thread to worker; `id` comes back in the answer. */
export type Mail =
  /** Put another application (or the same anew) in job `job`. */
  | {
      readonly type: 'replace';
      readonly id: number;
      readonly job: number;
      readonly app: AppName;
      readonly version: number;
    }
  /** Leave job `job` and touch the queues no more that only it had: its port is going away. */
  | { readonly type: 'detach'; readonly id: number; readonly job: number }
  /** Leave jobs `jobs` and touch their queues no more until `attach`: the driver of `port` is being exchanged. */
  | { readonly type: 'park'; readonly id: number; readonly port: string; readonly jobs: readonly number[] }
  /** Make the queues of `port` anew, and then the applications of these jobs that have one. */
  | { readonly type: 'attach'; readonly id: number; readonly port: string; readonly jobs: readonly Attachment[] };

/** A job after the driver of a port of its was exchanged. */
export interface Attachment {
  readonly job: number;
  readonly plan: JobPlan;
  /** False: its application has failed, and is started again in its time. */
  readonly place: boolean;
}

/** Worker to main thread. Frames that an application left behind have been counted by then: see `JOB_COUNTERS`. */
export type Report =
  /** Null: the job has no application, see `threw`. */
  | { readonly type: 'ready'; readonly counterNames: readonly (readonly string[] | null)[] }
  | { readonly type: 'threw'; readonly job: number; readonly error: PlainError }
  | { readonly type: 'detached'; readonly id: number; readonly job: number }
  | { readonly type: 'parked' | 'attached'; readonly id: number; readonly error?: PlainError }
  | {
      readonly type: 'replaced';
      readonly id: number;
      readonly job: number;
      readonly counterNames: readonly string[];
      readonly error?: PlainError;
    };

/** How a worker's task ends. */
export interface WorkerResult {
  readonly reason: 'left' | 'failed';
  readonly error?: PlainError;
}
