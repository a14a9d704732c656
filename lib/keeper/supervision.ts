/** Runs an engine in a process of its own, and sees to its functions when it dies, by whatever means. */
import { type ChildProcess, spawn } from 'node:child_process';
import { constants } from 'node:os';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Native } from '../../native/index.ts';
import { Backoff } from '../engine/backoff.ts';
import { SystemError } from '../errors.ts';
import { UnixConnection } from '../unix/connection.ts';
import { Custody, type Hands, type Settled } from './custody.ts';
import { oomScore, preferEngine } from './oom.ts';
import { decodeMessage, KEEPER_FDS, KEEPER_VARIABLE, lengthOf } from './protocol.ts';
import { processOf, removeKept, writeKept } from './records.ts';

/** The fd by which the engine finds its keeper. */
const ENGINE_FD = 3;
/** How long an engine that was asked to end may take before it is killed. */
const STOP_MS = 30_000;
/** How long the end of what an engine sent may come after its own. */
const DRAIN_MS = 1000;
/** Waits before an engine is started again, from the first to the last. */
const BACKOFF_MS = [100, 5000] as const;
/** How a command ends that was wrong as it was typed: it would be wrong again. */
const USAGE = 2;

/** How an engine ended: one of both. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** What happens, for the log. */
export type SupervisionEvent =
  | { readonly type: 'started'; readonly pid: number }
  | ({ readonly type: 'ended'; readonly pid: number } & Ended)
  | ({ readonly type: 'settled' } & Settled)
  | { readonly type: 'rebound'; readonly address: string; readonly driver: string }
  | { readonly type: 'restarting'; readonly inMs: number; readonly count: number; readonly most: number }
  | { readonly type: 'error'; readonly error: Error };

/** What is supervised, and how. */
export interface SupervisionOptions {
  /** Program and arguments. */
  readonly command: readonly [program: string, ...args: string[]];
  readonly env: NodeJS.ProcessEnv;
  /** How often it is started again in a row at the most; 0: never. */
  readonly restarts: number;
  /** Gives functions back to their kernel drivers when it is not started again; returns the driver. */
  readonly rebind?: (address: string) => Promise<string>;
  /** Folder of the records. */
  readonly folder: string;
  tell(event: SupervisionEvent): void;
}

/** The exit code of a process that ended so, as shells have it. */
export const exitCode = ({ code, signal }: Ended): number => code ?? 128 + constants.signals[signal!];

/** One engine after the other, until one ends well, one too many has died, or it is asked to stop. */
export class Supervision {
  private readonly native: Native;
  private readonly hands: Hands;
  private readonly options: SupervisionOptions;
  private readonly stopped = new AbortController();
  private readonly score = oomScore();
  /** Addresses of all functions that were ever handed over. */
  private readonly seen = new Set<string>();
  private engine: ChildProcess | undefined;
  private deadline: NodeJS.Timeout | undefined;

  constructor(native: Native, hands: Hands, options: SupervisionOptions) {
    this.native = native;
    this.hands = hands;
    this.options = options;
  }

  /** Passes a signal on; no engine is started any more. One that does not end is killed. */
  signal(signal: NodeJS.Signals): void {
    this.stopped.abort();
    this.engine?.kill(signal);
    this.deadline ??= setTimeout(() => this.engine?.kill('SIGKILL'), STOP_MS);
  }

  /** Resolves to the exit code of the last engine. Throws `SUPERVISE` when it cannot be started. */
  async run(): Promise<number> {
    const { restarts } = this.options;
    const backoff = new Backoff(BACKOFF_MS);
    let count = 0;
    for (;;) {
      const begin = this.hands.now();
      const { ended, settled } = await this.once();
      const stuck = settled.some((one) => one.stuck);
      const code = exitCode(ended);
      // One that ran for longer than the longest wait had come up well.
      count = this.hands.now() - begin > 10 * BACKOFF_MS[1] ? 1 : count + 1;
      const again = code !== 0 && code !== USAGE && !stuck && count <= restarts && !this.stopped.signal.aborted;
      if (!again || !(await this.wait(backoff.next(), count))) {
        clearTimeout(this.deadline);
        if (!stuck) for (const address of this.seen) await this.giveBack(address);
        return code;
      }
    }
  }

  private async wait(ms: number, count: number): Promise<boolean> {
    const { restarts: most, tell } = this.options;
    tell({ type: 'restarting', inMs: ms, count, most });
    return sleep(ms, true, { signal: this.stopped.signal }).catch(() => false);
  }

