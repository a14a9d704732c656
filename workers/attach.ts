/** From a plan to live objects: clock, frames, queues, and the jobs over them. Control half: before packets flow. */
import { makeCounters } from '../lib/arena/counters.ts';
import { makeFrameStack } from '../lib/arena/frame-stack.ts';
import type {
  App,
  BurstFunction,
  Clock,
  QueueContext,
  QueueModule,
  QueuePlan,
  RxQueue,
  TxQueue,
} from '../lib/queue.ts';
import type { Native } from '../native/index.ts';
import { appError, callFactory } from './apps.ts';
import { APP_COUNTERS, CONTROL, JOB, JOB_COUNTERS } from './control.ts';
import { countRx, countTx, makeFrames, noRx } from './frames.ts';
import { makeOwners, ownedRx, ownedStack, ownedTx, ringStack } from './owners.ts';
import type { AppName, JobPlan, WorkerPlan } from './plan.ts';
import { scratchContext, warmUp } from './warm-up.ts';

/** A job that runs. */
export interface Job {
  /** Names of the application's own counters, in order. */
  readonly counterNames: readonly string[];
  readonly poll: BurstFunction;
}

/** What all jobs of a worker share. */
export interface Attached {
  readonly memory: SharedArrayBuffer;
  readonly clock: Clock;
  /** The queues of a job themselves, without its counting. Two jobs of one worker may share a tx queue. */
  rxOf(job: JobPlan): RxQueue | undefined;
  txOf(job: JobPlan): readonly TxQueue[];
  /** Makes the queues of `port` in `jobs` anew, warm. Throws what their modules throw. */
  renew(port: string, jobs: readonly JobPlan[]): Promise<void>;
  /** Has `factory` make the job's application. Throws what that throws. */
  makeJob(plan: JobPlan, factory: App, app: AppName): Job;
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

/** Attaches the queues of `plan`, warm. */
export async function attach(plan: WorkerPlan, native: Native): Promise<Attached> {
  const memory = plan.wasm.buffer;
  const clock = makeClock(memory, plan.control, native);
  const plain = makeFrameStack(memory, plan.frames, plan.stack, plan.id);
  const owners = plan.frames.owners === 0 ? undefined : makeOwners(memory, plan.frames, plan.id);
  const context: QueueContext = {
    memory,
    pool: plan.frames,
    stack: owners === undefined ? plain : ringStack(plain, owners),
    clock,
    kick: (fd) => native.notify(fd),
    kickTx: (fd) => native.kickTx(fd),
    kickRx: (fd) => native.kickRx(fd),
    scratch: () => 0,
  };
  const stack = owners === undefined ? plain : ownedStack(plain, owners);

  const modules = new Map<string, QueueModule>();
  const rxQueues = new Map<string, RxQueue>();
  const txQueues = new Map<string, TxQueue>();
  const keyOf = ({ port, queue }: QueuePlan) => `${queue} ${port}`;
  const moduleOf = (queue: QueuePlan) => modules.get(queue.module) as QueueModule;

  async function load(plans: readonly QueuePlan[]): Promise<void> {
    const cold = new Set(plans.map(({ module }) => module).filter((module) => !modules.has(module)));
    const loaded = await Promise.all(
      [...cold].map(async (module) => [module, (await import(module)) as QueueModule] as const),
    );
    for (const [module, code] of loaded) modules.set(module, code);
    if (cold.size > 0)
      warmUp(
        scratchContext(context, plan.scratch),
        loaded.map(([, code]) => code),
      );
  }

  function make({ rx, tx }: JobPlan): void {
    if (rx !== null && !rxQueues.has(keyOf(rx))) {
      const queue = moduleOf(rx).makeRxQueue(rx, context);
      rxQueues.set(keyOf(rx), owners === undefined ? queue : ownedRx(queue, owners));
    }
    for (const queuePlan of tx) {
      if (txQueues.has(keyOf(queuePlan))) continue; // two jobs of one worker share a tx queue
      const queue = moduleOf(queuePlan).makeTxQueue(queuePlan, context);
      txQueues.set(keyOf(queuePlan), owners === undefined ? queue : ownedTx(queue, owners));
    }
  }

  const plansOf = ({ rx, tx }: JobPlan): readonly QueuePlan[] => (rx === null ? tx : [rx, ...tx]);

  async function renew(port: string, jobs: readonly JobPlan[]): Promise<void> {
    await load(jobs.flatMap(plansOf));
    for (const queues of [rxQueues, txQueues])
      for (const key of queues.keys()) if (key.slice(key.indexOf(' ') + 1) === port) queues.delete(key);
    for (const job of jobs) make(job);
  }

  const jobs = plan.jobs.filter((job) => job !== null);
  await load(jobs.flatMap(plansOf));
  for (const job of jobs) make(job);

  const rxOf = (job: JobPlan) => (job.rx === null ? undefined : rxQueues.get(keyOf(job.rx)));
  const txOf = (job: JobPlan) => job.tx.map((queue) => txQueues.get(keyOf(queue)) as TxQueue);
  const words = new Int32Array(memory, plan.control, CONTROL.clock);
  const wakeAfter = (us: number): void => {
    if (us < words[CONTROL.timer]) words[CONTROL.timer] = us > 0 ? us | 0 : 0;
  };

  function makeJob(job: JobPlan, factory: App, app: AppName): Job {
    const count = makeCounters(memory, job.block + JOB.counters * 4, JOB_COUNTERS.length + APP_COUNTERS);
    const counterNames: string[] = [];
    const poll = callFactory(factory, app, {
      rx: countRx(rxOf(job) ?? noRx, count),
      rxPort: job.rxPort,
      tx: txOf(job).map((queue) => countTx(queue, count)),
      txPorts: job.txPorts,
      frames: makeFrames(memory, stack, count),
      clock,
      burst: plan.burst,
      worker: plan.id,
      options: app.options,
      counter(name) {
        const index = JOB_COUNTERS.length + addName(name, counterNames, app);
        return (n) => count(index, n);
      },
      wakeAfter,
      finish: () => {
        Atomics.store(new Int32Array(memory, job.block, 1), JOB.finished, 1);
      },
    });
    return { counterNames, poll };
  }

  return { memory, clock, rxOf, txOf, renew, makeJob };
}

function addName(name: string, names: string[], app: AppName): number {
  if (names.length === APP_COUNTERS || names.includes(name)) {
    const why = names.includes(name) ? `counter "${name}" exists already` : `it has ${APP_COUNTERS} counters already`;
    throw appError('APP_COUNTERS', app, why, 'make each counter once, in the factory');
  }
  return names.push(name) - 1;
}
