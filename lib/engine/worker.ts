/** One worker thread as the main thread sees it: start, command, mail, kill. Control half. */
import { once } from 'node:events';
import { MessageChannel, type MessagePort } from 'node:worker_threads';
import type { Piscina } from 'piscina';
import type { Native } from '../../native/index.ts';
import { COMMAND, CONTROL, STATE } from '../../workers/control.ts';
import type { Mail, Report, WorkerPlan, WorkerResult } from '../../workers/plan.ts';
import { fromPlainError, WorkerError } from '../errors.ts';
import { until } from './until.ts';
import type { WorkerMemory } from './worker-memory.ts';

/** How long a worker may take to load its modules and warm up, in milliseconds. */
const READY_MS = 30_000;

/** What a worker tells, besides its counters. */
export interface WorkerListener {
  report(report: Report): void;
  /** Its thread has ended without being asked to. */
  died(error: Error): void;
}

/** One worker. It can be started again after its thread has ended. */
export class Worker {
  readonly plan: WorkerPlan;
  readonly memory: WorkerMemory;
  private readonly native: Native;
  private readonly pool: Piscina;
  private readonly listener: WorkerListener;
  private port: MessagePort | undefined;
  private abort = new AbortController();
  private task: Promise<void> = Promise.resolve();
  private leaving = false;
  private why: WorkerError | undefined;
  alive = false;

  constructor(plan: WorkerPlan, memory: WorkerMemory, native: Native, pool: Piscina, listener: WorkerListener) {
    this.plan = plan;
    this.memory = memory;
    this.native = native;
    this.pool = pool;
    this.listener = listener;
  }

  get state(): number {
    return Atomics.load(this.memory.words, CONTROL.state);
  }

  get heartbeat(): number {
    return Atomics.load(this.memory.words, CONTROL.heartbeat);
  }

  /** Starts the thread; resolves when its queues are attached and warm. Rejects with what went wrong there. */
  async start(): Promise<void> {
    const { words } = this.memory;
    Atomics.store(words, CONTROL.command, COMMAND.prepare);
    Atomics.store(words, CONTROL.acknowledged, COMMAND.prepare);
    Atomics.store(words, CONTROL.state, STATE.starting);
    Atomics.store(words, CONTROL.posted, 0);
    Atomics.store(words, CONTROL.read, 0);
    const { port1, port2 } = new MessageChannel();
    this.port = port1;
    this.abort = new AbortController();
    this.why = undefined;
    this.alive = true;
    const { signal } = this.abort;
    const run = this.pool.run({ plan: this.plan, port: port2 }, { transferList: [port2], signal }) as Promise<WorkerResult>;
    const ready = this.ready(port1);
    const ended = run.then(
      (result) => this.end(result.error === undefined ? undefined : fromPlainError(result.error)),
      (error: unknown) => this.end(this.why ?? exitError(this.plan, error)),
    );
    this.task = ended.then(() => {});
    const error = await Promise.race([ready, ended.then((failure) => failure ?? this.returned())]);
    if (error !== undefined) {
      if (this.alive) this.kill('WORKER_START', 'it did not get ready in time');
      await this.task;
      throw error;
    }
    port1.on('message', (report: Report) => this.listener.report(report));
    port1.unref();
    void ended.then((failure) => {
      if (!this.leaving) this.listener.died(failure ?? this.returned());
    });
  }

  private async ready(port: MessagePort): Promise<Error | undefined> {
    const late = AbortSignal.timeout(READY_MS);
    try {
      const [report] = (await once(port, 'message', { signal: late })) as [Report];
      this.listener.report(report);
      return undefined;
    } catch {
      return workerError(this.plan, 'WORKER_START', `it was not ready after ${READY_MS} ms`, 'see whether the application module waits for something');
    }
  }

  private returned(): Error {
    return exitError(this.plan, new Error('it returned'));
  }

  private end(error: Error | undefined): Error | undefined {
    this.alive = false;
    this.port?.close();
    return error;
  }

  /** Tells the worker to do something; it does at its next burst boundary. */
  command(command: number): void {
    if (command === COMMAND.leave) this.leaving = true;
    Atomics.store(this.memory.words, CONTROL.command, command);
    this.wake();
  }

  /** Resolves to true when the worker has acted on `command`, false when it has not within `ms`. */
  acted(command: number, ms: number): Promise<boolean> {
    return until(() => !this.alive || Atomics.load(this.memory.words, CONTROL.acknowledged) === command, ms);
  }

  post(mail: Mail): void {
    this.port?.postMessage(mail);
    Atomics.add(this.memory.words, CONTROL.posted, 1);
    this.wake();
  }

  /** Ends the thread wherever it is. The last resort: its queues stay as they are. */
  kill(code: string, why: string): void {
    this.why = workerError(this.plan, code, why, 'see the application for endless loops and waits');
    this.abort.abort();
  }

  /** Resolves when the thread's task has ended. */
  async gone(): Promise<void> {
    await this.task;
  }

  private wake(): void {
    Atomics.notify(this.memory.words, CONTROL.command);
    this.native.notify(this.plan.wakeFd);
  }
}

function workerError(plan: WorkerPlan, code: string, why: string, fix: string, cause?: unknown): WorkerError {
  const what = `worker ${plan.id} on cpu ${plan.cpu}`;
  return new WorkerError(code, { what, why, fix }, { cause, detail: { worker: plan.id, cpu: plan.cpu } });
}

function exitError(plan: WorkerPlan, cause: unknown): WorkerError {
  const { code, message } = cause as { code?: string; message: string };
  if (code === 'ERR_WORKER_OUT_OF_MEMORY') {
    return workerError(plan, 'WORKER_OUT_OF_MEMORY', message, 'mend the application, or raise heapMb', cause);
  }
  return workerError(plan, 'WORKER_EXITED', message, 'see whether the application calls process.exit', cause);
}
