/** Watches the workers of a run: hung ones are ended, failed ones and their frames brought back. Control half. */
import { COMMAND, STATE } from '../../workers/control.ts';
import type { Report } from '../../workers/plan.ts';
import { fromPlainError, WorkerError } from '../errors.ts';
import type { Pktio } from '../pktio/types.ts';
import { DROP } from '../queue.ts';
import type { Crew, CrewJob, Means } from './crew.ts';
import type { RunEvents } from './results.ts';
import { paused, sweep } from './sweep.ts';
import type { Worker } from './worker.ts';

/** How often heartbeats are looked at, in milliseconds. */
const LOOK_MS = 100;

type Emit = <E extends keyof RunEvents>(event: E, ...args: RunEvents[E]) => void;

/** An answer that somebody waits for. */
interface Pending {
  readonly worker: Worker;
  resolve(error: Error | undefined): void;
}

/** The supervisor of one run. */
export class Supervisor {
  /** Frames whose holder died, not yet swept up. */
  missing = 0;
  private readonly means: Means;
  private readonly crew: () => Crew;
  private readonly emit: Emit;
  private readonly timers = new Set<NodeJS.Timeout>();
  private readonly beats = new Map<Worker, { heartbeat: number; looks: number }>();
  private readonly pending = new Map<number, Pending>();
  private readonly look: NodeJS.Timeout;
  private stopped = false;
  private sweeping = false;
  private lastMail = 0;

  constructor(means: Means, crew: () => Crew, emit: Emit) {
    this.means = means;
    this.crew = crew;
    this.emit = emit;
    this.look = setInterval(() => this.checkHeartbeats(), LOOK_MS);
  }

  /** No more restarts. */
  stop(): void {
    this.stopped = true;
    clearInterval(this.look);
    for (const timer of this.timers) clearTimeout(timer);
    for (const { resolve } of this.pending.values()) resolve(new Error('the run has ended'));
    this.pending.clear();
  }

  /** Puts `job.app` into the job's worker. Resolves to the error that this ended with, if any. */
  async place(job: CrewJob): Promise<Error | undefined> {
    const error = await this.ask(job, (id) => ({ type: 'replace', id, job: job.index, app: job.app }));
    if (error === undefined && job.state === 'down') job.state = 'running';
    return error;
  }

  /** Takes the job out of its worker for good. */
  async detach(job: CrewJob): Promise<void> {
    if (job.state === 'detached') return;
    job.state = 'detached';
    if (job.worker.alive) await this.ask(job, (id) => ({ type: 'detach', id, job: job.index }));
    this.missing += job.worker.memory.writeOff(job.index, DROP.stopped);
  }

  private ask(job: CrewJob, mail: (id: number) => Parameters<Worker['post']>[0]): Promise<Error | undefined> {
    const id = ++this.lastMail;
    const answer = new Promise<Error | undefined>((resolve) => this.pending.set(id, { worker: job.worker, resolve }));
    job.worker.post(mail(id));
    return answer;
  }

  /** A worker reports. */
  report(worker: Worker, report: Report): void {
    if (report.type === 'ready') {
      for (const job of this.jobsOf(worker)) job.counterNames = report.counterNames[job.index];
    } else if (report.type === 'threw') {
      const job = this.jobsOf(worker).find(({ index }) => index === report.job);
      if (job !== undefined) this.jobFailed(job, fromPlainError(report.error));
    } else {
      const job = this.jobsOf(worker).find(({ index }) => index === report.job);
      if (job !== undefined && report.type === 'replaced') job.counterNames = report.counterNames;
      const error = report.type === 'replaced' && report.error !== undefined ? fromPlainError(report.error) : undefined;
      this.pending.get(report.id)?.resolve(error);
      this.pending.delete(report.id);
    }
  }

