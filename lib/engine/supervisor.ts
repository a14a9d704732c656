/** Watches the workers of a run: hung ones are ended, failed ones and failed applications started again. Control half. */
import { COMMAND } from '../../workers/control.ts';
import type { AppName, Mail, Report } from '../../workers/plan.ts';
import { fromPlainError, LinecardError } from '../errors.ts';
import { Backoff } from './backoff.ts';
import type { Crew, CrewJob, Means } from './crew.ts';
import { settleDeath } from './death.ts';
import { type Answer, DETACH_MS, DriverExchange, GONE_MS } from './driver-exchange.ts';
import { ended, gone, repeatedly, stuck, threw } from './failures.ts';
import { Heartbeats } from './heartbeats.ts';
import type { RunEvents } from './results.ts';
import type { Salvage } from './salvage.ts';
import type { Worker } from './worker.ts';

/** How often a replacement is tried again whose worker died meanwhile. */
const ATTEMPTS = 3;

type Tell = <E extends keyof RunEvents>(event: E, ...args: RunEvents[E]) => void;

interface Asked {
  readonly worker: Worker;
  resolve(answer: Answer): void;
}

/** What is known of a worker besides itself. */
interface Care {
  readonly worker: Worker;
  readonly backoff: Backoff;
  restart: NodeJS.Timeout | undefined;
  starting: Promise<Error | undefined> | undefined;
}

/** The supervisor of one run. */
export class Supervisor {
  private readonly means: Means;
  private readonly crew: () => Crew;
  private readonly salvage: Salvage;
  private readonly tell: Tell;
  private readonly cares = new Map<Worker, Care>();
  private readonly asked = new Map<number, Asked>();
  private readonly retries = new Set<NodeJS.Timeout>();
  /** The end of the queue of each job: its application is exchanged by one caller at a time. */
  private readonly turns = new Map<CrewJob, Promise<unknown>>();
  /** Of jobs that are taken out, or have been: whether their queues are certainly left. */
  private readonly departures = new Map<CrewJob, Promise<boolean>>();
  private readonly heartbeats: Heartbeats;
  /** Exchanges of drivers. */
  readonly drivers: DriverExchange;
  private begun = false;
  private stopped = false;
  /** Why a worker died before all of them were up. */
  private early: Error | undefined;
  private lastMail = 0;
  private lastVersion = 0;

  constructor(means: Means, crew: () => Crew, salvage: Salvage, tell: Tell) {
    this.means = means;
    this.crew = crew;
    this.salvage = salvage;
    this.tell = tell;
    this.drivers = new DriverExchange({
      crew,
      ask: (worker, mail) => this.ask(worker, mail),
      starting: (worker) => this.careOf(worker).starting,
      inTurn: (job, action) => this.inTurn(job, action),
      nextVersion: () => ++this.lastVersion,
    });
    const { stallMs } = means.settings;
    this.heartbeats = new Heartbeats(() => crew().workers, stallMs, {
      hangs: (worker) => worker.kill('WORKER_STALLED', `its heartbeat has stood still for ${stallMs} ms`),
      stuck: (worker) => tell('worker-failed', worker.id, stuck(worker), Number.POSITIVE_INFINITY),
    });
  }

  /** All workers are up: from now on they are watched, and started again. Throws if one of them has died meanwhile. */
  begin(): void {
    if (this.early !== undefined) throw this.early;
    this.begun = true;
    this.heartbeats.start();
  }

  /** Nothing is started again from now on. */
  stop(): void {
    this.stopped = true;
    this.heartbeats.stop();
    for (const { restart } of this.cares.values()) clearTimeout(restart);
    for (const timer of this.retries) clearTimeout(timer);
    for (const { resolve } of this.asked.values()) resolve({ error: ended() });
    this.asked.clear();
  }

  /** Puts `app` into `job`, starting its worker with it if that is down. Throws what stands in the way; then nothing changes. */
  async replace(job: CrewJob, app: AppName): Promise<void> {
    const error = await this.inTurn(job, () => this.change(job, { app, version: ++this.lastVersion }));
    if (error !== undefined) throw error;
  }

  /** Takes `job` out of its worker for good. Resolves to whether its queues are certainly left. */
  detach(job: CrewJob): Promise<boolean> {
    const known = this.departures.get(job);
    if (known !== undefined) return known;
    job.leaving = true;
    const departure = this.leave(job).finally(() => {
      job.state = 'detached';
    });
    this.departures.set(job, departure);
    return departure;
  }

  private async leave({ worker, index }: CrewJob): Promise<boolean> {
    if (!worker.alive) return true;
    const answered = this.ask(worker, (id) => ({ type: 'detach', id, job: index }));
    if (await worker.within(answered, DETACH_MS)) return true;
    worker.kill('WORKER_STALLED', `it did not let go of a port within ${DETACH_MS} ms`);
    return worker.gone(DETACH_MS);
  }

  /** A worker reports. */
  report(worker: Worker, report: Report): void {
    const jobs = this.jobsOf(worker);
    if (report.type === 'ready') {
      for (const job of jobs) this.placed(job, report.counterNames[job.index]);
      return;
    }
    const error = 'error' in report && report.error !== undefined ? fromPlainError(report.error) : undefined;
    if (report.type === 'threw') {
      this.jobFailed(jobs[report.job], error as Error);
      return;
    }
    if (report.type === 'replaced' && error === undefined) this.placed(jobs[report.job], report.counterNames);
    if (report.type === 'detached') jobs[report.job].state = 'detached';
    this.salvage.look();
    this.asked.get(report.id)?.resolve({ error });
    this.asked.delete(report.id);
  }

