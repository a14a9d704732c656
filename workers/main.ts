/** Entry of every worker: attach the plan, run the loop, do what the main thread says. One call is one worker's life. */
import { setImmediate } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { type MessagePort, receiveMessageOnPort } from 'node:worker_threads';
import { toPlainError, WorkerError } from '../lib/errors.ts';
import { loadNative, type Native } from '../native/index.ts';
import { attach } from './attach.ts';
import { COMMAND, CONTROL, commandOf, LONGEST_SLEEP_MS, STATE } from './control.ts';
import { Jobs } from './jobs.ts';
import { type Loop, makeLoop } from './loop.ts';
import type { AppName, Attachment, JobPlan, Mail, Report, WorkerPlan, WorkerResult } from './plan.ts';

/** What the pool's task is called with. */
export interface WorkerTask {
  readonly plan: WorkerPlan;
  readonly port: MessagePort;
}

/** Slices, and the longest sleep in microseconds, between looks at the event loop while a module is being imported. */
const LOADING = { slices: 16, sleepUs: 250 } as const;
/** Otherwise: only commands, mail and errors end a call of the loop. The heartbeat goes on between two sleeps. */
const RUNNING = { slices: 2 ** 30, sleepUs: LONGEST_SLEEP_MS * 1000 } as const;
/** Longest wait for the next command while standing still, in milliseconds. */
const STANDSTILL_MS = 100;
/** Sleeps may end this late, in nanoseconds: the kernel's default would be 50,000. */
const TIMER_SLACK_NS = 1000;

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

/** A worker's life: what it is told to do, and what it says about it. */
class Worker {
  private readonly plan: WorkerPlan;
  private readonly port: MessagePort;
  private readonly words: Int32Array;
  private readonly jobs: Jobs;
  private readonly loop: Loop;
  private quiescent = false;
  /** Applications that are being loaded. */
  private loading = 0;

  constructor(plan: WorkerPlan, port: MessagePort, jobs: Jobs, loop: Loop, tid: number) {
    this.plan = plan;
    this.port = port;
    this.jobs = jobs;
    this.loop = loop;
    this.words = new Int32Array(plan.wasm.buffer, plan.control, CONTROL.clock);
    Atomics.store(this.words, CONTROL.tid, tid);
  }

  /** Makes all jobs. Throws what the first bad one throws, unless the worker ran before. */
  async prepare(): Promise<void> {
    for (const [index, job] of this.plan.jobs.entries()) {
      if (job === null) continue;
      try {
        await this.jobs.place(index, job.app, job.version);
      } catch (error) {
        if (!this.plan.restarted) throw error;
        this.send({ type: 'threw', job: index, error: toPlainError(error) });
      }
    }
    this.arrange();
    // What the factories have left undone, a rejection that nobody handles above all, shows before packets do.
    await setImmediate();
    this.send({ type: 'ready', counterNames: this.jobs.counterNames });
  }

  /** Runs until the main thread says leave. */
  async live(): Promise<void> {
    for (;;) {
      const word = Atomics.load(this.words, CONTROL.command);
      const command = commandOf(word);
      if (word !== this.words[CONTROL.acknowledged]) this.obey(word);
      if (command === COMMAND.leave) break;
      if (command === COMMAND.prepare || command === COMMAND.pause) {
        this.standStill(word);
        continue;
      }
      const { slices, sleepUs } = this.loading > 0 ? LOADING : RUNNING;
      const reason = this.loop.run(slices, sleepUs);
      if (reason === 'threw') this.setAside();
      if (reason === 'mail') this.readMail();
      // Let imports and promises that the mail began go on.
      if (reason !== 'command') await setImmediate();
    }
    for (const tx of this.loop.work.tx) tx.reclaim();
    Atomics.store(this.words, CONTROL.state, STATE.left);
  }

  private obey(word: number): void {
    const command = commandOf(word);
    if (command === COMMAND.quiesce && !this.quiescent) {
      this.quiescent = true;
      this.arrange();
      for (const rx of this.loop.work.rx) rx.quiesce();
    }
    Atomics.store(this.words, CONTROL.state, command === COMMAND.pause ? STATE.paused : STATE.live);
    Atomics.store(this.words, CONTROL.acknowledged, word);
  }

  private standStill(word: number): void {
    const state = commandOf(word) === COMMAND.prepare ? STATE.ready : STATE.paused;
    Atomics.store(this.words, CONTROL.state, state);
    Atomics.wait(this.words, CONTROL.command, word, STANDSTILL_MS);
    Atomics.add(this.words, CONTROL.heartbeat, 1);
  }

  private arrange(): void {
    this.loop.work = this.jobs.work(this.quiescent);
  }

