/** A run: jobs on workers, from the first packet to the balanced ledger. Control half. */

import { EventEmitter } from 'node:events';
import { COMMAND } from '../../workers/control.ts';
import { PlanError, PortError } from '../errors.ts';
import type { Pktio } from '../pktio/types.ts';
import { everyMs, type Pulse } from '../pulse.ts';
import { resolveApp } from './apps.ts';
import { type Crew, type CrewJob, type Means, makeCrew, NO_CREW } from './crew.ts';
import { drain, halt } from './ending.ts';
import { stuck } from './failures.ts';
import { type Ledger, settle, unknown } from './ledger.ts';
import { jobStats, type RunEvents, type RunResult, type RunStats, workerStats } from './results.ts';
import { RunPorts } from './run-ports.ts';
import { Salvage } from './salvage.ts';
import { Standstill } from './standstill.ts';
import { Supervisor } from './supervisor.ts';
import type { AppSpec, Assignment, JobSpec } from './types.ts';
import type { Worker } from './worker.ts';

/** How often a run looks whether its sources have ended. */
const FINISHED_MS = 100;
/** Longest wait for all workers to stand still when a port goes away. */
const EMPTY_MS = 500;
/** Errors that are kept for the result. */
const MOST_ERRORS = 100;

/** Jobs at work. Made by `engine.run`. */
export class Run extends EventEmitter<RunEvents> {
  readonly assignment: Assignment;
  /** Resolves when the run has ended: by `stop`, or because all its sources have. */
  readonly done: Promise<RunResult>;
  private readonly means: Means;
  private readonly ports: RunPorts;
  private readonly standstill: Standstill;
  private readonly salvage: Salvage;
  private readonly supervisor: Supervisor;
  private readonly errors: Error[] = [];
  private crew: Crew = NO_CREW;
  private started = 0;
  private ending: Promise<RunResult> | undefined;
  private finish: (result: RunResult) => void = () => {};
  private watch: Pulse | undefined;
  /** Resolves when packets flow, or the start has failed and everything is as before. */
  private begun: Promise<void> = Promise.resolve();
  private cancelled: Error | undefined;
  private last: RunStats | undefined;
  private stuck: readonly Worker[] = [];

  /** Use `engine.run`. */
  constructor(means: Means, assignment: Assignment) {
    super();
    this.means = means;
    this.assignment = assignment;
    const crew = () => this.crew;
    this.ports = new RunPorts({
      error: (port, error, fatal) => this.tell('port-error', port, error, fatal),
      wake: () => {
        for (const worker of this.crew.workers) worker.wake();
      },
      stuck: (port, why) => void this.renew(port, why),
    });
    this.standstill = new Standstill(() => this.crew.workers);
    this.salvage = new Salvage(means, crew, this.ports, this.standstill);
    this.supervisor = new Supervisor(means, crew, this.salvage, (event, ...args) => this.tell(event, ...args));
    this.done = new Promise((resolve) => {
      this.finish = resolve;
    });
  }

  /**
   * Starts the ports, then the workers. What was started is stopped again when any of it fails. The engine calls it.
   * @internal
   */
  begin(specs: readonly JobSpec[]): Promise<void> {
    const begun = this.start(specs);
    this.begun = begun.catch(() => {});
    return begun;
  }

  /**
   * Takes back a start that has not come to its end, or stops the run. The engine calls it.
   * @internal
   */
  async abandon(reason: Error): Promise<void> {
    if (this.started === 0) {
      this.cancelled ??= reason;
      for (const worker of this.crew.workers) if (worker.alive) void worker.dismiss(reason.message);
      await this.begun;
    }
    if (this.started > 0) await this.stop();
  }

  /** Threads that could not be ended: they may still write to the arena. */
  get stuckWorkers(): readonly Worker[] {
    return this.stuck.filter((worker) => worker.alive);
  }

  /** Figures of this moment; the last ones when the run has ended. */
  stats(): RunStats {
    if (this.last !== undefined) return this.last;
    const jobs = this.crew.jobs.map(jobStats);
    return {
      seconds: this.started === 0 ? 0 : (performance.now() - this.started) / 1000,
      workers: this.crew.workers.map((worker) => workerStats(worker, jobs)),
      jobs,
      ports: this.ports.stats(),
      framesMissing: this.salvage.missing,
    };
  }

