/** A started port of a fake gigabit controller, the worker around its queues, and packets. */
import { readCounters } from '../../lib/arena/counters.ts';
import { E1000e } from '../../lib/drivers/e1000e/controller.ts';
import { LIMITS, type Limits } from '../../lib/drivers/gbe/controller.ts';
import { GbeDevice, openGbe } from '../../lib/drivers/gbe/device.ts';
import { makeRxQueue, makeTxQueue } from '../../lib/drivers/gbe/queue.ts';
import { Igb } from '../../lib/drivers/igb/controller.ts';
import type { LinkInfo, PortConfig, QueueHandle, Queues } from '../../lib/pktio/types.ts';
import type { Burst, FrameStack, QueueContext, RxQueue, TxQueue } from '../../lib/queue.ts';
import { AT, FakeGbe, type FakeOptions } from './gbe.ts';
import { FakeClock, type FakeStack, fakeStack } from './pcap-queues.ts';

/** How a world is made. */
export interface GbeOptions extends FakeOptions {
  readonly config?: Partial<PortConfig>;
  readonly limits?: Partial<Limits>;
}

/** Makes the controller of a fake. */
export function controllerOf(fake: FakeGbe, limits: Partial<Limits> = {}) {
  const all = { ...LIMITS, ...limits };
  const Kind = fake.family === 82576 ? Igb : E1000e;
  return new Kind(fake.address, fake, all);
}

/** Opens a fake. */
export const openFake = (fake: FakeGbe, limits?: Partial<Limits>): Promise<GbeDevice> =>
  openGbe(fake.address, fake, controllerOf(fake, limits));

/** A port that has been set up. */
export class GbeWorld {
  readonly fake: FakeGbe;
  readonly device: GbeDevice;
  readonly queues: Queues;
  readonly free: FakeStack;
  readonly stack: FrameStack;
  /** Eventfds that were signalled. */
  readonly kicks: number[] = [];
  readonly links: LinkInfo[] = [];
  readonly errors: { readonly error: Error; readonly fatal: boolean }[] = [];
  readonly frames: number;

  private constructor(fake: FakeGbe, device: GbeDevice, queues: Queues) {
    const { frames = 512, headroom = 256, frameSize = 2048 } = fake.options;
    this.fake = fake;
    this.device = device;
    this.queues = queues;
    this.frames = frames;
    this.free = fakeStack(AT.frames, frames, frameSize, frameSize - headroom);
    const { free } = this;
    const pop = () => {
      const offset = free.pop();
      return offset === 0 ? 0 : offset + headroom;
    };
    this.stack = {
      ...free,
      pop,
      take(offsets, at, wanted) {
        const n = Math.min(wanted, free.free.size);
        for (let i = 0; i < n; i++) offsets[at + i] = pop();
        return n;
      },
    };
  }

  static async start({ config, limits, ...options }: GbeOptions = {}): Promise<GbeWorld> {
    const fake = new FakeGbe(options);
    const device = await openFake(fake, limits);
    const links: LinkInfo[] = [];
    const errors: { error: Error; fatal: boolean }[] = [];
    device.attach({
      link: (link) => links.push(link),
      error: (error, fatal) => errors.push({ error, fatal }),
      wake: () => {},
      stuck: () => {},
    });
    const queues = await device.setup({ ...device.defaults, rxRing: 64, txRing: 64, ...config });
    const world = new GbeWorld(fake, device, queues);
    return Object.assign(world, { links, errors });
  }

  get context(): QueueContext {
    const fail = (): never => {
      throw new Error('a queue must not do that');
    };
    return {
      memory: this.fake.memory,
      pool: this.fake.frames.plan,
      stack: this.stack,
      clock: new FakeClock(),
      kick: (fd) => void this.kicks.push(fd),
      kickTx: fail,
      kickRx: fail,
      scratch: fail,
    };
  }

  makeRx(n = 0): RxQueue {
    const rx = makeRxQueue(this.queues.rx[n].plan, this.context);
    this.fake.tick();
    return rx;
  }

  makeTx(n = 0): TxQueue {
    return makeTxQueue(this.queues.tx[n].plan, this.context);
  }

  counters({ plan }: QueueHandle): Record<string, number> {
    const read = readCounters(this.fake.memory, plan.counters, plan.counterNames);
    return Object.fromEntries(Object.entries(read).map(([name, n]) => [name, Number(n)]));
  }

  /** Counters of the rx queue that are not 0. */
  rxCounters(n = 0): Record<string, number> {
    return Object.fromEntries(Object.entries(this.counters(this.queues.rx[n])).filter(([, value]) => value > 0));
  }

  txCounters(n = 0): Record<string, number> {
    return Object.fromEntries(Object.entries(this.counters(this.queues.tx[n])).filter(([, value]) => value > 0));
  }

  burst(size = 32): Burst {
    return { size, offsets: new Int32Array(size), lengths: new Int32Array(size), count: 0 };
  }

  /** A burst of frames from the stack with these lengths, each filled with its number. */
  burstOf(...lengths: number[]): Burst {
    const burst = this.burst(Math.max(1, lengths.length));
    burst.count = lengths.length;
    for (const [i, length] of lengths.entries()) {
      burst.offsets[i] = this.stack.pop();
      burst.lengths[i] = length;
      this.fake.bytes.fill(i + 1, burst.offsets[i], burst.offsets[i] + 64);
    }
    return burst;
  }

  /** The packets of a burst as bytes, segments joined; their frames are given back. */
  packets({ offsets, lengths, count }: Burst): number[][] {
    const packets: number[][] = [];
    let packet: number[] = [];
    for (let i = 0; i < count; i++) {
      const length = lengths[i] & ~(1 << 30);
      packet.push(...this.fake.bytes.subarray(offsets[i], offsets[i] + length));
      if (lengths[i] < 1 << 30) {
        packets.push(packet);
        packet = [];
      }
    }
    this.stack.give(offsets, 0, count);
    return packets;
  }

  /** The port of a later release of the driver, which goes on with what this one has handed over. */
  successor(): GbeWorld {
    const state = this.device.handOver();
    if (state === undefined) throw new Error('nothing was handed over');
    const device = new GbeDevice(state.name, this.fake, controllerOf(this.fake), state.mac);
    const { links, errors } = this;
    device.attach({
      link: (link) => links.push(link),
      error: (error, fatal) => errors.push({ error, fatal }),
      wake: () => {},
      stuck: () => {},
    });
    const queues = device.takeOver(state);
    return Object.assign(new GbeWorld(this.fake, device, queues), {
      links,
      errors,
      free: this.free,
      stack: this.stack,
    });
  }

  async stop(): Promise<void> {
    await this.device.teardown();
  }
}

/** A broadcast of `length` bytes that `n` tells from others. */
export const packetOf = (n: number, length = 60): number[] =>
  Array.from({ length }, (_, i) => (i < 6 ? 0xff : (n * 7 + i) & 0xff));
