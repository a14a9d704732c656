/** A `vhost` queue, a guest's memory, and the block between them, as the device would set it up. */

import { readCounters } from '../../lib/arena/counters.ts';
import { Gate } from '../../lib/arena/gate.ts';
import { BLOCK, VHOST_RX_NAMES, VHOST_TX_NAMES } from '../../lib/drivers/vhost/block.ts';
import { programRing } from '../../lib/drivers/vhost/program.ts';
import { makeRxQueue, makeTxQueue } from '../../lib/drivers/vhost/queue.ts';
import { COUNTER_NAMES } from '../../lib/pktio/memory-port.ts';
import type { Burst, QueueContext, QueuePlan, RxQueue, TxQueue } from '../../lib/queue.ts';
import type { RingSetup } from '../../lib/vhost-user/types.ts';
import { featureSet } from '../../lib/virtio/features.ts';
import { GuestMemory, type GuestRegion } from './guest-memory.ts';
import { FakeClock, type FakeStack, fakeStack } from './pcap-queues.ts';
import { type Driver, PackedDriver, SplitDriver } from './virtio-driver.ts';

const AT = { block: 0x1_0000, counters: 0x8000, frames: 0x8_0000 } as const;
const CALL = 71;
const ERR = 72;

/** One region at 4 GiB - 1 MiB or so: addresses have a high half, and cross into the next. */
export const ONE_REGION: readonly GuestRegion[] = [{ gpa: 0x1_0010_0000, bytes: 2 << 20, window: 0, offset: 0x1_0000 }];
/** Regions of 64 KiB, one after the other in guest addresses, elsewhere in two windows. */
export const MANY_REGIONS: readonly GuestRegion[] = [3, 0, 2, 5, 1, 4].flatMap((place, i) => ({
  gpa: 0xfffe_0000 + i * 0x1_0000,
  bytes: 0x1_0000,
  window: place & 1,
  offset: 0x8000 + (place >> 1) * 0x2_0000,
}));

/** What a test may choose. */
export interface VhostOptions {
  readonly size?: number;
  readonly packed?: boolean;
  readonly mergeable?: boolean;
  readonly eventIdx?: boolean;
  readonly indirect?: boolean;
  readonly csum?: boolean;
  readonly inOrder?: boolean;
  readonly regions?: readonly GuestRegion[];
  /** See `DriverOptions`. */
  readonly watchful?: boolean;
  readonly maxLength?: number;
  readonly frames?: number;
  /** Index at which ring and driver start. */
  readonly at?: number;
  readonly log?: RingSetup['log'];
  readonly logAddress?: number;
}

/** One ring, one queue. */
export class VhostWorld {
  readonly arena = new SharedArrayBuffer(AT.frames + 512 * 2048);
  readonly bytes = new Uint8Array(this.arena);
  readonly block = new Int32Array(this.arena, AT.block, BLOCK.words);
  readonly guest: GuestMemory;
  readonly driver: Driver;
  readonly stack: FakeStack;
  readonly plan: QueuePlan;
  readonly context: QueueContext;
  readonly gate: Gate;
  /** Eventfds that the queue signalled since they were asked for. */
  private kicked: number[] = [];
  readonly options: VhostOptions;
  readonly frames: number;

  constructor(direction: 'rx' | 'tx', options: VhostOptions = {}) {
    this.options = options;
    this.guest = new GuestMemory(options.regions ?? ONE_REGION);
    const drive = { size: 64, ...options };
    this.driver = options.packed
      ? new PackedDriver(this.guest, drive)
      : new SplitDriver(this.guest, drive, options.at ?? 0);
    this.frames = options.frames ?? 512;
    this.stack = fakeStack(AT.frames, this.frames, 2048, 2048);
    this.gate = new Gate(this.arena, AT.block, () => {});
    this.plan = {
      module: '',
      direction,
      port: 'test',
      queue: 0,
      counters: AT.counters,
      counterNames: [...COUNTER_NAMES[direction], ...(direction === 'rx' ? VHOST_RX_NAMES : VHOST_TX_NAMES)],
      fd: -1,
      maxLength: options.maxLength ?? 1518,
      data: { block: AT.block },
      peer: this.guest.windows,
    };
    const fail = (): never => {
      throw new Error('a queue must not do that');
    };
    this.context = {
      memory: this.arena,
      pool: this.stack.pool,
      stack: this.stack,
      clock: new FakeClock(),
      kick: (fd) => void this.kicked.push(fd),
      kickTx: fail,
      kickRx: fail,
      scratch: fail,
    };
    this.start();
  }