  /** A worker's thread has ended unasked. */
  died(worker: Worker, error: Error): void {
    if (!this.begun) {
      this.early ??= error;
      return;
    }
    const jobs = this.jobsOf(worker).filter((job) => job.state !== 'detached');
    this.means.frames.unlock(worker.id);
    settleDeath(this.means.arena.memory, worker, jobs);
    for (const job of jobs) {
      job.state = job.leaving ? 'detached' : 'down';
      job.failures++;
    }
    this.salvage.look(worker);
    for (const [id, asked] of this.asked) {
      if (asked.worker !== worker) continue;
      this.asked.delete(id);
      asked.resolve({ died: true });
    }
    const care = this.careOf(worker);
    const restarts = !this.stopped && jobs.some((job) => job.state === 'down');
    const retryMs = restarts ? care.backoff.next() : Number.POSITIVE_INFINITY;
    if (restarts) care.restart = setTimeout(() => void this.restart(care), retryMs);
    this.tell('worker-failed', worker.id, error, retryMs);
  }

  private async change(job: CrewJob, next: { app: AppName; version: number }): Promise<Error | undefined> {
    const { worker } = job;
    const care = this.careOf(worker);
    for (let attempt = 0; attempt < ATTEMPTS; attempt++) {
      if (this.stopped) return ended();
      if (job.leaving) return gone(job);
      await care.starting;
      if (worker.hears) {
        const answer = await this.ask(worker, (id) => ({ type: 'replace', id, job: job.index, ...next }));
        if (answer.died) continue;
        if (answer.error === undefined) Object.assign(job, next);
        return answer.error;
      }
      if (!(await worker.gone(GONE_MS))) break;
      if (!worker.alive && care.starting === undefined && !this.stopped) return this.restartWith(care, job, next);
    }
    return repeatedly(job);
  }

  /** The worker is down, perhaps because of the very application that is to be replaced. */
  private async restartWith(
    care: Care,
    job: CrewJob,
    next: { app: AppName; version: number },
  ): Promise<Error | undefined> {
    const { app, version } = job;
    Object.assign(job, next);
    const error = (await this.restart(care)) ?? (job.state === 'down' ? job.failure : undefined);
    if (error !== undefined) Object.assign(job, { app, version });
    return error;
  }

  private restart(care: Care): Promise<Error | undefined> {
    clearTimeout(care.restart);
    care.starting ??= this.start(care.worker).finally(() => {
      care.starting = undefined;
    });
    return care.starting;
  }

  private async start(worker: Worker): Promise<Error | undefined> {
    try {
      if (this.drivers.underWay !== undefined) await this.drivers.underWay; // it is about to change the worker's queues
      await this.salvage.lookNow();
      if (this.stopped) return ended();
      await worker.start(this.crew().planOf(worker, true));
    } catch (error) {
      // It did not come up: as if it had died once more. A thread that is stuck has not ended; that is waited for.
      if (worker.alive) worker.whenEnded(() => this.died(worker, error as Error));
      else this.died(worker, error as Error);
      return error as Error;
    }
    if (this.stopped) return undefined; // whoever stopped us tells it to leave
    worker.command(COMMAND.run);
    this.salvage.look();
    this.tell('worker-restarted', worker.id);
    return undefined;
  }

  private jobFailed(job: CrewJob, error: Error): void {
    const failed = error instanceof LinecardError ? error : threw(job, error);
    job.failure = failed;
    job.failures++;
    job.state = 'down';
    this.salvage.look();
    const retryMs = this.stopped ? Number.POSITIVE_INFINITY : job.backoff.next();
    if (!this.stopped) this.retry(retryMs, () => void this.inTurn(job, () => this.restartJob(job)));
    this.tell('job-failed', job.number, failed, retryMs);
  }

  private async restartJob(job: CrewJob): Promise<void> {
    const { worker, app, version } = job;
    await this.salvage.lookNow();
    // A worker that has died meanwhile is started with all its jobs.
    if (this.stopped || job.leaving || job.state !== 'down' || !worker.hears) return;
    const { error, died } = await this.ask(worker, (id) => ({ type: 'replace', id, job: job.index, app, version }));
    if (died || this.stopped) return;
    if (error !== undefined) this.jobFailed(job, error);
    else this.tell('job-restarted', job.number);
  }

  private placed(job: CrewJob, counterNames: readonly string[] | null): void {
    if (counterNames === null) return;
    job.counterNames = counterNames;
    if (job.state === 'down') job.state = 'running';
  }

  private ask(worker: Worker, mail: (id: number) => Mail): Promise<Answer> {
    const id = ++this.lastMail;
    const answer = new Promise<Answer>((resolve) => this.asked.set(id, { worker, resolve }));
    worker.post(mail(id));
    return answer;
  }

  private inTurn<T>(job: CrewJob, action: () => Promise<T>): Promise<T> {
    const mine = (this.turns.get(job) ?? Promise.resolve()).then(action);
    this.turns.set(
      job,
      mine.catch(() => {}),
    );
    return mine;
  }

  private retry(ms: number, action: () => void): void {
    const timer = setTimeout(() => {
      this.retries.delete(timer);
      action();
    }, ms);
    this.retries.add(timer);
  }

  private careOf(worker: Worker): Care {
    const known = this.cares.get(worker);
    if (known !== undefined) return known;
    const backoff = new Backoff(this.means.settings.restartMs);
    const care: Care = { worker, backoff, restart: undefined, starting: undefined };
    this.cares.set(worker, care);
    return care;
  }

  /** By their numbers in the worker. */
  private jobsOf(worker: Worker): CrewJob[] {
    const mine = this.crew().jobs.filter((job) => job.worker === worker);
    return mine.sort((a, b) => a.index - b.index);
  }
}
