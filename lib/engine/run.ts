/** A run: jobs on workers, from the first packet to the balanced ledger. Control half. */
import { EventEmitter } from 'node:events';
import { COMMAND, STATE } from '../../workers/control.ts';
import { PlanError } from '../errors.ts';
import { addCounters } from '../pktio/stats.ts';
import type { Pktio, PortStats } from '../pktio/types.ts';
import { DROP } from '../queue.ts';
import { resolveApp } from './apps.ts';
import { type Crew, type CrewJob, makeCrew, type Means } from './crew.ts';
import { balance, type Ledger } from './ledger.ts';
import type { JobStats, RunEvents, RunResult, RunStats, WorkerStats } from './results.ts';
import { Supervisor } from './supervisor.ts';
import { ringsOf } from './sweep.ts';
import type { AppSpec, Assignment, JobSpec } from './types.ts';
import { until } from './until.ts';
import type { Worker } from './worker.ts';

const STATE_NAMES = Object.keys(STATE) as (keyof typeof STATE)[];
/** How often a run looks whether its sources have ended. */
const FINISHED_MS = 50;
/** Longest wait for a worker to act on a command while it is not asleep or hung. */
const ACT_MS = 1000;
/** Errors that are kept for the result. */
const MOST_ERRORS = 100;

/** Jobs at work. Made by `engine.run`. */
export class Run extends EventEmitter<RunEvents> {
  readonly assignment: Assignment;
  /** Resolves when the run has ended: by `stop`, or because all its sources have. */
  readonly done: Promise<RunResult>;
  private readonly means: Means;
  private readonly supervisor: Supervisor;
  private readonly errors: Error[] = [];
  private crew: Crew;
  private started = 0;
  private ending: Promise<RunResult> | undefined;
  private finish: (result: RunResult) => void = () => {};
  private watch: NodeJS.Timeout | undefined;
  private readonly ignore: (() => void)[] = [];

  private constructor(means: Means, assignment: Assignment) {
    super();
    this.means = means;
    this.assignment = assignment;
    this.crew = { workers: [], jobs: [], free: async () => {} };
    this.supervisor = new Supervisor(means, () => this.crew, (event, ...args) => this.tell(event, ...args));
    this.done = new Promise((resolve) => {
      this.finish = resolve;
    });
  }

  /** Starts the ports that `assignment` uses, then the workers. What was started is stopped again when any of it fails. */
  static async start(means: Means, assignment: Assignment, specs: readonly JobSpec[]): Promise<Run> {
    const run = new Run(means, assignment);
    try {
      await run.startPorts();
      run.crew = await makeCrew(means, assignment, specs, run.supervisor);
      await run.startWorkers();
    } catch (error) {
      run.supervisor.stop();
      await run.halt();
      await run.tearDown();
      throw error;
    }
    run.goLive();
    return run;
  }

  /** Ports by name that the run uses. */
  private get ports(): Map<string, Pktio> {
    const used = new Set(this.assignment.workers.flatMap(({ jobs }) => jobs.flatMap(({ rx, tx }) => [...(rx === null ? [] : [rx.port]), ...tx.map((t) => t.port)])));
    return new Map([...this.means.ports].filter(([name]) => used.has(name)));
  }

  private async startPorts(): Promise<void> {
    for (const [name, port] of this.ports) {
      const txQueues = Math.max(this.assignment.txQueues[name] ?? 0, port.capability.txQueues.min);
      if (txQueues !== port.config.txQueues) port.configure({ txQueues });
      await port.start();
      const onError = (error: Error, fatal: boolean) => this.tell('port-error', name, error, fatal);
      port.on('error', onError);
      this.ignore.push(() => port.off('error', onError));
    }
  }

  private async startWorkers(): Promise<void> {
    const starts = await Promise.allSettled(this.crew.workers.map((worker) => worker.start()));
    const failed = starts.find((s) => s.status === 'rejected');
    if (failed !== undefined) throw failed.reason;
  }

