/** `pcap` ports as a framework would make them, and a worker of one thread that runs their queues. */
import { readdirSync } from 'node:fs';
import { setImmediate as turn } from 'node:timers/promises';
import { pcapDriver } from '../../lib/drivers/pcap/device.ts';
import type { Locks } from '../../lib/drivers/pcap/files.ts';
import { makeRxQueue, makeTxQueue } from '../../lib/drivers/pcap/queue.ts';
import { pcapFacts } from '../../lib/enumerators/file.ts';
import type { Device } from '../../lib/framework/types.ts';
import type { Pktio } from '../../lib/pktio/types.ts';
import type { Burst, QueueContext, RxQueue, TxQueue } from '../../lib/queue.ts';
import { loadNative } from '../../native/index.ts';
import { type FakeDevio, fakeDevio } from './memory-devio.ts';
import { FakeClock, type FakeStack, fakeStack } from './pcap-queues.ts';

/** A port, and what it said. */
export interface OpenPort {
  readonly port: Pktio;
  readonly devio: FakeDevio;
  readonly errors: { error: Error & { code?: string; detail?: Record<string, unknown> }; fatal: boolean }[];
}

/** Opens the port of that name. */
export async function openPcap(name: string, locks: Locks = loadNative(), devio = fakeDevio()): Promise<OpenPort> {
  const device = { address: name, facts: { ...pcapFacts(name) } } as unknown as Device;
  const port = await pcapDriver(locks).probe(device, devio, 0);
  const errors: OpenPort['errors'] = [];
  port.on('error', (error, fatal) => errors.push({ error, fatal }));
  return { port, devio, errors };
}

/** A worker that forwards from one started port's rx queue to its tx queues, or sends packets of its own. */
export class FakeWorker {
  readonly clock = new FakeClock();
  readonly stack: FakeStack;
  readonly rx: RxQueue;
  readonly tx: TxQueue[];
  readonly bytes: Uint8Array;
  readonly frames: number;
  private readonly burst: Burst;
  private readonly port: Pktio;

  constructor({ port, devio }: OpenPort, size = 32, frames = 256) {
    const { memory } = devio;
    this.port = port;
    this.frames = frames;
    this.bytes = new Uint8Array(memory);
    this.stack = fakeStack(devio.allocate(frames * 2048), frames, 2048);
    const context: QueueContext = {
      memory,
      pool: this.stack.pool,
      stack: this.stack,
      clock: this.clock,
      kick: () => {},
      kickTx: () => 0,
      kickRx: () => 0,
      scratch: () => 0,
    };
    this.rx = makeRxQueue(port.queues.rx[0].plan, context);
    this.tx = port.queues.tx.map(({ plan }) => makeTxQueue(plan, context));
    this.burst = { size, offsets: new Int32Array(size), lengths: new Int32Array(size), count: 0 };
  }

  /** One round: what was received goes to tx queue `queue`, again and again until it is taken; returns it. */
  async forward(queue = 0): Promise<Uint8Array[]> {
    const { burst } = this;
    const packets = this.receive();
    for (let sent = 0; sent < burst.count; ) {
      sent += this.tx[queue].transmit(burst, sent, burst.count);
      if (sent < burst.count) await turn();
    }
    return packets;
  }

  /** Forwards until the port has delivered all it has; returns the packets. */
  async forwardAll(deadlineMs = 10_000): Promise<Uint8Array[]> {
    const packets: Uint8Array[] = [];
    for (const end = Date.now() + deadlineMs; !this.port.finished; ) {
      packets.push(...(await this.forward()));
      await turn();
      if (Date.now() > end) throw new Error('the port does not finish');
    }
    return packets;
  }

  /** Sends packets of the caller's until one burst is not taken whole; returns how many were accepted. */
  send(packets: readonly Uint8Array[], queue = 0): number {
    const { burst, stack } = this;
    let accepted = 0;
    for (let at = 0; at < packets.length; at += burst.size) {
      const some = packets.slice(at, at + burst.size);
      some.forEach((packet, i) => {
        burst.offsets[i] = stack.pop();
        burst.lengths[i] = packet.length;
        this.bytes.set(packet.subarray(0, 2048), burst.offsets[i]);
      });
      const n = this.tx[queue].transmit(burst, 0, some.length);
      stack.give(burst.offsets, n, some.length);
      accepted += n;
      if (n < some.length) break;
    }
    return accepted;
  }

  /** Receives one burst; the frames stay in it. */
  private receive(): Uint8Array[] {
    const { burst, bytes } = this;
    this.rx.receive(burst);
    return Array.from({ length: burst.count }, (_, i) =>
      bytes.slice(burst.offsets[i], burst.offsets[i] + burst.lengths[i]),
    );
  }

  /** Receives one burst and frees it; returns the packets. */
  take(): Uint8Array[] {
    const packets = this.receive();
    this.stack.give(this.burst.offsets, 0, this.burst.count);
    return packets;
  }
}

/** Counters as numbers. */
export function numbers(counters: Readonly<Record<string, bigint>>): Record<string, number> {
  return Object.fromEntries(Object.entries(counters).map(([name, n]) => [name, Number(n)]));
}

/** Waits until `condition` holds, for at most `ms`. */
export async function until(condition: () => boolean, ms = 5000): Promise<void> {
  for (const end = Date.now() + ms; !condition(); ) {
    if (Date.now() > end) throw new Error('it did not come true in time');
    await new Promise((resolve) => setTimeout(resolve, 1));
  }
}

/** File descriptors that this process has open. */
export const openFds = (): number => readdirSync('/proc/self/fd').length;
