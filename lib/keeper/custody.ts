/**
 * What one engine has handed over: its functions' files and the memory that they may reach; and what is done with it when
 * the engine has died, in this order: all functions stop using memory, are reset, are closed; only then the memory goes.
 */
import { doAll } from '../do-all.ts';
import { DeviceError } from '../errors.ts';
import type { FunctionAccess } from '../pci/access.ts';
import { COMMAND, changeCommand, HEADER, isGone } from '../pci/config-space.ts';
import type { Backend, KeeperMessage } from './protocol.ts';
import { KEEPER_VERSION, malformed } from './protocol.ts';

/** What custody does to the kernel: replaced by tests. */
export interface Hands {
  /** Makes of handed-over files what can be done to the function; the files are its own then, also when it throws. */
  take(message: KeeperMessage & { readonly type: 'function' }, fds: readonly number[]): FunctionAccess;
  /** A duplicate of `fd` that the kernel closes before all of `others`, should this process be killed. */
  closedFirst(fd: number, others: readonly number[]): number;
  close(fd: number): void;
  /** Milliseconds of a clock that only goes forward. */
  now(): number;
}

/** What became of a function whose engine died. Times are in milliseconds from the moment that this was known. */
export interface Settled {
  readonly address: string;
  readonly backend: Backend;
  /** Why nothing was done to it, if nothing was: it has gone, or is somebody else's. */
  readonly left?: string;
  /** Bus master is off. */
  readonly stoppedMs?: number;
  readonly resetMs?: number;
  /** When its files and, after those of all functions, the memory were closed. */
  readonly releasedMs: number;
  /** What did not work, in the order in which it was tried. */
  readonly errors: readonly Error[];
  /** It may still use memory: that has not been given away. */
  readonly stuck: boolean;
}

interface Held {
  readonly backend: Backend;
  readonly access: FunctionAccess;
  /** See `Hands.closedFirst`; -1 where the kernel keeps memory as long as a function may reach it. */
  last: number;
}

/** The state of a function while it is settled. */
interface Case {
  readonly address: string;
  readonly held: Held;
  readonly errors: Error[];
  left?: string;
  stoppedMs?: number;
  resetMs?: number;
  stuck: boolean;
}

/** What one engine has handed over. */
export class Custody {
  private readonly hands: Hands;
  private readonly functions = new Map<string, Held>();
  private readonly memory = new Map<number, number>();
  private greeted = false;

  constructor(hands: Hands) {
    this.hands = hands;
  }

  /** Addresses of the functions. */
  get addresses(): string[] {
    return [...this.functions.keys()];
  }

  /** Takes a message and its fds. Throws `KEEPER_PROTOCOL`, `KEEPER_VERSION`, and what taking a function throws; the fds are closed then. */
  take(message: KeeperMessage, fds: readonly number[]): void {
    try {
      this.check(message, fds.length);
    } catch (error) {
      for (const fd of fds) this.hands.close(fd);
      throw error;
    }
    switch (message.type) {
      case 'hello':
        this.greeted = true;
        return;
      case 'memory':
        message.ids.forEach((id, i) => void this.memory.set(id, fds[i]!));
        for (const held of this.functions.values()) this.order(held);
        return;
      case 'forget':
        for (const id of message.ids) this.forget(id);
        return;
      case 'function': {
        const held = { backend: message.backend, access: this.hands.take(message, fds), last: -1 };
        this.functions.set(message.address, held);
        this.order(held);
        return;
      }
      case 'release':
        this.release(message.address);
    }
  }

  private check(message: KeeperMessage, fds: number): void {
    const { type } = message;
    const first = type === 'hello';
    if (first === this.greeted) throw malformed(first ? 'hello came twice' : `${type} came before hello`);
    if (first && message.version !== KEEPER_VERSION) {
      const why = `it speaks version ${message.version}, linecard supervise version ${KEEPER_VERSION}`;
      throw new DeviceError('KEEPER_VERSION', { what: 'engine', why, fix: 'run the same linecard at both ends' });
    }
    const [least, most] =
      type === 'memory' ? [message.ids.length, message.ids.length] : type === 'function' ? [1, 2] : [0, 0];
    if (fds < least || fds > most) throw malformed(`${fds} fds came with ${type}`);
    if (type === 'memory' && message.ids.some((id) => this.memory.has(id)))
      throw malformed('it has been handed over before');
    if (type === 'function' && this.functions.has(message.address)) throw malformed(`${message.address} came twice`);
  }

  /** Should both processes be killed at once, the kernel stops the function before the memory goes. */
  private order(held: Held): void {
    // What an IOMMU has mapped is pinned.
    if (held.backend === 'vfio' || held.backend === 'iommufd') return;
    const before = held.last;
    held.last = this.hands.closedFirst(held.access.fd, [...this.memory.values()]);
    if (before >= 0) this.hands.close(before);
  }

  private forget(id: number): void {
    const fd = this.memory.get(id);
    if (fd === undefined) return;
    this.memory.delete(id);
    this.hands.close(fd);
  }

  private release(address: string): void {
    const held = this.functions.get(address);
    this.functions.delete(address);
    if (held !== undefined) this.closeFunction(held);
  }

  private closeFunction({ access, last }: Held): void {
    doAll([() => last >= 0 && this.hands.close(last), () => access.close()]);
  }

  /** The engine is dead: stops and lets go of everything. Idempotent; memory of a function that did not stop is kept. */
  settle(): Settled[] {
    const begin = this.hands.now();
    const since = () => this.hands.now() - begin;
    const cases = [...this.functions].map(([address, held]): Case => ({ address, held, errors: [], stuck: false }));
    this.functions.clear();
    // All of them before any is reset, which takes a tenth of a second and more.
    for (const one of cases) attempt(one, () => stop(one, since));
    for (const one of cases) attempt(one, () => reset(one, since));
    // The kernel stops a function with its last file, too: the memory is still there then.
    for (const one of cases) attempt(one, () => this.closeFunction(one.held));
    if (!cases.some(({ stuck }) => stuck)) for (const id of [...this.memory.keys()]) this.forget(id);
    const releasedMs = since();
    return cases.map(({ held, ...one }) => ({ ...one, backend: held.backend, releasedMs }));
  }
}

function attempt({ errors }: Case, step: () => void): void {
  try {
    step();
  } catch (error) {
    errors.push(error as Error);
  }
}

/** Bus master off, first of all. */
function stop(one: Case, since: () => number): void {
  const { access } = one.held;
  const left = access.absence() ?? (isGone(access.config) ? 'it does not answer any more' : undefined);
  if (left !== undefined) {
    one.left = left;
    return;
  }
  changeCommand(access.config, 0, COMMAND.busMaster);
  checkStopped(one);
  one.stoppedMs = since();
}

/** The reading also waits until what was written before has arrived. */
function checkStopped(one: Case): void {
  const { config } = one.held.access;
  one.stuck = !isGone(config) && (config.read(HEADER.command, 16) & COMMAND.busMaster) !== 0;
  if (!one.stuck) return;
  throw new DeviceError('NOT_STOPPED', {
    what: `device ${one.address}`,
    why: 'it still may use memory: its bus master bit does not go off',
    fix: 'its memory is kept until this process is told to end (Ctrl-C); power the machine off and on first',
  });
}

function reset(one: Case, since: () => number): void {
  const { access } = one.held;
  if (one.left !== undefined || !access.resettable) return;
  access.reset();
  one.resetMs = since();
  if (one.stuck) checkStopped(one);
}
