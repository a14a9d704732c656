/** The workers of a run and their jobs: made from the plan, freed at the end. Control half. */
import { Piscina } from 'piscina';
import type { AppName, JobPlan, Report, WorkerPlan } from '../../workers/plan.ts';
import type { Arena } from '../arena/arena.ts';
import type { FramePool } from '../arena/frame-pool.ts';
import type { Pktio } from '../pktio/types.ts';
import type { PortFacts } from '../queue.ts';
import { resolveApp } from './apps.ts';
import { Backoff } from './backoff.ts';
import type { EngineSettings } from './settings.ts';
import type { Assignment, JobSpec, PlannedJob, PlannedWorker } from './types.ts';
import { Worker } from './worker.ts';
import { WorkerMemory } from './worker-memory.ts';

/** What a run works with. */
export interface Means {
  readonly arena: Arena;
  readonly frames: FramePool;
  readonly settings: EngineSettings;
  /** Open ports by name, in the order in which they were opened. */
  readonly ports: ReadonlyMap<string, Pktio>;
}

/** A job of a run. */
export interface CrewJob {
  readonly spec: JobSpec;
  readonly worker: Worker;
  /** Its number in its worker. */
  readonly index: number;
  app: AppName;
  counterNames: readonly string[];
  state: 'running' | 'down' | 'detached';
  failures: number;
  readonly backoff: Backoff;
}

/** Who hears of workers. */
export interface CrewListener {
  report(worker: Worker, report: Report): void;
  died(worker: Worker, error: Error): void;
}

/** The workers, their jobs, and what they need. */
export interface Crew {
  readonly workers: readonly Worker[];
  /** In the order of the list that `run` was called with. */
  readonly jobs: readonly CrewJob[];
  free(): Promise<void>;
}

function factsOf(name: string, ports: ReadonlyMap<string, Pktio>): PortFacts {
  const port = ports.get(name) as Pktio;
  return { name, index: [...ports.keys()].indexOf(name), mac: port.mac, mtu: port.mtu };
}

function jobPlan(id: number, planned: PlannedJob, app: AppName, block: number, ports: Means['ports']): JobPlan {
  const queue = (direction: 'rx' | 'tx', { port, queue: n }: { port: string; queue: number }) =>
    (ports.get(port) as Pktio).queues[direction][n].plan;
  return {
    id,
    app,
    rx: planned.rx === null ? null : queue('rx', planned.rx),
    rxPort: planned.rx === null ? null : factsOf(planned.rx.port, ports),
    tx: planned.tx.map((t) => queue('tx', t)),
    txPorts: planned.tx.map((t) => factsOf(t.port, ports)),
    block,
  };
}

function makePool(size: number, heapMb: number): Piscina {
  const here = import.meta.url;
  const pool = new Piscina({
    filename: new URL(`../../workers/main.${here.endsWith('.ts') ? 'ts' : 'js'}`, here).href,
    minThreads: size,
    maxThreads: size,
    concurrentTasksPerWorker: 1,
    idleTimeout: Number.POSITIVE_INFINITY,
    // The workers never look at the pool while they run: nothing to be gained by waiting for its messages.
    atomics: 'disabled',
    resourceLimits: { maxOldGenerationSizeMb: heapMb },
  });
  // A thread that ends between two tasks is replaced; whoever starts a task on it hears of it there.
  pool.on('error', () => {});
  return pool;
}

/** Makes the crew for `assignment`. The ports are started. Nothing runs yet. */
export async function makeCrew(
  means: Means,
  assignment: Assignment,
  specs: readonly JobSpec[],
  listener: CrewListener,
): Promise<Crew> {
  const { arena, frames, settings, ports } = means;
  const { native } = arena;
  const apps = specs.map((spec) => resolveApp(spec.app));
  const pool = makePool(assignment.workers.length, settings.heapMb);
  const fds: number[] = [];
  const memories: WorkerMemory[] = [];
  const jobs: CrewJob[] = [];
  const free = async () => {
    await pool.destroy();
    for (const fd of fds) native.close(fd);
    for (const memory of memories) memory.free();
  };

  const makeWorker = ({ cpu, jobs: mine }: PlannedWorker, id: number): Worker => {
    const memory = new WorkerMemory(arena, frames.plan.count, mine.length);
    memories.push(memory);
    const plans = mine.map((planned, i) => jobPlan(planned.job, planned, apps[planned.job], memory.blocks[i], ports));
    const wakeFd = native.eventfd();
    fds.push(wakeFd);
    const epoll = native.epollCreate();
    fds.push(epoll);
    const waits = new Set([wakeFd, ...plans.flatMap(({ rx }) => (rx === null || rx.fd < 0 ? [] : [rx.fd]))]);
    for (const fd of waits) native.epollAdd(epoll, fd);
    const { mode, idleUs, burst } = settings;
    const { control, stack, scratch } = memory;
    const wasm = arena.wasm;
    const plan: WorkerPlan = { id, cpu, wasm, mode, idleUs, burst, frames: frames.plan, stack, control, scratch, wakeFd, epoll, jobs: plans };
    const worker: Worker = new Worker(plan, memory, native, pool, {
      report: (report) => listener.report(worker, report),
      died: (error) => listener.died(worker, error),
    });
    for (const [index, { job }] of mine.entries()) {
      const backoff = new Backoff(settings.restartMs);
      jobs[job] = { spec: specs[job], worker, index, app: apps[job], counterNames: [], state: 'running', failures: 0, backoff };
    }
    return worker;
  };

  try {
    return { workers: assignment.workers.map(makeWorker), jobs, free };
  } catch (error) {
    await free();
    throw error;
  }
}