  /** Programs the ring and opens the gate. */
  start(changes: Partial<RingSetup> = {}): void {
    const { options, driver, guest } = this;
    const place = (gpa: number) => guest.place(gpa)!;
    const packed = options.packed ?? false;
    const at = options.at ?? 0;
    const setup: RingSetup = {
      index: this.plan.direction === 'rx' ? 1 : 0,
      size: driver.size,
      packed,
      features:
        featureSet('VERSION_1') |
        (options.mergeable ? featureSet('MRG_RXBUF') : 0n) |
        (options.eventIdx ? featureSet('EVENT_IDX') : 0n) |
        (options.indirect === false ? 0n : featureSet('INDIRECT_DESC')) |
        (options.csum ? featureSet('CSUM') : 0n) |
        (options.inOrder ? featureSet('IN_ORDER') : 0n),
      desc: place(driver.desc),
      driver: place(driver.driver),
      device: place(driver.device),
      base: { avail: at, availWrap: true, used: at, usedWrap: true },
      call: CALL,
      kick: -1,
      err: ERR,
      enabled: true,
      regions: guest.regions,
      inflight: undefined,
      log: options.log,
      logAddress: options.logAddress ?? -1,
      ...changes,
    };
    this.gate.set(false);
    programRing(this.arena, AT.block, setup, setup.base.used);
    this.gate.set(true);
  }

  rx(): RxQueue {
    return makeRxQueue(this.plan, this.context);
  }

  tx(): TxQueue {
    return makeTxQueue(this.plan, this.context);
  }

  get counters(): Record<string, number> {
    const counters = readCounters(this.arena, AT.counters, this.plan.counterNames);
    return Object.fromEntries(Object.entries(counters).map(([name, n]) => [name, Number(n)]));
  }

  /** Counters that are not 0. */
  get counted(): Record<string, number> {
    return Object.fromEntries(Object.entries(this.counters).filter(([, n]) => n !== 0));
  }

  /** Interrupts since the last call, and errors. */
  interrupts(): number {
    const n = this.kicked.filter((fd) => fd === CALL).length;
    this.kicked = this.kicked.filter((fd) => fd !== CALL);
    return n;
  }

  errors(): number {
    const n = this.kicked.filter((fd) => fd === ERR).length;
    this.kicked = this.kicked.filter((fd) => fd !== ERR);
    return n;
  }

  burst(size = 32): Burst {
    return { size, offsets: new Int32Array(size), lengths: new Int32Array(size), count: 0 };
  }

  /** Receives until there is nothing, and frees the frames. */
  receiveAll(rx: RxQueue, burst = this.burst()): Uint8Array[] {
    const packets: Uint8Array[] = [];
    while (rx.receive(burst) > 0) {
      for (let i = 0; i < burst.count; i++) {
        packets.push(this.bytes.slice(burst.offsets[i], burst.offsets[i] + burst.lengths[i]));
      }
      this.stack.give(burst.offsets, 0, burst.count);
    }
    return packets;
  }

  /** Frames with packets in them. What is behind each is somebody else's. */
  burstOf(packets: readonly Uint8Array[], lengths = packets.map((p) => p.length)): Burst {
    const burst = this.burst(packets.length);
    packets.forEach((packet, i) => {
      const offset = this.stack.pop();
      this.bytes.fill(0x5e, offset, offset + 2048);
      this.bytes.set(packet, offset);
      burst.offsets[i] = offset;
      burst.lengths[i] = lengths[i];
    });
    burst.count = packets.length;
    return burst;
  }

  /** Sends, interrupts, and frees what was not accepted; returns how many were. */
  send(tx: TxQueue, packets: readonly Uint8Array[], lengths?: number[]): number {
    const burst = this.burstOf(packets, lengths);
    const sent = tx.transmit(burst, 0, burst.count);
    this.stack.give(burst.offsets, sent, burst.count);
    tx.kick();
    return sent;
  }

  /** All frames are free again: none was lost, none was freed twice. */
  get framesFree(): boolean {
    return this.stack.free.size === this.frames;
  }
}

/** A packet of `length` bytes that tells its number. */
export function packet(length: number, seed = 0): Uint8Array {
  return Uint8Array.from({ length }, (_, i) => (i * 7 + seed * 13 + 1) & 0xff);
}