  /**
   * Replaces the application of job `job` (an index into the list that the run was started with) while packets flow.
   * The module is read afresh, what it imports is not. An application that is down is started at once with it. Throws
   * what the application throws when it is made, `NO_SUCH_JOB`, `RUN_ENDED`, `WORKER_DOWN`; the old one goes on then.
   */
  async replace(job: number, app: AppSpec): Promise<void> {
    const target = this.crew.jobs[job];
    if (target === undefined) {
      const why = `there are jobs 0 to ${this.crew.jobs.length - 1}`;
      throw new PlanError('NO_SUCH_JOB', { what: `job ${job}`, why, fix: 'name one of them' });
    }
    await this.supervisor.replace(target, resolveApp(app));
  }

  /** Takes the jobs that use `port` out of their workers, so that the port can go away. The others go on. */
  async detach(port: Pktio): Promise<void> {
    if (this.started === 0) await this.abandon(portGone(port));
    await this.ending;
    if (this.ending !== undefined || !this.ports.here.includes(port)) return;
    const uses = ({ rxPort, txPorts }: CrewJob) => rxPort === port || txPorts.includes(port);
    const left = await Promise.all(this.crew.jobs.filter(uses).map((job) => this.supervisor.detach(job)));
    // Its rings are nobody's by now: on a busy machine it takes long until all stand still. Those of a pair are another port's, too.
    if (left.every(Boolean) && !port.capability.internal) this.empty(port);
    else if (!(await this.standstill.insist(() => this.empty(port), EMPTY_MS))) this.notEmptied(port);
    this.ports.leave(port);
    this.salvage.look();
  }

  /**
   * Has the jobs that use `port` leave its queues while `exchange` makes them anew, which resolves to whether what is in the
   * rings went on. The others go on. Rejects as that does.
   */
  async exchange(port: Pktio, exchange: () => Promise<boolean>): Promise<void> {
    await this.begun;
    await this.ending;
    if (this.ending !== undefined || !this.ports.here.includes(port)) {
      await exchange();
      return;
    }
    const uses = ({ rxPort, txPorts }: CrewJob) => rxPort === port || txPorts.includes(port);
    await this.supervisor.drivers.run(port.name, this.crew.jobs.filter(uses), async () => {
      const offsets = [...port.queues.rx, ...port.queues.tx].flatMap((queue) => [...queue.held()]);
      const release = this.salvage.hold(offsets);
      let kept = false;
      try {
        kept = await exchange();
      } catch (error) {
        kept = port.state === 'started'; // its rings are as they were, and emptied when it goes away
        throw error;
      } finally {
        release();
        if (!kept) this.salvage.leave(undefined, offsets);
      }
    });
  }

  /** The queues of `port` carry nothing any more: they are made anew, or the port is of no use. */
  private async renew(port: Pktio, why: Error): Promise<void> {
    this.tell('port-error', port.name, why, port.renew === undefined);
    if (port.renew === undefined) return;
    try {
      await this.exchange(port, async () => {
        // It may have been stopped or closed while the workers were on their way out.
        if (port.state === 'started') await port.renew?.();
        return false;
      });
    } catch (error) {
      this.tell('port-error', port.name, error as Error, true);
    }
  }

  /** Stops in order: sources, what is under way, workers, ports. Idempotent; resolves to the final figures. */
  stop(): Promise<RunResult> {
    this.ending ??= this.end();
    return this.ending;
  }

  private async start(specs: readonly JobSpec[]): Promise<void> {
    try {
      await this.startPorts();
      this.crew = await makeCrew(this.means, this.assignment, specs, this.supervisor);
      this.requireWanted();
      await this.startWorkers();
      this.requireWanted();
      this.supervisor.begin();
    } catch (error) {
      this.supervisor.stop();
      await halt(this.crew);
      await this.tearDown();
      throw this.cancelled ?? error;
    }
    this.started = performance.now();
    for (const worker of this.crew.workers) worker.command(COMMAND.run);
    const look = () => {
      if (this.sourcesEnded()) void this.stop();
    };
    this.watch = everyMs(FINISHED_MS, look, true);
  }

  private async startPorts(): Promise<void> {
    const jobs = this.assignment.workers.flatMap((worker) => worker.jobs);
    const names = new Set(jobs.flatMap(({ rx, tx }) => [...(rx === null ? [] : [rx]), ...tx].map(({ port }) => port)));
    const { frames, settings } = this.means;
    for (const name of names) {
      const port = this.means.ports.get(name) as Pktio;
      await this.ports.start(port, this.assignment.txQueues[name] ?? 0, { room: frames.room, burst: settings.burst });
      this.requireWanted();
    }
  }

