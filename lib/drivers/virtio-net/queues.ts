/** The queues of a started port: their memory, their plans, and their gates. Control half. */
import { makeCounters } from '../../arena/counters.ts';
import { Gate } from '../../arena/gate.ts';
import { planQueue, queueModule } from '../../pktio/memory-port.ts';
import type { PortConfig, QueueHandle, Queues } from '../../pktio/types.ts';
import { MAX_SEGMENTS, type QueuePlan, TX } from '../../queue.ts';
import { hasFeature } from '../../virtio/features.ts';
import { NET_HDR_BYTES, receiveQueue, transmitQueue } from '../../virtio/net.ts';
import { DESC_BYTES, queueAreas, USED } from '../../virtio/ring.ts';
import { type Interrupt, type QueueLayout, SILENT, type VirtioDevio } from '../../virtio/transport.ts';
import { parseMac } from '../../wire/mac.ts';
import { putRarp, RARP_BYTES } from '../../wire/rarp.ts';
import { QueueMemory, type QueueMemoryState } from '../queue-memory.ts';
import { BLOCK, blockBytes, heldFrames, openBlock, TROUBLE, takeFrames } from './block.ts';
import { VIRTIO_RX_NAMES, VIRTIO_TX_NAMES } from './data.ts';

/** How a port's queues are made. */
export interface QueueOptions {
  readonly port: string;
  readonly features: bigint;
  readonly config: PortConfig;
  /** Packets may have several frames. */
  readonly several: boolean;
  /** Of the queues that interrupt. */
  readonly interrupts: ReadonlyMap<number, Interrupt>;
  readonly wake: () => void;
}

/** A queue that runs. Plain data. */
export interface QueueState {
  /** Number of the virtqueue. */
  readonly index: number;
  readonly layout: QueueLayout;
  readonly plan: QueuePlan;
}

/** Queues that run, and all their memory. Plain data. */
export interface QueuesState {
  readonly queues: readonly QueueState[];
  readonly memory: QueueMemoryState;
}

/** A queue of one direction. */
interface Made {
  /** Number of the virtqueue. */
  readonly index: number;
  readonly layout: QueueLayout;
  readonly handle: QueueHandle;
  readonly gate: Gate;
  readonly words: Int32Array;
}

/** All queues of a port. */
export class QueueSet {
  private readonly devio: VirtioDevio;
  private readonly options: QueueOptions;
  private readonly made: Made[] = [];
  private readonly memory: QueueMemory;

  constructor(devio: VirtioDevio, options: QueueOptions) {
    this.devio = devio;
    this.memory = new QueueMemory(devio);
    this.options = options;
  }

  /** Makes a queue with `size` descriptors: number `queue` of its direction. Throws `NO_MEMORY`. */
  add(direction: 'rx' | 'tx', queue: number, size: number): QueueHandle {
    const { port, features, config, interrupts } = this.options;
    const index = direction === 'rx' ? receiveQueue(queue) : transmitQueue(queue);
    const packed = hasFeature(features, 'RING_PACKED');
    const layout = this.layOut(size, packed);
    const several = direction === 'tx' && this.options.several;
    const block = this.memory.allocate(blockBytes(size, several));
    const announcement = direction === 'tx' ? this.makeAnnouncement() : { announceLow: 0, announceHigh: 0 };
    const tables = several ? this.makeTables(block, size) : 0;
    const { fd, isr, unmask } = interrupts.get(index) ?? SILENT;
    const plan = planQueue(this.devio, config, {
      port,
      direction,
      queue,
      module: queueModule(import.meta.url, packed ? 'packed-queue' : 'split-queue'),
      fd,
      data: { ...this.data(layout), block, tables, ...announcement, ...this.kick(index), isr, unmask },
      counterNames: direction === 'rx' ? VIRTIO_RX_NAMES : VIRTIO_TX_NAMES,
    });
    this.memory.keep(plan.counters);
    return this.take({ index, layout, plan });
  }

  /** Goes on with a queue whose rings, block and counters are there. */
  private take({ index, layout, plan }: QueueState): QueueHandle {
    const { memory } = this.devio;
    const { size, packed } = layout;
    const { block } = plan.data;
    const several = plan.data.tables > 0;
    const held = () => heldFrames(memory, block, size, packed, several);
    const clear = () => {
      makeCounters(memory, plan.counters)(TX.stopped, plan.direction === 'tx' ? held().length : 0);
      takeFrames(openBlock(memory, block, size, several), () => {});
    };
    const handle: QueueHandle = { plan, held, settle: () => {}, clear };
    const gate = new Gate(memory, block + BLOCK.gate * 4, this.options.wake);
    this.made.push({ index, layout, handle, gate, words: openBlock(memory, block, size).words });
    return handle;
  }

  /** What another set goes on with, `takeOver`. No worker has the queues. */
  handOver(): QueuesState {
    const queues = this.made.map(({ index, layout, handle: { plan } }) => ({ index, layout, plan }));
    return { queues, memory: this.memory.handOver() };
  }