  /** A worker's thread has ended unasked. */
  died(worker: Worker, error: Error): void {
    this.means.frames.unlock(worker.plan.id);
    for (const job of this.jobsOf(worker)) this.writeOff(job);
    for (const [id, asked] of this.pending) {
      if (asked.worker !== worker) continue;
      this.pending.delete(id);
      asked.resolve(error);
    }
    this.beats.delete(worker);
    for (const { queues } of this.means.ports.values()) for (const queue of queues.tx) this.settle(worker, queue);
    if (this.stopped) return;
    const retryMs = this.jobsOf(worker)[0].backoff.next();
    this.emit('worker-failed', worker.plan.id, error, retryMs);
    this.later(retryMs, () => void this.restartWorker(worker));
  }

  private settle(worker: Worker, queue: { plan: { counters: number }; settle(): void }): void {
    // The worker was the counters' one writer; now we are.
    const mine = worker.plan.jobs.some((job) => job.tx.some((tx) => tx.counters === queue.plan.counters));
    if (mine) queue.settle();
  }

  private async restartWorker(worker: Worker): Promise<void> {
    try {
      await worker.start();
    } catch (error) {
      // It did not come up again: as if it had died once more.
      this.died(worker, error as Error);
      return;
    }
    if (this.stopped) return;
    worker.command(COMMAND.run);
    for (const job of this.jobsOf(worker)) if (job.state === 'down') job.state = 'running';
    this.emit('worker-restarted', worker.plan.id);
    await this.sweep();
  }

  private jobFailed(job: CrewJob, error: Error): void {
    const failed = new WorkerError(
      'APP_THREW',
      {
        what: `application ${job.app.module}#${job.app.export} in worker ${job.worker.plan.id}`,
        why: error.message,
        fix: 'mend the application; its frames were given back, the other queues go on',
      },
      { cause: error },
    );
    this.writeOff(job);
    const retryMs = job.backoff.next();
    this.emit('job-failed', this.crew().jobs.indexOf(job), failed, retryMs);
    this.later(retryMs, () => void this.restartJob(job));
  }

  private async restartJob(job: CrewJob): Promise<void> {
    if (!job.worker.alive || job.state !== 'down') return;
    const error = await this.place(job);
    if (this.stopped) return;
    if (error !== undefined) {
      if (job.worker.alive) this.jobFailed(job, error);
      return;
    }
    this.emit('job-restarted', this.crew().jobs.indexOf(job));
    await this.sweep();
  }

  private writeOff(job: CrewJob): void {
    if (job.state === 'detached') return;
    job.state = 'down';
    job.failures++;
    this.missing += job.worker.memory.writeOff(job.index, DROP.app_died);
  }

  private async sweep(): Promise<void> {
    if (this.missing === 0 || this.sweeping || this.stopped) return;
    this.sweeping = true;
    const found = await paused(this.crew(), () => sweep(this.means, this.crew()));
    this.sweeping = false;
    if (found !== undefined) this.missing -= found;
  }

  /** Empties the rings that `port` sends into, so that it can go away while whoever receives from it goes on. */
  async empty(port: Pktio): Promise<void> {
    await paused(this.crew(), () => {
      for (const queue of port.queues.tx) {
        this.missing += [...queue.held()].length;
        queue.clear();
      }
    });
  }

  private checkHeartbeats(): void {
    for (const worker of this.crew().workers) {
      if (!worker.alive || worker.state === STATE.starting) continue;
      const { heartbeat } = worker;
      const last = this.beats.get(worker);
      // Looks are counted, not time: a process that was stopped for a while has not hung.
      const looks = last !== undefined && last.heartbeat === heartbeat ? last.looks + 1 : 0;
      this.beats.set(worker, { heartbeat, looks });
      const { stallMs } = this.means.settings;
      if (looks * LOOK_MS >= stallMs) worker.kill('WORKER_STALLED', `its heartbeat has stood still for ${stallMs} ms`);
    }
  }

  private jobsOf(worker: Worker): CrewJob[] {
    return this.crew().jobs.filter((job) => job.worker === worker);
  }

  private later(ms: number, action: () => void): void {
    if (this.stopped) return;
    const timer = setTimeout(() => {
      this.timers.delete(timer);
      action();
    }, ms);
    this.timers.add(timer);
  }
}
