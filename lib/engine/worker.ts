/** One worker thread as the main thread sees it: start, command, mail, kill. Control half. */
import { once } from 'node:events';
import { setTimeout as sleep } from 'node:timers/promises';
import { MessageChannel, type MessagePort, type Worker as Thread } from 'node:worker_threads';
import { Piscina } from 'piscina';
import type { Native } from '../../native/index.ts';
import { COMMAND, CONTROL, commandOf, orderWord, STATE } from '../../workers/control.ts';
import type { Mail, Report, WorkerPlan, WorkerResult } from '../../workers/plan.ts';
import { inTime } from '../deadline.ts';
import { fromPlainError, WorkerError } from '../errors.ts';
import { inFairTime, until } from './until.ts';
import type { WorkerMemory } from './worker-memory.ts';

/** How long a worker may take to load its modules and warm up, in milliseconds. */
const READY_MS = 30_000;
/** How long a worker may take to leave that is not wanted any more. */
const DISMISS_MS = 2000;
/** How long `start` waits for a thread to end that was killed before it was ready. */
const STUCK_MS = 3000;

/** What a worker tells, besides its counters. */
export interface WorkerListener {
  report(report: Report): void;
  /** Its thread has ended, and not because it was told to leave. Not called when `start` rejects with that error. */
  died(error: Error): void;
}

/** A pool of one thread, so that it is known which thread a task runs in: it is replaced when it ends. */
function makePool(heapMb: number): Piscina {
  const here = import.meta.url;
  const pool = new Piscina({
    filename: new URL(`../../workers/main.${here.endsWith('.ts') ? 'ts' : 'js'}`, here).href,
    minThreads: 1,
    maxThreads: 1,
    concurrentTasksPerWorker: 1,
    idleTimeout: Number.POSITIVE_INFINITY,
    // The worker never looks at the pool while it runs: nothing to be gained by waiting for its messages.
    atomics: 'disabled',
    resourceLimits: { maxOldGenerationSizeMb: heapMb },
  });
  // A thread that ends between two tasks is replaced; whoever starts a task on it hears of it there.
  pool.on('error', () => {});
  return pool;
}

/** One worker. It can be started again after its thread has ended. */
export class Worker {
  readonly id: number;
  readonly cpu: number;
  readonly memory: WorkerMemory;
  /** From `start` until the thread's task is over and the thread, if it was killed, has really ended. */
  alive = false;
  /** Eventfd by which it is woken. */
  readonly wakeFd: number;
  private readonly native: Native;
  private readonly listener: WorkerListener;
  private readonly pool: Piscina;
  private port: MessagePort | undefined;
  private abort = new AbortController();
  private ended: Promise<Error | undefined> = Promise.resolve(undefined);
  /** What it is to do when it does not stand still for a moment. */
  private wanted: number = COMMAND.prepare;
  private pausing = false;
  private orders = 0;
  private isReady = false;
  private doomed: Error | undefined;

  constructor(
    place: { readonly id: number; readonly cpu: number; readonly wakeFd: number },
    memory: WorkerMemory,
    means: { readonly native: Native; readonly heapMb: number },
    listener: WorkerListener,
  ) {
    this.id = place.id;
    this.cpu = place.cpu;
    this.wakeFd = place.wakeFd;
    this.memory = memory;
    this.native = means.native;
    this.listener = listener;
    this.pool = makePool(means.heapMb);
  }

  /** One of `STATE`. */
  get state(): number {
    return Atomics.load(this.memory.words, CONTROL.state);
  }

  get heartbeat(): number {
    return Atomics.load(this.memory.words, CONTROL.heartbeat);
  }

  /** It waits in the kernel for an interrupt, or is about to: for `LONGEST_SLEEP_MS` at the most. */
  get asleep(): boolean {
    return this.state === STATE.asleep;
  }

  /** The kernel's number of its thread, 0 before that has said so. */
  get tid(): number {
    return Atomics.load(this.memory.words, CONTROL.tid);
  }

  /** It runs its loop, or stands still, and hears what it is told. */
  get hears(): boolean {
    return this.alive && this.doomed === undefined && this.isReady;
  }

  /** It has been killed. While it is alive, its thread has not ended yet. */
  get killed(): boolean {
    return this.doomed !== undefined;
  }

  /** Starts the thread; resolves when its queues are attached and warm. Rejects with what went wrong there. */
  async start(plan: WorkerPlan): Promise<void> {
    this.memory.reset();
    this.wanted = COMMAND.prepare;
    this.pausing = false;
    this.doomed = undefined;
    this.alive = true;
    this.abort = new AbortController();
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    this.isReady = false;
    const ready = new Promise<void>((resolve) => {
      port1.on('message', (report: Report) => {
        this.listener.report(report);
        if (report.type === 'ready') resolve();
      });
    }).then(() => {
      this.isReady = true;
    });
    const { signal } = this.abort;
    const task = this.pool.run({ plan, port: port2 }, { transferList: [port2], signal }) as Promise<WorkerResult>;
    this.ended = this.follow(task, this.pool.threads[0]);
    const late = setTimeout(() => this.kill('WORKER_START', `it was not ready after ${READY_MS} ms`), READY_MS);
    // A thread that is killed while it is in a system call may never end: nobody waits for it longer than this.
    const stuck = once(signal, 'abort')
      .then(() => sleep(STUCK_MS))
      .then(() => this.doomed);
    const failure = await Promise.race([ready, this.ended, stuck]);
    clearTimeout(late);
    if (!this.isReady) throw failure ?? this.error('WORKER_EXITED', 'it returned before it was ready');
    port1.unref();
    void this.ended.then((error) => {
      if (error !== undefined) this.listener.died(error);
    });
  }

