/** An engine's end of the way to its keeper. Control half. */
import type { Native } from '../../native/index.ts';
import { DevioError } from '../errors.ts';
import type { Keeper, KeptFunction, KeptMemory } from '../pci/keeper.ts';
import { UnixConnection } from '../unix/connection.ts';
import { type Backend, encodeMessage, KEEPER_FDS, KEEPER_VERSION, type KeeperMessage } from './protocol.ts';

/** How long the keeper may take to close what was released. */
const RELEASE_MS = 5000;

/** The way to the process that keeps functions and memory. Belongs to who made it, until `close`. */
export class KeeperLink implements Keeper {
  private readonly connection: UnixConnection;
  private readonly releaseMs: number;
  private readonly functions = new Set<string>();
  private readonly memory = new Map<KeptMemory, number>();
  private readonly waiting = new Map<number, () => void>();
  private readonly listeners: ((why: string) => void)[] = [];
  private numbers = 0;
  private lostBy: string | undefined;

  /** Takes the connected socket `fd` over. Throws `KEEPER_LOST`. */
  constructor(native: Native, fd: number, releaseMs = RELEASE_MS) {
    this.releaseMs = releaseMs;
    try {
      this.connection = new UnixConnection(native, fd, 'stream');
    } catch (cause) {
      throw lost(`fd ${fd} is no socket to it (${(cause as Error).message})`);
    }
    this.connection.onEnd(() => this.lose('it has ended'));
    this.send({ type: 'hello', version: KEEPER_VERSION });
    void this.listen();
  }

  keep(device: KeptFunction, memory: readonly KeptMemory[]): void {
    const { address, backend, fd, configFile } = device;
    this.update(memory);
    if (this.functions.has(address)) return;
    const fds = configFile.fd === fd ? [fd] : [fd, configFile.fd];
    this.send({ type: 'function', address, backend: backend as Backend, position: configFile.position }, fds);
    this.functions.add(address);
  }

  /** Tells what memory there is that was not, and what there was that is not. */
  private update(memory: readonly KeptMemory[]): void {
    const more = memory.filter((segment) => segment.fd >= 0 && !this.memory.has(segment));
    const gone = [...this.memory].filter(([segment]) => !memory.includes(segment));
    for (const part of chunks(more)) {
      const ids = part.map(() => ++this.numbers);
      const fds = part.map(({ fd }) => fd);
      this.send({ type: 'memory', ids }, fds);
      part.forEach((segment, i) => void this.memory.set(segment, ids[i]!));
    }
    for (const part of chunks(gone)) this.send({ type: 'forget', ids: part.map(([, id]) => id) });
    for (const [segment] of gone) this.memory.delete(segment);
  }

  async release(address: string, memory: readonly KeptMemory[]): Promise<void> {
    if (!this.functions.delete(address)) return;
    const number = ++this.numbers;
    const done = new Promise<void>((resolve) => this.waiting.set(number, resolve));
    const late = setTimeout(() => this.expire(number, address), this.releaseMs);
    try {
      this.send({ type: 'release', number, address });
      this.update(memory);
      await done;
    } catch {
      // It has gone, and with it whatever it had: told already.
    } finally {
      clearTimeout(late);
    }
  }

  /** What came while this thread was busy with something else came in time: it is read before. */
  private expire(number: number, address: string): void {
    setImmediate(() => {
      if (this.waiting.has(number)) this.lose(`it did not let go of ${address} within ${this.releaseMs} ms`);
    });
  }

  onLost(listener: (why: string) => void): void {
    this.listeners.push(listener);
  }

  /** Idempotent. */
  close(): void {
    this.lostBy ??= 'it was closed on this side';
    this.connection.close();
    for (const done of this.waiting.values()) done();
  }

  private async listen(): Promise<void> {
    try {
      for (;;) {
        const answer = await this.connection.read(4);
        if (answer === undefined) return this.lose('it has ended');
        const number = Buffer.from(answer.bytes).readUInt32LE();
        this.waiting.get(number)?.();
        this.waiting.delete(number);
      }
    } catch (error) {
      this.lose((error as Error).message);
    }
  }

  private send(message: KeeperMessage, fds: readonly number[] = []): void {
    if (this.lostBy !== undefined) throw lost(this.lostBy);
    try {
      this.connection.sendNow(encodeMessage(message), fds);
    } catch (cause) {
      const why = (cause as Error).message;
      this.lose(why);
      throw lost(why);
    }
  }

  private lose(why: string): void {
    if (this.lostBy !== undefined) return;
    this.close();
    this.lostBy = why;
    for (const listener of this.listeners.splice(0)) listener(why);
  }
}

function chunks<T>(items: readonly T[]): T[][] {
  const count = Math.ceil(items.length / KEEPER_FDS);
  return Array.from({ length: count }, (_, i) => items.slice(i * KEEPER_FDS, (i + 1) * KEEPER_FDS));
}

function lost(why: string): DevioError {
  const what = 'supervising process (linecard supervise)';
  return new DevioError('KEEPER_LOST', { what, why, fix: 'start the command again, with linecard supervise' });
}