  /** Goes on with queues that run, with this release's data half. */
  takeOver({ queues, memory }: QueuesState): Queues {
    this.memory.takeOver(memory);
    const handles = queues.map(({ index, layout, plan }) => {
      const module = queueModule(import.meta.url, layout.packed ? 'packed-queue' : 'split-queue');
      return this.take({ index, layout, plan: { ...plan, module } });
    });
    const of = (direction: 'rx' | 'tx') => handles.filter(({ plan }) => plan.direction === direction);
    return { rx: of('rx'), tx: of('tx') };
  }

  private layOut(size: number, packed: boolean): QueueLayout {
    const areas = queueAreas(size, packed);
    // Event words are accessed as halves of 32-bit words: two bytes more behind each area.
    const [desc, driver, device] = [areas.desc, areas.driver, areas.device].map(({ bytes, align }) =>
      this.memory.allocateShared(bytes + 2 + USED.ring, Math.max(align, 64)),
    );
    // Elements of a used ring begin where none of them lies across a line, or a page: behind an IOMMU, QEMU before 9.0 writes
    // the second half of such a one to somewhere else.
    return { size, packed, desc, driver, device: packed ? device : device + USED.ring };
  }

  /** A table per id for packets of several frames, and where the device finds it. */
  private makeTables(block: number, size: number): number {
    const bytes = MAX_SEGMENTS * DESC_BYTES;
    const tables = this.memory.allocateShared(size * bytes, bytes);
    const { tableAt } = openBlock(this.devio.memory, block, size, true);
    for (let id = 0; id < size; id++) {
      const address = this.devio.addressOf(tables + id * bytes);
      tableAt[id * 2] = Number(address & 0xffff_ffffn);
      tableAt[id * 2 + 1] = Number(address >> 32n);
    }
    return tables;
  }

  /** A reverse ARP behind a header of zeros, and where the device finds it. */
  private makeAnnouncement(): Record<string, number> {
    const at = this.memory.allocateShared(NET_HDR_BYTES + RARP_BYTES, 64);
    const mac = new Int32Array(2);
    new Uint8Array(mac.buffer).set(parseMac(this.options.config.mac));
    putRarp(new DataView(this.devio.memory), at + NET_HDR_BYTES, mac[0], mac[1]);
    const address = this.devio.addressOf(at);
    return { announceLow: Number(address & 0xffff_ffffn), announceHigh: Number(address >> 32n) };
  }

  private data({ size, desc, driver, device }: QueueLayout): Record<string, number> {
    const { features } = this.options;
    const has = (name: Parameters<typeof hasFeature>[1]) => Number(hasFeature(features, name));
    return {
      ...{ size, desc, driver, device },
      eventIdx: has('EVENT_IDX'),
      inOrder: has('IN_ORDER'),
      mergeable: has('MRG_RXBUF'),
      checksum: has('GUEST_CSUM'),
      frameAddresses: this.devio.frameAddresses,
      position: has('NOTIFICATION_DATA'),
    };
  }

  private kick(index: number): Record<string, number> {
    const { fd, register, value, width } = this.devio.transport.notifier(index);
    return { kickFd: fd, kickRegister: register, kickValue: value, kickWidth: width };
  }

  /** Virtqueues by number, to be programmed. */
  get layouts(): ReadonlyMap<number, QueueLayout> {
    return new Map(this.made.map(({ index, layout }) => [index, layout]));
  }

  /** Zeroes the rings: as a device that was reset expects them. Only behind closed gates. */
  clean(): void {
    const { memory } = this.devio;
    for (const { layout, words } of this.made) {
      words[BLOCK.trouble] = TROUBLE.none;
      const { desc, driver, device } = queueAreas(layout.size, layout.packed);
      new Uint8Array(memory, layout.desc, desc.bytes).fill(0);
      new Uint8Array(memory, layout.driver, driver.bytes).fill(0);
      new Uint8Array(memory, layout.device, device.bytes).fill(0);
    }
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
    for (const { words } of this.made) Atomics.store(words, BLOCK.released, words[BLOCK.gate]);
    this.options.wake();
  }

  /** Has the first tx queue say to all where the port is, as soon as a worker has it. */
  announce(): void {
    const tx = this.made.find(({ handle }) => handle.plan.direction === 'tx');
    if (tx === undefined) return;
    Atomics.store(tx.words, BLOCK.announce, 1);
    this.options.wake();
  }

  /** Why queues have stopped by themselves, or undefined: numbers of `TROUBLE`. */
  get trouble(): number | undefined {
    return this.made.map(({ words }) => Atomics.load(words, BLOCK.trouble)).find((trouble) => trouble !== 0);
  }

  /** Returns all memory. Nobody may use the queues any more. */
  free(): void {
    this.memory.free();
    this.made.length = 0;
  }
}
