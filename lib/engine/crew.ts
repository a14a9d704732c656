/** The workers of a run and their jobs: made from the plan, freed at the end. Control half. */
import type { AppName, JobPlan, Report, WorkerPlan } from '../../workers/plan.ts';
import type { Arena } from '../arena/arena.ts';
import type { FramePool } from '../arena/frame-pool.ts';
import type { Pktio, QueueHandle } from '../pktio/types.ts';
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
  /** Its number in the list that `run` was called with, and in its worker. */
  readonly number: number;
  readonly index: number;
  readonly worker: Worker;
  /** Undefined: it receives nothing. */
  readonly rxPort: Pktio | undefined;
  readonly txPorts: readonly Pktio[];
  /** Its queues: others, once the driver of a port was exchanged. */
  rx: QueueHandle | undefined;
  tx: readonly QueueHandle[];
  readonly backoff: Backoff;
  app: AppName;
  /** Counts the replacements of `app`. */
  version: number;
  counterNames: readonly string[];
  /** `detached`: a port of it has gone, and it does not come back. */
  state: 'running' | 'down' | 'detached';
  /** It is to be detached: its worker is not started with it again. */
  leaving: boolean;
  /** What it receives comes from other jobs. */
  readonly internal: boolean;
  failures: number;
  /** Why it failed last. */
  failure: Error | undefined;
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
  /** What `worker` is to do now: its jobs that are attached, with the applications that they have now. */
  planOf(worker: Worker, restarted: boolean): WorkerPlan;
  /** The same for one job, on the queues that its ports have now. */
  renew(job: CrewJob): JobPlan;
  /** Ends the threads and gives everything back, whatever fails. */
  free(): Promise<Remains>;
}

/** What is left of a crew: workers whose threads have not ended, and what went wrong. */
export interface Remains {
  readonly stuck: readonly Worker[];
  readonly errors: readonly Error[];
}

/** No workers yet. */
export const NO_CREW: Crew = {
  workers: [],
  jobs: [],
  planOf: () => {
    throw new Error('there is no crew');
  },
  renew: () => {
    throw new Error('there is no crew');
  },
  free: async () => ({ stuck: [], errors: [] }),
};

/** Longest wait for the threads to end, in milliseconds: they are idle, unless one is stuck. */
const CLOSE_MS = 2000;

function factsOf(port: Pktio, ports: ReadonlyMap<string, Pktio>): PortFacts {
  const { name, mac, mtu, capability } = port;
  return { name, index: [...ports.values()].indexOf(port), mac, mtu, hosts: capability.hosts };
}

/** A worker, and what has to be given back when its thread has ended. */
interface Place {
  readonly memory: WorkerMemory;
  readonly fds: number[];
  worker?: Worker;
  epoll?: number;
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
  const facts = new Map([...ports.values()].map((port) => [port, factsOf(port, ports)]));
  const jobs: CrewJob[] = [];
  const planOfJob = new Map<number, PlannedJob>();
  const places: Place[] = [];

  const makeJob = (planned: PlannedJob, worker: Worker, index: number): CrewJob => {
    const portOf = ({ port }: { port: string }) => ports.get(port) as Pktio;
    planOfJob.set(planned.job, planned);
    const rxPort = planned.rx === null ? undefined : portOf(planned.rx);
    return {
      number: planned.job,
      index,
      worker,
      rxPort,
      txPorts: planned.tx.map(portOf),
      ...queuesOf(planned),
      backoff: new Backoff(settings.restartMs),
      app: apps[planned.job],
      version: 0,
      counterNames: [],
      state: 'running',
      leaving: false,
      internal: rxPort?.capability.internal === true,
      failures: 0,
      failure: undefined,
    };
  };

  const queuesOf = (planned: PlannedJob) => ({
    rx: planned.rx === null ? undefined : ports.get(planned.rx.port)?.queues.rx[planned.rx.queue],
    tx: planned.tx.map(({ port, queue }) => ports.get(port)?.queues.tx[queue] as QueueHandle),
  });