  private goLive(): void {
    this.started = performance.now();
    for (const worker of this.crew.workers) worker.command(COMMAND.run);
    this.watch = setInterval(() => {
      if (this.sourcesEnded()) void this.stop();
    }, FINISHED_MS);
  }

  /**
   * True when nothing will bring another packet: all generators are finished, all files have been read, and what other
   * jobs receive comes from those.
   */
  private sourcesEnded(): boolean {
    const portOf = ({ spec }: CrewJob) => (spec.rx === undefined ? undefined : this.means.ports.get(spec.rx.port));
    const fed = this.crew.jobs.filter((job) => portOf(job)?.capability.internal === true);
    const sources = this.crew.jobs.filter((job) => !fed.includes(job));
    return (
      sources.length > 0 &&
      sources.every((job) => job.state === 'detached' || job.worker.memory.finished(job.index) || portOf(job)?.finished === true)
    );
  }

  /** Figures of this moment. */
  stats(): RunStats {
    const jobs = this.crew.jobs.map((job, number): JobStats => {
      const { memory, plan } = job.worker;
      const state = job.state === 'running' ? 'running' : 'down';
      const counters = memory.appCounters(job.index, job.counterNames);
      return { job: number, worker: plan.id, frames: memory.jobLedger(job.index), counters, state, failures: job.failures };
    });
    return {
      seconds: this.started === 0 ? 0 : (performance.now() - this.started) / 1000,
      workers: this.crew.workers.map((worker) => workerStats(worker, jobs)),
      jobs,
      ports: Object.fromEntries([...this.ports].map(([name, port]) => [name, queueTotals(port)])),
      framesMissing: this.supervisor.missing,
    };
  }

  /** Replaces the application of job `job` (an index into the list that the run was started with) while packets flow. */
  async replace(job: number, app: AppSpec): Promise<void> {
    const target = this.crew.jobs[job];
    if (target === undefined || this.ending !== undefined) {
      const why = target === undefined ? `there are jobs 0 to ${this.crew.jobs.length - 1}` : 'the run is ending';
      throw new PlanError('NO_SUCH_JOB', { what: `job ${job}`, why, fix: 'name a job of a run that goes on' });
    }
    const before = target.app;
    target.app = resolveApp(app);
    const error = await this.supervisor.place(target);
    if (error === undefined) return;
    target.app = before;
    throw error;
  }

  /** Takes the jobs that use `port` out of their workers, so that the port can go away. The others go on. */
  async detach(port: Pktio): Promise<void> {
    const name = [...this.means.ports].find(([, p]) => p === port)?.[0];
    const uses = ({ spec }: CrewJob) => name !== undefined && (spec.rx?.port === name || (spec.tx ?? []).includes(name));
    await Promise.all(this.crew.jobs.filter(uses).map((job) => this.supervisor.detach(job)));
    await this.supervisor.empty(port);
  }

  /** Stops in order: sources, what is under way, workers, ports. Idempotent; resolves to the final figures. */
  stop(): Promise<RunResult> {
    this.ending ??= this.end();
    return this.ending;
  }

  private async end(): Promise<RunResult> {
    clearInterval(this.watch);
    await this.drain();
    this.supervisor.stop();
    await this.halt();
    const { seconds } = this.stats();
    const ledger = await this.settle();
    const stats = { ...this.stats(), seconds };
    await this.tearDown();
    const result = { ...stats, ledger, errors: this.errors };
    this.emit('end', result);
    this.finish(result);
    return result;
  }

