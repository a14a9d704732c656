/**
 * Which interrupt tells of what (virtio 1.2 §4.1.5.1.2): a vector for the configuration and one for each queue, fewer where
 * the device has or accepts fewer, else the line, else none. Every mapping is read back. Control half.
 */
import { DeviceError } from '../../errors.ts';
import type { Interrupts, PciDevio } from '../../pci/devio.ts';
import { type Interrupt, SILENT } from '../transport.ts';
import type { Region } from './region.ts';
import { COMMON, NO_VECTOR } from './regs.ts';

/** A way to share vectors out: queue i of those that interrupt has `first + i % shared`. */
interface Share {
  readonly config: number;
  readonly first: number;
  readonly shared: number;
}

/** The ways to share out `table` vectors among `queues` queues, most wanted first. */
function shares(queues: number, table: number): Share[] {
  const ways: Share[] = [];
  if (table > queues) ways.push({ config: 0, first: 1, shared: queues });
  else if (table > 2) ways.push({ config: 0, first: 1, shared: table - 1 });
  if (table > 1 && queues > 1) ways.push({ config: 0, first: 1, shared: 1 });
  // Workers wait for the only one. The configuration has to be looked at without being told.
  if (table > 0) ways.push({ config: NO_VECTOR, first: 0, shared: 1 });
  return ways;
}

/** The device's interrupts. */
export class Vectors {
  private readonly devio: PciDevio;
  private readonly common: Region;
  private readonly isr: number;
  private on: Interrupts | undefined;
  private queues: readonly number[] = [];
  private share: Share = { config: NO_VECTOR, first: 0, shared: 0 };

  /** `isr`: arena offset of the ISR status, or 0. */
  constructor(devio: PciDevio, common: Region, isr: number) {
    this.devio = devio;
    this.common = common;
    this.isr = isr;
  }

  /** Whether `choose` was called: somebody may wait for them. */
  get chosen(): boolean {
    return this.queues.length > 0;
  }

  /** Turns on interrupts for `queues`, in the best way that the device goes along with; returns those of each. */
  choose(queues: readonly number[]): ReadonlyMap<number, Interrupt> {
    this.queues = queues;
    if (!this.byVectors()) this.byLine();
    return new Map(queues.map((queue) => [queue, this.of(queue)]));
  }

  private byVectors(): boolean {
    for (const share of shares(this.queues.length, this.devio.vectors.msix)) {
      if (!this.enable('msix', share.first + share.shared)) continue;
      this.share = share;
      if (this.queues.every((queue) => this.mapped(queue))) {
        if (share.config !== NO_VECTOR && !this.mapConfig()) this.share = { ...share, config: NO_VECTOR };
        return true;
      }
      for (const queue of this.queues) this.write(queue, NO_VECTOR);
    }
    return false;
  }

  /** One line for several workers would lose wake-ups: who reads the ISR status takes the line back for all. */
  private byLine(): void {
    this.share = { config: NO_VECTOR, first: 0, shared: 0 };
    const possible = this.queues.length === 1 && this.isr !== 0 && this.devio.vectors.intx > 0;
    if (possible && this.enable('intx', 1)) return;
    this.devio.disableInterrupts();
    this.on = undefined;
  }

  private enable(kind: 'msix' | 'intx', count: number): boolean {
    try {
      this.on = this.devio.enableInterrupts(kind, count);
      return true;
    } catch (error) {
      if ((error as { code?: string }).code !== 'NO_INTERRUPTS') throw error;
      return false; // more than the kernel has to give
    }
  }

  private of(queue: number): Interrupt {
    if (this.on === undefined) return SILENT;
    if (this.on.kind !== 'msix') return { fd: this.on.fds[0], isr: this.isr, unmask: this.on.unmask };
    return { fd: this.on.fds[this.vectorOf(queue)], isr: 0, unmask: -1 };
  }

  private vectorOf(queue: number): number {
    const at = this.queues.indexOf(queue);
    const { first, shared } = this.share;
    return at < 0 || shared === 0 ? NO_VECTOR : first + (at % shared);
  }

  private write(queue: number, vector: number): boolean {
    this.common.put16(COMMON.queueSelect, queue);
    this.common.put16(COMMON.queueMsixVector, vector);
    return this.common.get16(COMMON.queueMsixVector) === vector;
  }

  private mapped(queue: number): boolean {
    const vector = this.vectorOf(queue);
    return vector === NO_VECTOR || this.write(queue, vector);
  }

  private mapConfig(): boolean {
    this.common.put16(COMMON.configMsixVector, this.share.config);
    return this.common.get16(COMMON.configMsixVector) === this.share.config;
  }

  /** Maps queue `queue` as was chosen: after each reset. Throws `VECTOR_REFUSED`. */
  map(queue: number): void {
    if (!this.mapped(queue)) this.refused(`queue ${queue}`);
  }

  /** Maps the configuration as was chosen: after each reset. Throws `VECTOR_REFUSED`. */
  mapConfiguration(): void {
    if (this.share.config !== NO_VECTOR && !this.mapConfig()) this.refused('the configuration');
  }

  private refused(what: string): never {
    throw new DeviceError('VECTOR_REFUSED', {
      what: `${this.devio.address}: ${what}`,
      why: 'it no longer accepts an interrupt vector that it accepted before',
      fix: 'open the port again',
    });
  }

  /** Whether the configuration's interrupt has come since the last call; undefined when it has none of its own. */
  configChanged(): boolean | undefined {
    const fd = this.share.config === NO_VECTOR ? undefined : this.on?.fds[this.share.config];
    return fd === undefined ? undefined : this.devio.signalled(fd);
  }
}