  /** Resolves when the task is over, to the error that ended it. */
  private async follow(task: Promise<WorkerResult>, thread: Thread | undefined): Promise<Error | undefined> {
    let failure: Error | undefined;
    try {
      const { error } = await task;
      failure = error === undefined ? undefined : fromPlainError(error);
    } catch (cause) {
      this.doomed ??= this.exitError(cause);
      failure = this.doomed;
      // The task rejects before the thread has ended: until then it may still write to what will be another's.
      await thread?.terminate();
    }
    this.alive = false;
    this.port?.close();
    return failure;
  }

  /** Tells the worker to do something; it does at its next burst boundary. */
  command(command: number): void {
    this.wanted = command;
    if (!this.pausing) this.say(command);
  }

  /** Has it stand still until `resume`, whatever it is told meanwhile. */
  pause(): void {
    this.pausing = true;
    this.say(COMMAND.pause);
  }

  resume(): void {
    this.pausing = false;
    this.say(this.wanted);
  }

  /** Resolves to true when the worker has acted on `command` or is dead, false when it has not within `ms`. */
  acted(command: number, ms: number): Promise<boolean> {
    const { words } = this.memory;
    return until(() => {
      const word = Atomics.load(words, CONTROL.command);
      return !this.alive || (commandOf(word) === command && Atomics.load(words, CONTROL.acknowledged) === word);
    }, ms);
  }

  post(mail: Mail): void {
    this.port?.postMessage(mail);
    Atomics.add(this.memory.words, CONTROL.posted, 1);
    this.wake();
  }

  /** Ends the thread wherever it is. The last resort: its queues stay as they are. */
  kill(code: string, why: string): void {
    if (!this.alive || this.doomed !== undefined) return;
    this.doomed = this.error(code, why, 'see the application for endless loops and waits');
    this.abort.abort();
    this.wake(); // asleep, it would not hear of it before its time is up
  }

  /**
   * Tells it to leave; ends its thread if it has not within some seconds. Not at once: what a thread has open while it
   * loads a module would stay open.
   */
  async dismiss(why: string): Promise<void> {
    this.command(COMMAND.leave);
    if (!(await this.gone(DISMISS_MS))) this.kill('RUN_CANCELLED', why);
  }

  /** Resolves to true when it is not alive any more, to false when it still is after `ms` milliseconds of its own. */
  gone(ms: number): Promise<boolean> {
    return this.within(this.ended, ms);
  }

  /**
   * Resolves to true when `promise` does, which the worker is to bring about, to false after `ms` milliseconds of its own:
   * those for which the machine does not let it run count less.
   */
  within(promise: Promise<unknown>, ms: number): Promise<boolean> {
    return inFairTime(promise, ms, this.tid);
  }

  /** Ends the idle thread. Returns false when a thread that was killed has not ended: it is stuck in a system call. */
  async close(ms: number): Promise<boolean> {
    const destroyed = await inTime(this.pool.destroy(), ms);
    // When a thread ends late, the pool starts another in its place, destroyed or not.
    if (this.alive) this.whenEnded(() => void this.pool.destroy());
    return destroyed && !this.alive;
  }

  /** Calls `action` when the thread has ended. */
  whenEnded(action: () => void): void {
    void this.ended.then(action);
  }

  /** Wakes it when it sleeps. */
  wake(): void {
    Atomics.notify(this.memory.words, CONTROL.command);
    this.native.notify(this.wakeFd);
  }

  private say(command: number): void {
    Atomics.store(this.memory.words, CONTROL.command, orderWord(++this.orders, command));
    this.wake();
  }

  private error(code: string, why: string, fix = 'run it again', cause?: unknown): WorkerError {
    const what = `worker ${this.id} on cpu ${this.cpu}`;
    return new WorkerError(code, { what, why, fix }, { cause, detail: { worker: this.id, cpu: this.cpu } });
  }

  private exitError(cause: unknown): WorkerError {
    const { code, message } = cause as { code?: string; message: string };
    if (code === 'ERR_WORKER_OUT_OF_MEMORY') {
      return this.error('WORKER_OUT_OF_MEMORY', message, 'mend the application, or raise heapMb', cause);
    }
    if (message.startsWith('worker exited with code')) {
      return this.error('WORKER_EXITED', message, 'see whether the application calls process.exit', cause);
    }
    return this.error('WORKER_THREW', message, 'see what the application does besides its burst function', cause);
  }
}
