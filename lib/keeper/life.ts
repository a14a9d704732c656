/** One engine in a process of its own: from its start until what it has left has been seen to. */
import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Native } from '../../native/index.ts';
import { SystemError } from '../errors.ts';
import { UnixConnection } from '../unix/connection.ts';
import { Custody, type Hands, type Settled } from './custody.ts';
import { decodeMessage, KEEPER_FDS, KEEPER_VARIABLE, lengthOf } from './protocol.ts';
import { processOf, removeKept, writeKept } from './records.ts';

/** The fd by which the engine finds its keeper. */
const ENGINE_FD = 3;
/** How long the end of what an engine sent may come after its own. */
const DRAIN_MS = 1000;

/** How an engine ended: one of both. */
export interface Ended {
  readonly code: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** What an engine is started with. */
export interface LifeOptions {
  /** Program and arguments. */
  readonly command: readonly [program: string, ...args: string[]];
  readonly env: NodeJS.ProcessEnv;
  /** Folder of the records. */
  readonly folder: string;
  /** Something did not work; it goes on. */
  failed(error: Error): void;
}

/** An engine that runs. */
export class Life {
  /** Addresses of all functions that were ever handed over. */
  readonly seen = new Set<string>();
  private readonly native: Native;
  private readonly options: LifeOptions;
  private readonly custody: Custody;
  private readonly connection: UnixConnection;
  private readonly engine: ChildProcess;
  private readonly ending: Promise<Ended>;

  /** Starts it. Throws `SUPERVISE`. */
  constructor(native: Native, hands: Hands, options: LifeOptions) {
    this.native = native;
    this.options = options;
    this.custody = new Custody(hands);
    const [ours, theirs] = native.socketPair();
    this.connection = new UnixConnection(native, ours, 'stream');
    try {
      this.engine = start(options, theirs);
    } catch (error) {
      this.connection.close();
      throw error;
    } finally {
      native.close(theirs);
    }
    this.ending = new Promise((resolve) => this.engine.once('exit', (code, signal) => resolve({ code, signal })));
  }

  get pid(): number {
    return this.engine.pid!;
  }

  kill(signal: NodeJS.Signals): void {
    this.engine.kill(signal);
  }

  /** Resolves when it has ended, and its functions have been seen to. */
  async end(): Promise<{ readonly ended: Ended; readonly settled: readonly Settled[] }> {
    try {
      // The end of the stream: nobody is left who could say anything. It comes before the kernel tells that the process ended.
      const late = this.ending.then(() => sleep(DRAIN_MS, undefined, { ref: false }));
      await Promise.race([this.listen(), late]);
      const settled = this.custody.settle();
      const ended = await this.ending;
      for (const { address, stuck } of settled) if (!stuck) removeKept(this.options.folder, address);
      return { ended, settled };
    } finally {
      this.connection.close();
    }
  }

  /** Takes what the engine hands over, to the end of the stream. Never rejects. */
  private async listen(): Promise<void> {
    try {
      while (await this.next());
    } catch (error) {
      // What it has handed over stays here; it learns by the end of the connection that it is on its own, and stops.
      this.options.failed(error as Error);
      this.connection.close();
      await this.ending;
    }
  }

  private async next(): Promise<boolean> {
    const { connection, custody, options } = this;
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
    if (message.type === 'function') this.record(message);
    if (message.type === 'release') {
      removeKept(options.folder, message.address);
      // Who has died meanwhile does not wait for the answer: the stream's end follows.
      await connection.send(Buffer.from(Uint32Array.of(message.number).buffer)).catch(() => {});
    }
    return true;
  }

  private record({ address, backend }: Parameters<Hands['take']>[0]): void {
    this.seen.add(address);
    const { folder, failed } = this.options;
    const [engine, keeper] = [processOf(this.pid), processOf(process.pid)];
    if (engine === undefined || keeper === undefined) return; // dead already: it is seen to in a moment
    try {
      writeKept(folder, { address, backend, engine, keeper });
    } catch (cause) {
      const why = `${address} cannot be noted in ${folder}: ${(cause as Error).message}`;
      const fix = 'should both processes be killed at once, nobody will know of it; be root';
      failed(new SystemError('NO_RECORD', { what: 'record', why, fix }, { cause }));
    }
  }
}

function start({ command, env }: LifeOptions, socket: number): ChildProcess {
  const [program, ...args] = command;
  const engine = spawn(program, args, {
    env: { ...env, [KEEPER_VARIABLE]: String(ENGINE_FD) },
    stdio: ['inherit', 'inherit', 'inherit', socket],
    // In a group of its own: a terminal's signals come to it once, from here.
    detached: true,
  });
  engine.on('error', () => {}); // that it was not started, its missing number says
  if (engine.pid !== undefined) return engine;
  throw new SystemError('SUPERVISE', {
    what: 'engine',
    why: `${program} cannot be started`,
    fix: 'see ulimit -u, and how much memory is free',
  });
}