  const own = (place: Place, fd: number): number => {
    place.fds.push(fd);
    return fd;
  };

  const makeWorker = ({ cpu, jobs: mine }: PlannedWorker, id: number): void => {
    const place: Place = { memory: new WorkerMemory(arena, frames.plan.count, mine.length), fds: [] };
    places.push(place);
    const wakeFd = own(place, native.eventfd());
    const epoll = own(place, native.epollCreate());
    const worker: Worker = new Worker(
      { id, cpu, wakeFd },
      place.memory,
      { native, heapMb: settings.heapMb },
      {
        report: (report) => listener.report(worker, report),
        died: (error) => listener.died(worker, error),
      },
    );
    place.worker = worker;
    place.epoll = epoll;
    const made = mine.map((planned, index) => makeJob(planned, worker, index));
    for (const job of made) jobs[job.number] = job;
    const rxFds = made.flatMap(({ rx }) => (rx === undefined || rx.plan.fd < 0 ? [] : [rx.plan.fd]));
    for (const fd of new Set([wakeFd, ...rxFds])) native.epollAdd(epoll, fd);
  };

  const jobPlan = (job: CrewJob): JobPlan => ({
    id: job.number,
    app: job.app,
    version: job.version,
    counterNames: job.counterNames,
    rx: job.rx?.plan ?? null,
    rxPort: job.rxPort === undefined ? null : (facts.get(job.rxPort) as PortFacts),
    tx: job.tx.map(({ plan }) => plan),
    txPorts: job.txPorts.map((port) => facts.get(port) as PortFacts),
    block: job.worker.memory.blocks[job.index],
  });

  const renew = (job: CrewJob): JobPlan => {
    Object.assign(job, queuesOf(planOfJob.get(job.number) as PlannedJob));
    const { epoll } = places[job.worker.id];
    const fd = job.rx?.plan.fd ?? -1;
    // It is in the set already unless the driver has made another one.
    if (fd >= 0) native.epollWatch(epoll as number, fd, true);
    return jobPlan(job);
  };

  const planOf = (worker: Worker, restarted: boolean): WorkerPlan => {
    const { mode, idleUs, burst, inlining } = settings;
    const { control, stack, scratch } = worker.memory;
    const mine = jobs.filter((job) => job.worker === worker).sort((a, b) => a.index - b.index);
    return {
      id: worker.id,
      cpu: worker.cpu,
      wasm: arena.wasm,
      mode,
      idleUs,
      burst,
      inlining,
      frames: frames.plan,
      stack,
      control,
      scratch,
      wakeFd: worker.wakeFd,
      epoll: places[worker.id].epoll as number,
      jobs: mine.map((job) => (job.leaving ? null : jobPlan(job))),
      restarted,
    };
  };

  const errors: Error[] = [];
  const attempt = (action: () => void): void => {
    try {
      action();
    } catch (error) {
      errors.push(error as Error);
    }
  };

  const release = ({ memory, fds }: Place): void => {
    for (const fd of fds.splice(0)) attempt(() => native.close(fd));
    // A closed arena has taken all of its memory back.
    if (arena.mapped().length > 0) attempt(() => memory.free());
  };

  const free = async (): Promise<Remains> => {
    const closed = await Promise.all(places.map(({ worker }) => worker?.close(CLOSE_MS) ?? true));
    for (const [i, place] of places.entries()) {
      // A thread that is stuck may still write to its memory, and wait on its fds, until it has ended.
      if (closed[i]) release(place);
      else place.worker?.whenEnded(() => release(place));
    }
    const stuck = places.flatMap(({ worker }, i) => (closed[i] || worker === undefined ? [] : [worker]));
    return { stuck, errors };
  };

  try {
    for (const [id, planned] of assignment.workers.entries()) makeWorker(planned, id);
  } catch (error) {
    await free();
    throw error;
  }
  return { workers: places.map(({ worker }) => worker as Worker), jobs, planOf, renew, free };
}
