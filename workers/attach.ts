/** From a plan to live objects: queues, frames, applications. Control half: this runs before packets do. */
import { type Adder, makeCounters } from '../lib/arena/counters.ts';
import { makeFrameStack } from '../lib/arena/frame-stack.ts';
import { LinecardError, WorkerError } from '../lib/errors.ts';
import type { App, BurstFunction, Clock, QueueContext, QueueModule, QueuePlan, RxQueue, TxQueue } from '../lib/queue.ts';
import type { Native } from '../native/index.ts';
import { APP_COUNTERS, CONTROL, JOB, JOB_COUNTERS } from './control.ts';
import { countRx, countTx, makeFrames, noRx } from './frames.ts';
import { makeOwners, ownedRx, ownedStack, ownedTx, ringStack } from './owners.ts';
import type { AppName, JobPlan, WorkerPlan } from './plan.ts';
import { scratchContext, warmUp } from './warm-up.ts';

/** A job that runs. */
export interface Job {
  readonly plan: JobPlan;
  readonly rx: RxQueue;
  readonly tx: readonly TxQueue[];
  /** Names of the application's own counters, in order. */
  readonly counterNames: readonly string[];
  readonly poll: BurstFunction;
}

/** What all jobs of a worker share. */
export interface Attached {
  readonly clock: Clock;
  /** The queues of a job themselves, without its counting. Two jobs of one worker may share a tx queue. */
  rxOf(job: JobPlan): RxQueue | undefined;
  txOf(job: JobPlan): readonly TxQueue[];
  /** Makes (or makes anew) a job; `version` tells module versions apart. Throws what the application throws. */
  makeJob(plan: JobPlan, app: AppName, version: number): Promise<Job>;
}

/** Makes the worker's clock on its control block. */
function makeClock(memory: SharedArrayBuffer, control: number, native: Native): Clock {
  const words = new Int32Array(memory, control + CONTROL.clock * 4, 4);
  native.bindClock(words);
  return {
    words,
    now() {
      native.clock();
      return (words[1] >>> 0) * 4294967296 + (words[0] >>> 0);
    },
    utc: () => native.utc(),
  };
}

function appError(code: string, app: AppName, why: string, fix: string, cause?: unknown): WorkerError {
  const what = `application ${app.module}#${app.export}`;
  return new WorkerError(code, { what, why, fix }, { cause, detail: { module: app.module, export: app.export } });
}

async function loadApp(app: AppName, version: number): Promise<App> {
  // A module is loaded once per URL: a replacement that was edited meanwhile needs one of its own.
  const url = version === 0 || !app.module.startsWith('file:') ? app.module : `${app.module}?version=${version}`;
  let module: Record<string, unknown>;
  try {
    module = await import(url);
  } catch (cause) {
    const message = cause instanceof Error ? cause.message : String(cause);
    throw appError('APP_MODULE_MISSING', app, `the module cannot be loaded (${message})`, 'check its path, and that it is JavaScript that Node can import', cause);
  }
  const factory = module[app.export];
  if (typeof factory === 'function') return factory as App;
  const names = Object.keys(module).join(', ') || 'nothing';
  throw appError('APP_EXPORT_MISSING', app, `the module exports ${names}, no function "${app.export}"`, 'export a factory by that name, or name another');
}

function makeApp(factory: App, app: AppName, context: Parameters<App>[0]): BurstFunction {
  let poll: unknown;
  try {
    poll = factory(context);
  } catch (cause) {
    if (cause instanceof LinecardError) throw cause;
    const message = cause instanceof Error ? cause.message : String(cause);
    throw appError('APP_THREW', app, `its factory threw (${message})`, 'mend the application', cause);
  }
  if (typeof poll === 'function') return poll as BurstFunction;
  throw appError('APP_NOT_A_FACTORY', app, `it returned ${typeof poll}, not a burst function`, 'return a function that handles one burst and returns the number of frames');
}

