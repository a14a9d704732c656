/** Entry of every worker: attach the plan, run the loop, do what the main thread says. One call is one worker's life. */
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { setImmediate } from 'node:timers/promises';
import { type PlainError, toPlainError, WorkerError } from '../lib/errors.ts';
import type { BurstFunction } from '../lib/queue.ts';
import { loadNative, type Native } from '../native/index.ts';
import { attach, type Attached, type Job } from './attach.ts';
import { COMMAND, CONTROL, STATE } from './control.ts';
import { type Loop, makeLoop } from './loop.ts';
import type { AppName, Mail, Report, WorkerPlan, WorkerResult } from './plan.ts';

/** What the pool's task is called with. */
export interface WorkerTask {
  readonly plan: WorkerPlan;
  readonly port: MessagePort;
}

/** Slices between looks at the event loop while a module is being imported. */
const SLICES_WHILE_LOADING = 64;
const SLICES = 2 ** 30;
/** Longest wait for the next command while standing still, in milliseconds. */
const STANDSTILL_MS = 100;
/** Sleeps may end this late, in nanoseconds: the kernel's default would be 50,000. */
const TIMER_SLACK_NS = 1000;

const idle: BurstFunction = () => 0;

function pin(native: Native, cpu: number): void {
  try {
    native.setAffinity(cpu);
    native.setTimerSlack(TIMER_SLACK_NS);
  } catch (cause) {
    throw new WorkerError(
      'CPU_NOT_ALLOWED',
      {
        what: `pinning a worker to cpu ${cpu}`,
        why: (cause as Error).message,
        fix: 'name cpus that exist and that the process may use ("linecard doctor" lists them)',
      },
      { cause, detail: { cpu } },
    );
  }
}

/** A worker's life: its jobs, its loop, and what is being loaded meanwhile. */
class Worker {
  private readonly plan: WorkerPlan;
  private readonly port: MessagePort;
  private readonly words: Int32Array;
  private readonly attached: Attached;
  private readonly loop: Loop;
  private readonly jobs: (Job | undefined)[] = [];
  private readonly detached = new Set<number>();
  private quiescent = false;
  private loading = 0;

  constructor(plan: WorkerPlan, port: MessagePort, attached: Attached, loop: Loop) {
    this.plan = plan;
    this.port = port;
    this.attached = attached;
    this.loop = loop;
    this.words = new Int32Array(plan.wasm.buffer, plan.control, CONTROL.clock);
  }

  /** Makes all jobs. Throws what the first bad one throws. */
  async prepare(): Promise<void> {
    for (const job of this.plan.jobs) this.jobs.push(await this.attached.makeJob(job, job.app, 0));
    this.arrange();
    this.send({ type: 'ready', counterNames: this.jobs.map((job) => job?.counterNames ?? []) });
  }

  /** Runs until the main thread says leave. */
  async live(): Promise<void> {
    for (;;) {
      const command = Atomics.load(this.words, CONTROL.command);
      if (command !== this.words[CONTROL.acknowledged]) this.obey(command);
      if (command === COMMAND.leave) break;
      if (command === COMMAND.prepare || command === COMMAND.pause) {
        this.standStill(command);
        continue;
      }
      const reason = this.loop.run(this.loading > 0 ? SLICES_WHILE_LOADING : SLICES);
      if (reason === 'threw') this.setAside();
      if (reason === 'mail') this.readMail();
      // Let imports and promises that the mail began go on.
      if (reason !== 'command') await setImmediate();
    }
    for (const tx of this.loop.work.tx) tx.reclaim();
    Atomics.store(this.words, CONTROL.state, STATE.left);
  }

  private obey(command: number): void {
    if (command === COMMAND.quiesce && !this.quiescent) {
      this.quiescent = true;
      this.arrange();
      for (const rx of this.loop.work.rx) rx.quiesce();
    }
    Atomics.store(this.words, CONTROL.state, command === COMMAND.pause ? STATE.paused : STATE.live);
    Atomics.store(this.words, CONTROL.acknowledged, command);
  }

  private standStill(command: number): void {
    const state = command === COMMAND.prepare ? STATE.ready : STATE.paused;
    Atomics.store(this.words, CONTROL.state, state);
    Atomics.wait(this.words, CONTROL.command, command, STANDSTILL_MS);
    Atomics.add(this.words, CONTROL.heartbeat, 1);
  }

  /** What the loop works on: nothing is called for a job that threw, or that makes packets while quiescent. */
  private arrange(): void {
    const { attached, plan, jobs, detached } = this;
    const attachedJobs = plan.jobs.filter((_, index) => !detached.has(index));
    this.loop.work = {
      polls: jobs.map((job) => (job === undefined || (this.quiescent && job.plan.rx === null) ? idle : job.poll)),
      rx: attachedJobs.flatMap((job) => attached.rxOf(job) ?? []),
      tx: [...new Set(attachedJobs.flatMap((job) => attached.txOf(job)))],
    };
  }

  private setAside(): void {
    const { job, error } = this.loop.thrown;
    this.jobs[job] = undefined;
    this.arrange();
    this.send({ type: 'threw', job, error: toPlainError(error) });
  }

  private readMail(): void {
    const posted = Atomics.load(this.words, CONTROL.posted);
    for (;;) {
      const message = receiveMessageOnPort(this.port);
      if (message === undefined) break;
      const mail = message.message as Mail;
      if (mail.type === 'replace') void this.replace(mail.job, mail.app, mail.id);
      else this.detach(mail.job, mail.id);
    }
    Atomics.store(this.words, CONTROL.read, posted);
  }

  private detach(job: number, id: number): void {
    this.jobs[job] = undefined;
    this.detached.add(job);
    this.arrange();
    this.send({ type: 'detached', id, job });
  }

  private async replace(index: number, app: AppName, id: number): Promise<void> {
    this.loading++;
    let error: PlainError | undefined;
    try {
      const job = await this.attached.makeJob(this.plan.jobs[index], app, id);
      if (!this.detached.has(index)) this.jobs[index] = job;
      this.arrange();
    } catch (thrown) {
      error = toPlainError(thrown);
    }
    this.loading--;
    const counterNames = this.jobs[index]?.counterNames ?? [];
    this.send({ type: 'replaced', id, job: index, counterNames, ...(error === undefined ? {} : { error }) });
  }

  private send(report: Report): void {
    this.port.postMessage(report);
  }
}

/** The pool's task: resolves when the worker has left its loop. Errors come back as data, which keeps their codes. */
export default async function worker({ plan, port }: WorkerTask): Promise<WorkerResult> {
  const native = loadNative();
  try {
    pin(native, plan.cpu);
    const attached = await attach(plan, native);
    const loop = makeLoop(plan, attached.clock, native);
    const self = new Worker(plan, port, attached, loop);
    await self.prepare();
    await self.live();
    return { reason: 'left' };
  } catch (error) {
    return { reason: 'failed', error: toPlainError(error) };
  } finally {
    port.close();
  }
}
