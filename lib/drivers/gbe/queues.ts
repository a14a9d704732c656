/** The queues of a started port: their memory, their plans, and their gates. Control half. */
import { makeCounters } from '../../arena/counters.ts';
import { Gate } from '../../arena/gate.ts';
import type { Interrupts, PciDevio } from '../../pci/devio.ts';
import { planQueue, queueModule } from '../../pktio/memory-port.ts';
import type { PortConfig, QueueHandle, Queues } from '../../pktio/types.ts';
import { type QueuePlan, TX } from '../../queue.ts';
import { QueueMemory, type QueueMemoryState } from '../queue-memory.ts';
import { BLOCK, type Block, blockBytes, heldFrames, openBlock } from './block.ts';
import type { Controller, RingPlace } from './controller.ts';
import { GBE_RX_NAMES, GBE_TX_NAMES, type GbeQueueData } from './data.ts';
import type { Buffers } from './fit.ts';
import { DESC_BYTES, REG, RX_DESC, TX_KIND } from './regs.ts';

/** How a port's queues are made. */
export interface QueueOptions {
  readonly port: string;
  readonly config: PortConfig;
  readonly buffers: Buffers;
  readonly legacy: boolean;
  readonly interrupts: Interrupts | undefined;
  readonly wake: () => void;
}

/** A queue of one direction. */
interface Made {
  readonly direction: 'rx' | 'tx';
  readonly ring: number;
  readonly size: number;
  readonly handle: QueueHandle;
  readonly gate: Gate;
  readonly block: Block;
}

/** A queue that runs, as the next release of the driver is told of it. Plain data. */
export interface QueueState {
  readonly ring: number;
  readonly size: number;
  readonly plan: QueuePlan;
}

/** All of them, and the memory that is theirs. */
export interface QueuesState {
  readonly queues: readonly QueueState[];
  readonly memory: QueueMemoryState;
}

/** Rings begin on lines of their own: 128 bytes, the unit of LEN. */
const ALIGN = 128;

/** All queues of a port. */
export class QueueSet {
  private readonly devio: PciDevio;
  private readonly controller: Controller;
  private readonly options: QueueOptions;
  private readonly made: Made[] = [];
  private readonly memory: QueueMemory;

  constructor(devio: PciDevio, controller: Controller, options: QueueOptions) {
    this.devio = devio;
    this.memory = new QueueMemory(devio);
    this.controller = controller;
    this.options = options;
  }

  /** Makes queue number `queue` of its direction, with `size` descriptors. Throws `NO_MEMORY`, `ADDRESS_REFUSED`. */
  add(direction: 'rx' | 'tx', queue: number, size: number): QueueHandle {
    const { port, config } = this.options;
    const ring = this.memory.allocateShared(size * DESC_BYTES, ALIGN);
    const at = this.memory.allocate(blockBytes(size));
    const plan = planQueue(this.devio, config, {
      port,
      direction,
      queue,
      module: queueModule(import.meta.url),
      fd: direction === 'rx' ? this.fdOf(queue) : -1,
      data: this.data(direction, queue, { size, ring, block: at }),
      counterNames: direction === 'rx' ? GBE_RX_NAMES : GBE_TX_NAMES,
    });
    this.memory.keep(plan.counters);
    return this.take({ ring, size, plan });
  }

  /** Goes on with a queue whose ring, block and counters are there. */
  private take({ ring, size, plan }: QueueState): QueueHandle {
    const { memory } = this.devio;
    const { direction } = plan;
    const at = plan.data.block;
    const block = openBlock(memory, at, size);
    const gate = new Gate(memory, at + BLOCK.gate * 4, this.options.wake);
    const held = () => heldFrames(block);
    const clear = () => {
      if (direction === 'tx') makeCounters(memory, plan.counters)(TX.stopped, held().length);
      block.words[BLOCK.head] = block.words[BLOCK.tail];
    };
    const handle: QueueHandle = { plan, held, settle: () => {}, clear };
    this.made.push({ direction, ring, size, handle, gate, block });
    return handle;
  }