  private async giveBack(address: string): Promise<void> {
    const { rebind, tell } = this.options;
    if (rebind === undefined) return;
    try {
      tell({ type: 'rebound', address, driver: await rebind(address) });
    } catch (error) {
      tell({ type: 'error', error: error as Error });
    }
  }

  /** Runs one engine to its end, and sees to what it leaves. */
  private async once(): Promise<{ readonly ended: Ended; readonly settled: readonly Settled[] }> {
    const { folder, tell } = this.options;
    const custody = new Custody(this.hands);
    const { engine, connection } = this.start();
    const ending = endOf(engine);
    this.engine = engine;
    try {
      const drained = this.listen(engine.pid!, custody, connection);
      // The end of the stream: nobody is left who could say anything. It comes before the kernel tells that the process ended.
      await Promise.race([drained, ending.then(() => sleep(DRAIN_MS, undefined, { ref: false }))]);
      const settled = custody.settle();
      const ended = await ending;
      tell({ type: 'ended', pid: engine.pid!, ...ended });
      for (const one of settled) {
        tell({ type: 'settled', ...one });
        if (!one.stuck) removeKept(folder, one.address);
      }
      return { ended, settled };
    } finally {
      connection.close();
      this.engine = undefined;
    }
  }

  private start(): { readonly engine: ChildProcess; readonly connection: UnixConnection } {
    const { command, env, tell } = this.options;
    const [program, ...args] = command;
    const [ours, theirs] = this.native.socketPair();
    const connection = new UnixConnection(this.native, ours, 'stream');
    try {
      const engine = spawn(program, args, {
        env: { ...env, [KEEPER_VARIABLE]: String(ENGINE_FD) },
        stdio: ['inherit', 'inherit', 'inherit', theirs],
        // In a group of its own: a terminal's signals come to it once, from here.
        detached: true,
      });
      engine.on('error', () => {}); // that it was not started, its missing number says
      if (engine.pid === undefined) throw new Error(`${program} cannot be started`);
      tell({ type: 'started', pid: engine.pid });
      preferEngine(engine.pid, this.score);
      return { engine, connection };
    } catch (cause) {
      connection.close();
      const text = { what: 'engine', why: (cause as Error).message, fix: 'see ulimit -u, and free memory' };
      throw new SystemError('SUPERVISE', text, { cause });
    } finally {
      this.native.close(theirs);
    }
  }

  /** Takes what the engine hands over, to the end of the stream. Never rejects. */
  private async listen(pid: number, custody: Custody, connection: UnixConnection): Promise<void> {
    try {
      while (await this.next(pid, custody, connection));
    } catch (error) {
      // What it has handed over stays here; it learns by the end of the connection that it is on its own, and stops.
      this.options.tell({ type: 'error', error: error as Error });
      connection.close();
      await endOf(this.engine!);
    }
  }

  private async next(pid: number, custody: Custody, connection: UnixConnection): Promise<boolean> {
    const head = await connection.read(4, { fds: KEEPER_FDS });
    if (head === undefined) return false;
    let message: ReturnType<typeof decodeMessage>;
    try {
      const body = await connection.read(lengthOf(head.bytes));
      if (body === undefined) throw new Error('the engine died in the middle of a message');
      message = decodeMessage(body.bytes);
    } catch (error) {
      for (const fd of head.fds) this.native.close(fd);
      throw error;
    }
    custody.take(message, head.fds);
    if (message.type === 'function') this.record(pid, message);
    if (message.type === 'release') {
      removeKept(this.options.folder, message.address);
      await connection.send(Buffer.from(Uint32Array.of(message.number).buffer));
    }
    return true;
  }

  private record(pid: number, { address, backend }: Parameters<Hands['take']>[0]): void {
    this.seen.add(address);
    const [engine, keeper] = [processOf(pid), processOf(process.pid)];
    if (engine === undefined || keeper === undefined) return; // dead already: it is seen to in a moment
    try {
      writeKept(this.options.folder, { address, backend, engine, keeper });
    } catch (cause) {
      const why = `${address} cannot be noted in ${this.options.folder}: ${(cause as Error).message}`;
      const fix = 'should both processes be killed at once, nobody will know of it; be root';
      this.options.tell({
        type: 'error',
        error: new SystemError('NO_RECORD', { what: 'record', why, fix }, { cause }),
      });
    }
  }
}

function endOf(engine: ChildProcess): Promise<Ended> {
  const { exitCode: code, signalCode: signal } = engine;
  if (code !== null || signal !== null) return Promise.resolve({ code, signal });
  return new Promise((resolve) => {
    engine.once('exit', (code, signal) => resolve({ code, signal }));
  });
}
