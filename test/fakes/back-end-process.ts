/**
 * The `vhost` driver's part of a process that serves a guest: an arena, frames, the control half of one ring and its
 * queue. The guest outlives it.
 */
import { readCounters } from '../../lib/arena/counters.ts';
import { VHOST_RX_NAMES, VHOST_TX_NAMES } from '../../lib/drivers/vhost/block.ts';
import { makeRxQueue, makeTxQueue } from '../../lib/drivers/vhost/queue.ts';
import { RingControl } from '../../lib/drivers/vhost/ring-control.ts';
import { COUNTER_NAMES } from '../../lib/pktio/memory-port.ts';
import type { QueueContext, QueuePlan, RxQueue, TxQueue } from '../../lib/queue.ts';
import { type RingOwner, type RingSetup, VHOST_API, type VhostDevio } from '../../lib/vhost-user/types.ts';
import { featureSet } from '../../lib/virtio/features.ts';
import type { GuestMemory } from './guest-memory.ts';
import { FakeClock, type FakeStack, fakeStack } from './pcap-queues.ts';
import type { Driver } from './virtio-driver.ts';

const COUNTERS = 0x1000;
const HEAP = 0x1_0000;
const FRAMES = 0x8_0000;

/** A heap and windows, and eventfds that nobody has. */
export class FakeVhostDevio {
  readonly memory: SharedArrayBuffer;
  readonly windows: readonly SharedArrayBuffer[];
  /** Offsets that are allocated. */
  readonly allocated = new Set<number>();
  readonly api = VHOST_API;
  readonly wishes: Record<string, string | number | boolean>;
  readonly closed: number[] = [];
  /** What the driver has said, in order. */
  readonly said: string[] = [];
  owner: RingOwner | undefined;
  /** Eventfds in epoll sets, as `set:fd`. */
  readonly polled = new Set<string>();
  private fds = 100;
  readonly native = {
    epollCreate: () => ++this.fds,
    close: (fd: number) => void this.closed.push(fd),
    epollAdd: (set: number, fd: number) => void this.polled.add(`${set}:${fd}`),
    epollRemove: (set: number, fd: number) => void this.polled.delete(`${set}:${fd}`),
  };
  private next = HEAP;

  constructor(
    memory: SharedArrayBuffer,
    windows: readonly SharedArrayBuffer[],
    wishes: Record<string, string | number | boolean> = {},
  ) {
    this.memory = memory;
    this.windows = windows;
    this.wishes = wishes;
  }

  serve(owner: RingOwner): void {
    this.owner = owner;
  }

  configChanged(): void {
    this.said.push('config changed');
  }

  broken(index: number, reason: string): void {
    this.said.push(`ring ${index}: ${reason}`);
  }

  async retire(): Promise<void> {
    this.said.push('retired');
  }

  allocate(bytes: number): number {
    const at = this.next;
    this.next = Math.ceil((at + bytes) / 64) * 64;
    if (this.next > FRAMES) throw new Error('the heap is full');
    new Uint8Array(this.memory, at, bytes).fill(0);
    this.allocated.add(at);
    return at;
  }

  free(offset: number): void {
    if (!this.allocated.delete(offset)) throw new Error(`${offset} is not allocated`);
  }

  get asDevio(): VhostDevio {
    return this as unknown as VhostDevio;
  }
}

/** Where an inflight area is, in the guest's windows. */
export type Area = NonNullable<RingSetup['inflight']>;

/** What a session says of `driver`'s ring. */
export function setupOf(guest: GuestMemory, driver: Driver, packed: boolean, changes: Partial<RingSetup>): RingSetup {
  const place = (gpa: number) => guest.place(gpa)!;
  return {
    ...{ index: 1, size: driver.size, packed, call: 71, kick: -1, err: 72, enabled: true, logAddress: -1 },
    features: featureSet('VERSION_1', 'INDIRECT_DESC', 'MRG_RXBUF'),
    ...{ desc: place(driver.desc), driver: place(driver.driver), device: place(driver.device) },
    base: { avail: 0, availWrap: true, used: 0, usedWrap: true },
    ...{ regions: guest.regions, inflight: undefined, log: undefined },
    ...changes,
  };
}

/** One process, which has one ring. */
export class BackEndProcess {
  readonly arena = new SharedArrayBuffer(FRAMES + 256 * 2048);
  readonly bytes = new Uint8Array(this.arena);
  readonly stack: FakeStack = fakeStack(FRAMES, 256, 2048, 2048);
  readonly devio: FakeVhostDevio;
  readonly control: RingControl;
  /** Eventfds that were signalled. */
  readonly kicked: number[] = [];
  readonly block: number;
  private readonly windows: readonly SharedArrayBuffer[];

  constructor(guest: GuestMemory, setup: RingSetup) {
    this.windows = guest.windows;
    this.devio = new FakeVhostDevio(this.arena, guest.windows);
    this.control = new RingControl(this.devio.asDevio, setup.index, -1, () => {});
    this.control.start(setup);
    this.block = this.control.attach();
  }

  private plan(direction: 'rx' | 'tx'): QueuePlan {
    return {
      ...{ module: '', direction, port: 'test', queue: 0, fd: -1, maxLength: 1518 },
      counters: COUNTERS,
      counterNames: [...COUNTER_NAMES[direction], ...(direction === 'rx' ? VHOST_RX_NAMES : VHOST_TX_NAMES)],
      data: { block: this.block },
      peer: this.windows,
    };
  }

  private get context(): QueueContext {
    const fail = (): never => {
      throw new Error('a queue must not do that');
    };
    return {
      ...{ memory: this.arena, pool: this.stack.pool, stack: this.stack, clock: new FakeClock() },
      kick: (fd) => void this.kicked.push(fd),
      ...{ kickTx: fail, kickRx: fail, scratch: fail },
    };
  }

  rx(): RxQueue {
    return makeRxQueue(this.plan('rx'), this.context);
  }

  tx(): TxQueue {
    return makeTxQueue(this.plan('tx'), this.context);
  }

  counters(direction: 'rx' | 'tx'): Record<string, number> {
    const { counters, counterNames } = this.plan(direction);
    const read = readCounters(this.arena, counters, counterNames);
    return Object.fromEntries(Object.entries(read).map(([name, n]) => [name, Number(n)]));
  }
}