  private async startWorkers(): Promise<void> {
    const { workers, planOf } = this.crew;
    let first: Error | undefined;
    const start = (worker: Worker) =>
      worker.start(planOf(worker, false)).catch((error: Error) => {
        first ??= error;
        for (const other of workers) if (other.alive) void other.dismiss(error.message);
      });
    await Promise.all(workers.map(start));
    if (first !== undefined) throw first;
  }

  private requireWanted(): void {
    if (this.cancelled !== undefined) throw this.cancelled;
  }

  /**
   * True when nothing will bring another packet: all generators are finished, all files have been read, and what other
   * jobs receive comes from those.
   */
  private sourcesEnded(): boolean {
    const sources = this.crew.jobs.filter(({ internal }) => !internal);
    const hasEnded = ({ state, worker, index, rxPort }: CrewJob) =>
      state === 'detached' || worker.memory.finished(index) || rxPort?.finished === true;
    return sources.length > 0 && sources.every(hasEnded);
  }

  private notEmptied({ name }: Pktio): void {
    const why = 'a worker did not stand still, so its rings were not emptied';
    const fix = 'stop the run: its frames are taken back then';
    this.tell('port-error', name, new PortError('PORT_NOT_EMPTIED', { what: `port ${name}`, why, fix }), false);
  }

  /** Takes the frames out of the rings of `port`. They come back to the pool when it has stopped. */
  private empty(port: Pktio): void {
    const queues = [...port.queues.rx, ...port.queues.tx];
    const offsets = queues.flatMap((queue) => [...queue.held()]);
    for (const queue of queues) queue.clear();
    this.salvage.leave(port, offsets);
  }

  private async end(): Promise<RunResult> {
    this.watch?.stop();
    if (this.supervisor.drivers.pending !== undefined) await this.supervisor.drivers.pending;
    this.supervisor.stop();
    await drain(this.crew, this.means.settings.drainMs);
    await halt(this.crew);
    this.salvage.stop();
    await this.standstill.over();
    const { seconds } = this.stats();
    const ledger = await this.balance();
    // Where these figures are read from is given back now.
    this.last = { ...this.stats(), seconds, framesMissing: ledger.lost };
    await this.tearDown();
    const result = { ...this.last, ledger, errors: this.errors };
    this.finish(result);
    this.tell('end', result);
    return result;
  }

  /** Nobody works any more: adds everything up, and counts what is left as stopped. */
  private async balance(): Promise<Ledger> {
    const { jobs, workers } = this.crew;
    try {
      await this.ports.flush();
      this.salvage.settle();
      const ledger = settle(this.means.frames, workers, jobs, this.ports.figures(), this.salvage.missing);
      for (const { worker, index, state } of jobs) if (state !== 'detached') worker.memory.writeOff(index);
      for (const { queues } of this.ports.here) for (const queue of queues.tx) queue.clear();
      return ledger;
    } catch (error) {
      this.keep(error as Error); // a driver that cannot say what it has must not keep the run from ending
      return unknown(this.means.frames, error as Error);
    }
  }

  /** Stops the ports, frees the workers, and takes all frames back into the pool. */
  private async tearDown(): Promise<void> {
    this.salvage.stop();
    await this.ports.stop();
    for (const { memory } of this.crew.workers) memory.emptyStack();
    this.means.frames.sweep(this.salvage.kept);
    const { stuck: threads, errors } = await this.crew.free();
    this.stuck = threads;
    for (const error of [...threads.map(stuck), ...errors]) this.keep(error);
  }

  private keep(error: Error): void {
    if (this.errors.push(error) > MOST_ERRORS) this.errors.shift();
  }

  private tell<E extends keyof RunEvents>(event: E, ...args: RunEvents[E]): void {
    const error = args.find((arg): arg is Error & RunEvents[E][number] => arg instanceof Error);
    if (error !== undefined) this.keep(error);
    try {
      (this.emit as (event: E, ...args: RunEvents[E]) => boolean).call(this, event, ...args);
    } catch (thrown) {
      // A listener's error is its own: it must not keep the workers from being restarted, or the run from ending.
      queueMicrotask(() => {
        throw thrown;
      });
    }
  }
}

function portGone({ name }: Pktio): PlanError {
  const text = { what: 'run', why: `port ${name} was closed before packets flowed`, fix: 'open it again, then run' };
  return new PlanError('PORT_GONE', text, { detail: { port: name } });
}