  private setAside(): void {
    const { job, error } = this.loop.thrown;
    if (job < 0) throw error; // no application was running: it was a queue's own code, and the worker cannot go on
    this.jobs.setAside(job);
    this.arrange();
    this.send({ type: 'threw', job, error: toPlainError(error) });
  }

  private readMail(): void {
    const posted = Atomics.load(this.words, CONTROL.posted);
    for (let mail = this.receive(); mail !== undefined; mail = this.receive()) {
      if (mail.type === 'replace') void this.replace(mail.id, mail.job, mail.app, mail.version);
      else if (mail.type === 'detach') this.detach(mail.id, mail.job);
      else if (mail.type === 'park') this.park(mail.id, mail.port, mail.jobs);
      else void this.attach(mail.id, mail.port, mail.jobs);
    }
    Atomics.store(this.words, CONTROL.read, posted);
  }

  private receive(): Mail | undefined {
    return receiveMessageOnPort(this.port)?.message as Mail | undefined;
  }

  private detach(id: number, job: number): void {
    this.jobs.detach(job);
    this.arrange();
    this.send({ type: 'detached', id, job });
  }

  private park(id: number, port: string, jobs: readonly number[]): void {
    this.jobs.park(port, jobs);
    this.arrange();
    this.send({ type: 'parked', id });
  }

  private async attach(id: number, port: string, jobs: readonly Attachment[]): Promise<void> {
    this.loading++;
    try {
      await this.jobs.attach(port, jobs);
      for (const { job, plan, place } of jobs) if (place) await this.replant(job, plan);
      this.arrange();
      if (this.quiescent) for (const rx of this.loop.work.rx) rx.quiesce();
      this.send({ type: 'attached', id });
    } catch (error) {
      this.send({ type: 'attached', id, error: toPlainError(error) });
    } finally {
      this.loading--;
    }
  }

  /** Has a job's application made again. One that cannot be is as if it had thrown: the others go on. */
  private async replant(job: number, { app, version }: JobPlan): Promise<void> {
    try {
      await this.jobs.place(job, app, version);
    } catch (error) {
      this.send({ type: 'threw', job, error: toPlainError(error) });
    }
  }

  private async replace(id: number, job: number, app: AppName, version: number): Promise<void> {
    this.loading++;
    try {
      await this.jobs.place(job, app, version);
      this.arrange();
      this.send({ type: 'replaced', id, job, counterNames: this.jobs.counterNames[job] ?? [] });
    } catch (error) {
      this.send({ type: 'replaced', id, job, counterNames: [], error: toPlainError(error) });
    } finally {
      this.loading--;
    }
  }

  private send(report: Report): void {
    this.port.postMessage(report);
  }
}

/**
 * A job's function shall take its queues' code in, down to the last loop: only there does V8 know all their views by
 * base and length. Its limits (in bytes of bytecode: of one function, of all that is taken in while that goes by how
 * often it runs, and of all in any case) are too low for that by default. They hold for the process, and are read
 * whenever something is compiled (docs/adr/0008-inlining.md).
 */
const INLINING = [
  '--max-inlined-bytecode-size=1500',
  '--max-inlined-bytecode-size-cumulative=10000',
  '--max-inlined-bytecode-size-absolute=20000',
];

/**
 * Node.js 20 and 22 take a thread that ends off their platform before V8 has given up compiling for it. The compiler may need
 * memory then, and that may be the moment at which marking is due: it asks the platform for the thread, to mark in a task
 * there, and the process is aborted ("Assertion failed: (data.first) != nullptr" in GetForegroundTaskRunner). Without such
 * tasks V8 marks as the thread allocates. The flag is the process's, and it is for threads that are ended from outside, too.
 */
const MARKING = '--no-incremental-marking-task';
const FIXED_IN = 24;

/** The pool's task: resolves when the worker has left its loop. Errors come back as data, which keeps their codes. */
export default async function worker({ plan, port }: WorkerTask): Promise<WorkerResult> {
  if (plan.inlining) for (const flag of INLINING) setFlagsFromString(flag);
  if (Number.parseInt(process.versions.node, 10) < FIXED_IN) setFlagsFromString(MARKING);
  const native = loadNative();
  try {
    pin(native, plan.cpu);
    const attached = await attach(plan, native);
    const loop = makeLoop(plan, attached.clock, native);
    const self = new Worker(plan, port, new Jobs(plan, attached), loop, native.tid());
    await self.prepare();
    await self.live();
    return { reason: 'left' };
  } catch (error) {
    return { reason: 'failed', error: toPlainError(error) };
  } finally {
    port.close();
  }
}