  /** What another set goes on with, `takeOver`. No worker has the queues. */
  handOver(): QueuesState {
    const queues = this.made.map(({ ring, size, handle: { plan } }) => ({ ring, size, plan }));
    return { queues, memory: this.memory.handOver() };
  }

  /** Goes on with queues that run, with this release's data half. */
  takeOver({ queues, memory }: QueuesState): Queues {
    this.memory.takeOver(memory);
    const module = queueModule(import.meta.url);
    const handles = queues.map((queue) => this.take({ ...queue, plan: { ...queue.plan, module } }));
    const of = (direction: 'rx' | 'tx') => handles.filter(({ plan }) => plan.direction === direction);
    return { rx: of('rx'), tx: of('tx') };
  }

  /** Without MSI-X there is one cause for all rx queues, which one worker would disable while another sleeps. */
  private get interrupting(): Interrupts | undefined {
    const { interrupts, config } = this.options;
    return interrupts?.kind === 'msix' || config.rxQueues === 1 ? interrupts : undefined;
  }

  private fdOf(queue: number): number {
    const { interrupting } = this;
    return interrupting?.fds[interrupting.kind === 'msix' ? queue : 0] ?? -1;
  }

  private data(
    direction: 'rx' | 'tx',
    queue: number,
    place: { readonly size: number; readonly ring: number; readonly block: number },
  ): GbeQueueData {
    const { buffers, legacy } = this.options;
    const { traits, bar } = this.controller;
    const layout = legacy ? RX_DESC.legacy : RX_DESC.extended;
    return {
      ...place,
      frameAddresses: this.devio.frameAddresses,
      tail: bar.offset + traits[direction].TAIL(queue),
      buffer: buffers.bytes,
      segments: buffers.segments,
      statusWord: layout.status,
      lengthWord: layout.length,
      errors: layout.errors,
      command: legacy ? (traits.command & ~TX_KIND.extended) | TX_KIND.legacy : traits.command,
      paylen: traits.paylen,
      ...this.interruptData(queue),
    };
  }

  private interruptData(queue: number) {
    const { interrupting } = this;
    const none = { causeRegister: 0, enableRegister: 0, disableRegister: 0, readRegister: 0, cause: 0, unmask: -1 };
    if (interrupting === undefined) return none;
    const { offset } = this.controller.bar;
    const causes = this.controller.causes(interrupting.kind, queue);
    return {
      causeRegister: offset + causes.clear,
      enableRegister: offset + causes.enable,
      disableRegister: offset + causes.disable,
      readRegister: offset + REG.STATUS,
      cause: causes.cause,
      unmask: interrupting.unmask,
    };
  }

  /** Rings of one direction, as the device is told of them. */
  places(direction: 'rx' | 'tx'): RingPlace[] {
    return this.made
      .filter((one) => one.direction === direction)
      .map(({ ring, size }) => ({ address: this.devio.addressOf(ring), size }));
  }

  /** Descriptors of tx queue `queue` that the device is still to send. */
  inFlight(queue: number): number {
    const { words } = this.made.filter(({ direction }) => direction === 'tx')[queue].block;
    return (Atomics.load(words, BLOCK.tail) - Atomics.load(words, BLOCK.head)) | 0;
  }

  /** Zeroes the rings. Only behind closed gates. */
  clean(): void {
    for (const { ring, size } of this.made) new Uint8Array(this.devio.memory, ring, size * DESC_BYTES).fill(0);
  }

  open(): void {
    for (const { gate } of this.made) gate.set(true);
  }

  /** Resolves to true when no worker touches the rings any more, to false after `deadlineMs`. */
  async close(deadlineMs: number): Promise<boolean> {
    const closed = await Promise.all(this.made.map(({ gate }) => gate.close(deadlineMs)));
    return closed.every(Boolean);
  }

  /** The device has let go of what it had: the workers take it back. */
  release(): void {
    for (const { block } of this.made) Atomics.store(block.words, BLOCK.released, block.words[BLOCK.gate]);
    this.options.wake();
  }

  /** Returns all memory. Nobody may use the queues any more. */
  free(): void {
    this.memory.free();
    this.made.length = 0;
  }
}