  /** Sources stop; what they made goes on until nothing moves any more, or the time is up. */
  private async drain(): Promise<void> {
    const alive = this.crew.workers.filter((worker) => worker.alive);
    for (const worker of alive) worker.command(COMMAND.quiesce);
    await Promise.all(alive.map((worker) => worker.acted(COMMAND.quiesce, ACT_MS)));
    let last = -1n;
    let still = 0;
    await until(() => {
      const moved = this.crew.jobs.reduce((sum, { worker, index }) => sum + Object.values(worker.memory.jobLedger(index)).reduce((a, b) => a + b, 0n), 0n);
      still = moved === last ? still + 1 : 0;
      last = moved;
      return still >= 5;
    }, this.means.settings.drainMs);
  }

  /** The workers leave; those that do not are ended. */
  private async halt(): Promise<void> {
    const alive = this.crew.workers.filter((worker) => worker.alive);
    for (const worker of alive) worker.command(COMMAND.leave);
    await Promise.all(
      alive.map(async (worker) => {
        const left = await until(() => !worker.alive, ACT_MS);
        if (!left) worker.kill('WORKER_STALLED', 'it did not leave its loop');
        await worker.gone();
      }),
    );
  }

  /** Nobody works any more: adds everything up, then takes every frame back. */
  private async settle(): Promise<Ledger> {
    const { frames } = this.means;
    const { workers, jobs } = this.crew;
    const ports = [...this.ports].filter(([, port]) => port.state === 'started');
    for (const [name, port] of ports) await this.attempt(name, () => port.flush());
    for (const [, port] of ports) for (const queue of port.queues.tx) queue.settle();
    const flying = ports.map(([name, port]) => ({ name, stats: queueTotals(port), inRings: ringsOf([port]).reduce((n, ring) => n + [...ring].length, 0) }));
    const ledger = balance({
      total: frames.plan.count,
      free: frames.inDepot + workers.reduce((n, { memory }) => n + memory.stacked, 0),
      inRings: flying.reduce((n, port) => n + port.inRings, 0),
      lost: this.supervisor.missing,
      jobs: jobs.map(({ worker, index }) => worker.memory.jobLedger(index)),
      ports: flying,
    });
    for (const { worker, index } of jobs) worker.memory.writeOff(index, DROP.stopped);
    for (const [, port] of ports) for (const queue of port.queues.tx) queue.clear();
    return ledger;
  }

  /** Stops the ports, frees the workers, and takes all frames back into the pool. */
  private async tearDown(): Promise<void> {
    for (const [name, port] of this.ports) if (port.state === 'started') await this.attempt(name, () => port.stop());
    for (const forget of this.ignore) forget();
    for (const { memory } of this.crew.workers) memory.emptyStack();
    this.means.frames.sweep([]);
    await this.crew.free();
  }

  private async attempt(port: string, action: () => Promise<void>): Promise<void> {
    try {
      await action();
    } catch (error) {
      this.tell('port-error', port, error as Error, true);
    }
  }

  private tell<E extends keyof RunEvents>(event: E, ...args: RunEvents[E]): void {
    const error = args.find((arg): arg is Error & RunEvents[E][number] => arg instanceof Error);
    if (error !== undefined && this.errors.push(error) > MOST_ERRORS) this.errors.shift();
    (this.emit as (event: E, ...args: RunEvents[E]) => boolean).call(this, event, ...args);
  }
}

/** Counters of a started port in this run: its queues are made anew for each. */
function queueTotals(port: Pktio): PortStats {
  const sum = (direction: 'rx' | 'tx') =>
    port.queues[direction].map((_, queue) => port.queueStats(direction, queue)).reduce(addCounters, {});
  return { rx: sum('rx'), tx: sum('tx') };
}

function workerStats(worker: Worker, jobs: readonly JobStats[]): WorkerStats {
  const mine = jobs.filter((job) => job.worker === worker.plan.id);
  const packets = mine.reduce((sum, { frames }) => sum + (frames.delivered ?? 0n) + (frames.allocated ?? 0n), 0n);
  return {
    worker: worker.plan.id,
    cpu: worker.plan.cpu,
    state: worker.alive ? STATE_NAMES[worker.state] : 'dead',
    counters: worker.memory.counters(),
    packets,
  };
}
