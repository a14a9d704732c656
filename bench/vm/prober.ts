/** Probes through a guest: frames that go in at one of its cards, by a datagram each, and come out at another. */
import { createSocket, type Socket } from 'node:dgram';
import { setTimeout as sleep } from 'node:timers/promises';
import { SystemError } from '../../lib/errors.ts';
import { quantile } from '../stats.ts';

const HOST = '127.0.0.1';
const BYTES = 60;
const TYPE_AT = 12;
const NUMBER_AT = 14;
const TYPE = 0x88b5; // for experiments, IEEE 802 §9.2.3
/** Wait for what is still under way, in milliseconds. */
const LATE_MS = 500;

/** What became of some probes. */
export interface Passage {
  readonly sent: number;
  readonly received: number;
  /** Microseconds from sending to receiving: of this process, of QEMU and of the guest. NaN without probes. */
  readonly p50: number;
  readonly p99: number;
}

async function bound(): Promise<Socket> {
  const socket = createSocket('udp4');
  await new Promise<void>((resolve, reject) => {
    socket.once('error', reject);
    socket.bind(0, HOST, resolve);
  });
  return socket;
}

/** A port that nobody has just now. */
async function freePort(): Promise<number> {
  const socket = await bound();
  const { port } = socket.address();
  await new Promise<void>((resolve) => socket.close(resolve));
  return port;
}

const netdev = (local: number, remote: number) =>
  `dgram,local.type=inet,local.host=${HOST},local.port=${local},remote.type=inet,remote.host=${HOST},remote.port=${remote}`;

/** Sends at one end and receives at the other. */
export class Prober {
  /** QEMU's netdevs, where probes go in and where they come out. */
  readonly netdevs: readonly string[];
  private readonly near: Socket;
  private readonly far: Socket;
  private readonly into: number;
  private readonly frame = Buffer.alloc(BYTES);
  private readonly sentAt = new Map<number, bigint>();
  private trips: number[] = [];
  private number = 0;

  private constructor(near: Socket, far: Socket, into: number, outOf: number) {
    this.near = near;
    this.far = far;
    this.into = into;
    this.netdevs = [netdev(into, near.address().port), netdev(outOf, far.address().port)];
    this.frame.fill(0xff, 0, 6).set([2, 0, 0, 0, 0, 0x77], 6);
    this.frame.writeUInt16BE(TYPE, TYPE_AT);
    far.on('message', (frame) => this.receive(frame, process.hrtime.bigint()));
    for (const socket of [near, far]) socket.on('error', () => {}); // QEMU is not there yet, or has gone
  }

  static async open(): Promise<Prober> {
    return new Prober(await bound(), await bound(), await freePort(), await freePort());
  }

  private receive(frame: Buffer, at: bigint): void {
    if (frame.length < NUMBER_AT + 4 || frame.readUInt16BE(TYPE_AT) !== TYPE) return;
    const number = frame.readUInt32BE(NUMBER_AT);
    const sent = this.sentAt.get(number);
    if (sent === undefined) return;
    this.sentAt.delete(number);
    this.trips.push(Number(at - sent) / 1000);
  }

  private send(): void {
    this.frame.writeUInt32BE(this.number, NUMBER_AT);
    this.sentAt.set(this.number++, process.hrtime.bigint());
    // A copy: it is read after this returns.
    this.near.send(Buffer.from(this.frame), this.into, HOST);
  }

  /** Sends `rate` probes per second for `ms`. */
  async measure(rate: number, ms: number): Promise<Passage> {
    this.sentAt.clear();
    this.trips = [];
    const began = performance.now();
    let sent = 0;
    for (let passed = 0; passed < ms; passed = performance.now() - began) {
      for (; sent < (passed * rate) / 1000; sent++) this.send();
      await sleep(1);
    }
    for (const end = performance.now() + LATE_MS; this.sentAt.size > 0 && performance.now() < end; ) await sleep(5);
    return { sent, received: this.trips.length, p50: quantile(this.trips, 0.5), p99: quantile(this.trips, 0.99) };
  }

  /** Waits until probes pass. Throws `GUEST_SILENT`. */
  async untilPassing(ms: number): Promise<void> {
    for (const end = performance.now() + ms; performance.now() < end; )
      if ((await this.measure(50, 200)).received > 0) return;
    const fix = 'look at what the forwarder in the guest has said';
    throw new SystemError('GUEST_SILENT', { what: 'guest', why: `no probe has passed for ${ms} ms`, fix });
  }

  close(): void {
    this.near.close();
    this.far.close();
  }
}