/** Attaches the queues of `plan`, warm. */
export async function attach(plan: WorkerPlan, native: Native): Promise<Attached> {
  const memory = plan.wasm.buffer;
  const clock = makeClock(memory, plan.control, native);
  const plain = makeFrameStack(memory, plan.frames, plan.stack, plan.id);
  const owners = plan.frames.owners === 0 ? undefined : makeOwners(memory, plan.frames, plan.id);
  const kick = (fd: number) => native.notify(fd);
  const context: QueueContext = {
    memory,
    stack: owners === undefined ? plain : ringStack(plain, owners),
    clock,
    kick,
    scratch: () => 0,
  };
  const stack = owners === undefined ? plain : ownedStack(plain, owners);

  const modules = new Map<string, QueueModule>();
  const plans = plan.jobs.flatMap((job) => [...(job.rx === null ? [] : [job.rx]), ...job.tx]);
  for (const { module } of plans) if (!modules.has(module)) modules.set(module, await import(module));
  warmUp(scratchContext(memory, plan.scratch, plan.frames, clock), modules.values());

  const rxQueues = new Map<QueuePlan, RxQueue>();
  const txQueues = new Map<string, TxQueue>();
  const moduleOf = (queue: QueuePlan) => modules.get(queue.module) as QueueModule;
  for (const { rx, tx } of plan.jobs) {
    if (rx !== null) {
      const queue = moduleOf(rx).makeRxQueue(rx, context);
      rxQueues.set(rx, owners === undefined ? queue : ownedRx(queue, owners));
    }
    for (const queuePlan of tx) {
      const key = `${queuePlan.port}/${queuePlan.queue}`;
      if (txQueues.has(key)) continue; // two jobs of one worker share a tx queue
      const queue = moduleOf(queuePlan).makeTxQueue(queuePlan, context);
      txQueues.set(key, owners === undefined ? queue : ownedTx(queue, owners));
    }
  }

  const rxOf = (job: JobPlan) => (job.rx === null ? undefined : rxQueues.get(job.rx));
  const txOf = (job: JobPlan) => job.tx.map((q) => txQueues.get(`${q.port}/${q.queue}`) as TxQueue);
  const words = new Int32Array(memory, plan.control, CONTROL.clock);
  const wakeAfter = (us: number): void => {
    if (us < words[CONTROL.timer]) words[CONTROL.timer] = us > 0 ? us | 0 : 0;
  };

  async function makeJob(job: JobPlan, app: AppName, version: number): Promise<Job> {
    const factory = await loadApp(app, version);
    const count = makeCounters(memory, job.block + JOB.counters * 4, JOB_COUNTERS.length + APP_COUNTERS);
    const rx = countRx(rxOf(job) ?? noRx, count);
    const tx = txOf(job).map((queue) => countTx(queue, count));
    const counterNames: string[] = [];
    const poll = makeApp(factory, app, {
      rx,
      rxPort: job.rxPort,
      tx,
      txPorts: job.txPorts,
      frames: makeFrames(memory, stack, count),
      clock,
      burst: plan.burst,
      worker: plan.id,
      options: app.options,
      counter: (name) => addCounter(name, counterNames, count, app),
      wakeAfter,
      finish: () => {
        Atomics.store(new Int32Array(memory, job.block, 1), JOB.finished, 1);
      },
    });
    return { plan: job, rx, tx, counterNames, poll };
  }

  return { clock, rxOf, txOf, makeJob };
}

function addCounter(name: string, names: string[], count: Adder, app: AppName): (n: number) => void {
  if (names.length === APP_COUNTERS || names.includes(name)) {
    const why = names.includes(name) ? `counter "${name}" exists already` : `it has ${APP_COUNTERS} counters already`;
    throw appError('APP_COUNTERS', app, why, 'make each counter once, in the factory');
  }
  const index = JOB_COUNTERS.length + names.push(name) - 1;
  return (n) => count(index, n);
}
