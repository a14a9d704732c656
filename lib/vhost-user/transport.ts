/**
 * A virtio device behind a vhost-user socket, as its driver sees it: the front end's side (QEMU,
 * docs/interop/vhost-user.rst). The back end is told of the rings all at once, with DRIVER_OK. When it goes, `lost`; when
 * there is one again, `back`, and the driver brings the device up anew. Main thread.
 */
import type { Native } from '../../native/index.ts';
import type { Segment } from '../arena/arena.ts';
import { DeviceError, PortError } from '../errors.ts';
import type { UnixConnection } from '../unix/connection.ts';
import { featureNames, featureSet, hasFeature, STATUS } from '../virtio/features.ts';
import { CTRL_ACK, NET_CONFIG, NET_CONFIG_BYTES, NET_LIMITS } from '../virtio/net.ts';
import { MAX_QUEUE_SIZE } from '../virtio/ring.ts';
import type { Interrupt, Notifier, QueueLayout, TransportEvents, VirtioTransport } from '../virtio/transport.ts';
import { BackendRequests } from './backend-requests.ts';
import { bringUp, disable, enable, startRing } from './bring-up.ts';
import { gone } from './channel.ts';
import { F_PROTOCOL_FEATURES, FrontEnd } from './frontend.ts';
import { isMtu, LOCAL_FEATURES, LocalConfig, PASSED_FEATURES, readCommand } from './local.ts';
import { Meeting } from './meeting.ts';
import { Eventfds } from './ring-fds.ts';

/** What was asked for. */
export interface FrontEndWishes {
  readonly path: string;
  /** The back end connects to us; else we to it. */
  readonly server: boolean;
  readonly queues: number;
  readonly packed: boolean;
  readonly mac: Uint8Array;
  /** 0: what the back end says. */
  readonly mtu: number;
  /** Features that are not used though the back end offers them. */
  readonly without: bigint;
  /** The back end shall note what it is working on (INFLIGHT_SHMFD): three of ten packets per second for a back end of ours. */
  readonly inflight: boolean;
}

/** What it works with. */
export interface FrontEndMeans {
  readonly native: Native;
  /** Memory that the device sees. */
  segments(): readonly Segment[];
  /** How long to wait for a back end at first, and for each of its answers, in ms. */
  readonly openMs: number;
  readonly replyMs: number;
}

/** How long a back end that has crashed may take to be noticed before another that has come in its place is turned away. */
const SUCCESSION_MS = 50;

/** See `VirtioTransport`. Own it: `close`. */
export class FrontEndTransport implements VirtioTransport {
  private readonly means: FrontEndMeans;
  private readonly wishes: FrontEndWishes;
  private readonly config: LocalConfig;
  private readonly eventfds: Eventfds;
  private readonly layouts = new Map<number, QueueLayout>();
  private readonly running = new Set<number>();
  /** Memory that the back end knows of. */
  private readonly told = new Set<Segment>();
  private meeting: Meeting | undefined;
  private front: FrontEnd | undefined;
  private requests: BackendRequests | undefined;
  private events: TransportEvents | undefined;
  /** The first back end has been met and found good. */
  private opened = false;
  private ready = false;
  /** Why there is no back end. */
  private reason = 'nobody has been met yet';
  /** The features that were negotiated first: they are the same for every back end that comes after. */
  private features: bigint | undefined;
  private featuresRefused = false;
  private state = 0;
  private pairsOn = 1;
  private backendMtu = false;

  constructor(means: FrontEndMeans, wishes: FrontEndWishes) {
    this.means = means;
    this.wishes = wishes;
    this.config = new LocalConfig(wishes.mac);
    this.eventfds = new Eventfds(means.native);
  }

  /** Meets the first back end. Rejects with `NO_BACKEND`, and with what is wrong with the one that was met. */
  async open(): Promise<void> {
    const { native, openMs } = this.means;
    const { path, server } = this.wishes;
    await new Promise<void>((resolve, reject) => {
      const timer = setTimeout(() => reject(noBackend(path, server, this.reason)), openMs);
      const met = (connection: UnixConnection) =>
        this.meet(connection).then(
          () => resolve(),
          (error) => (error instanceof PortError ? reject(error) : undefined),
        );
      try {
        this.meeting = new Meeting({
          native,
          path,
          server,
          met: (connection) => void met(connection).finally(() => this.opened && clearTimeout(timer)),
          alone: (error) => {
            this.reason = error.message;
          },
        });
      } catch (error) {
        clearTimeout(timer);
        reject(error);
      }
    }).catch((error) => {
      this.close();
      throw error;
    });
  }

  get ours(): boolean {
    return this.front?.pid === process.pid;
  }

  /** A connection was made: is it one that the device can go on with? */
  private async meet(connection: UnixConnection): Promise<void> {
    if (this.front !== undefined) {
      await new Promise((resolve) => setTimeout(resolve, SUCCESSION_MS));
      if (this.front !== undefined) return connection.close();
    }
    const close = (fd: number) => this.means.native.close(fd);
    const front = new FrontEnd(connection, close, this.means.replyMs, { lost: (why) => this.lose(front, why) });
    this.front = front;
    try {
      await front.negotiate(this.wishes.inflight);
      await this.examine(front);
    } catch (error) {
      front.hangUp();
      this.lose(front, (error as Error).message);
      throw error;
    }
    this.ready = true;
    const first = !this.opened;
    this.opened = true;
    if (!first) this.events?.back();
  }

  private lose(front: FrontEnd, reason: string): void {
    if (this.front !== front) return;
    this.front = undefined;
    this.ready = false;
    this.reason = reason;
    this.requests?.close();
    this.requests = undefined;
    this.forget();
    this.told.clear();
    this.config.up = false;
    if (this.opened) this.events?.lost(reason, false);
    this.meeting?.again();
  }

  /** The state of a device that was just reset. */
  private forget(): void {
    this.layouts.clear();
    this.running.clear();
    this.state = 0;
    this.pairsOn = 1;
    this.featuresRefused = false;
  }

  /** Looks at what the back end is. Throws PortError when it is not what was asked for, or not what it was before. */
  private async examine(front: FrontEnd): Promise<void> {
    const { queues, packed, mtu, path } = this.wishes;
    if (front.has('MQ')) await this.countQueues(front);
    else if (queues > 1) throw unfit(path, 'it has one queue pair', 'leave queues out');
    if (packed && !hasFeature(front.offered, 'RING_PACKED'))
      throw unfit(path, 'it has no packed rings', 'leave packed out');
    this.config.pairs = queues;
    this.config.up = true;
    this.backendMtu = false;
    if (mtu > 0) this.config.mtu = mtu;
    if (front.has('CONFIG')) await refused(this.readBackend(front));
    if (front.has('BACKEND_REQ'))
      this.requests = await BackendRequests.open(this.means.native, front, () => void this.reread(front));
    const missing = (this.features ?? 0n) & ~this.offer(front);
    if (missing === 0n) return;
    const why = `it lacks ${featureNames(missing).join(', ')}, which the one before it had`;
    throw unfit(path, why, 'start the same kind of back end again, or open the port anew');
  }

  private async countQueues(front: FrontEnd): Promise<void> {
    const { queues, path } = this.wishes;
    const pairs = (await front.ask('GET_QUEUE_NUM', undefined)).value;
    if (pairs < BigInt(NET_LIMITS.minPairs) || pairs > BigInt(NET_LIMITS.maxPairs))
      throw unfit(path, `it says that it has ${pairs} queue pairs`, 'mend it');
    if (pairs < BigInt(queues))
      throw unfit(path, `it has ${pairs} queue pairs, not ${queues}`, `ask for queues=${pairs} or fewer`);
  }

  private async readBackend(front: FrontEnd): Promise<void> {
    const ask = { offset: 0, size: NET_CONFIG_BYTES, flags: 0, bytes: new Uint8Array(NET_CONFIG_BYTES) };
    const { bytes } = (await front.ask('GET_CONFIG', ask)).value;
    const has = (name: 'STATUS' | 'SPEED_DUPLEX' | 'MTU') => hasFeature(front.offered, name);
    this.config.takeLink(bytes, has('STATUS'), has('SPEED_DUPLEX'));
    const mtu = bytes[NET_CONFIG.mtu] | (bytes[NET_CONFIG.mtu + 1] << 8);
    this.backendMtu = has('MTU') && isMtu(mtu);
    if (this.backendMtu && this.wishes.mtu === 0) this.config.mtu = mtu;
  }

  private async reread(front: FrontEnd): Promise<void> {
    try {
      await this.readBackend(front);
      if (this.front === front && this.ready) this.events?.configChanged();
    } catch {
      // Refused: then nothing has changed. Gone: that is told elsewhere.
    }
  }

  private offer(front: FrontEnd): bigint {
    const { queues, packed, mtu, without } = this.wishes;
    const unwanted = without | (packed ? 0n : featureSet('RING_PACKED'));
    const passed = front.offered & PASSED_FEATURES & ~unwanted;
    const many = queues > 1 ? featureSet('MQ') : 0n;
    const size = mtu > 0 || this.backendMtu ? featureSet('MTU') : 0n;
    const speed = front.has('CONFIG') ? front.offered & featureSet('SPEED_DUPLEX') : 0n;
    return passed | LOCAL_FEATURES | many | size | speed;
  }

  watch(events: TransportEvents): void {
    this.events = events;
  }

  async deviceFeatures(): Promise<bigint> {
    return this.offer(this.present());
  }

  async setDriverFeatures(features: bigint): Promise<void> {
    const front = this.present();
    const told = (features & front.offered & ~LOCAL_FEATURES) | (front.offered & F_PROTOCOL_FEATURES);
    // Told by its absence at the next look at the status, §3.1.1 step 6.
    this.featuresRefused = await refused(front.ask('SET_FEATURES', told));
    if (!this.featuresRefused) this.features = features;
  }

  async status(): Promise<number> {
    const front = this.present();
    if (!front.has('STATUS')) return this.state;
    const { value } = await front.ask('GET_STATUS', undefined);
    if (value > 0xffn) throw new DeviceError('VHOST_BAD_REPLY', badStatus(value));
    return this.featuresRefused ? Number(value) & ~STATUS.FEATURES_OK : Number(value);
  }

  async setStatus(status: number): Promise<void> {
    const front = this.present();
    const next = this.featuresRefused ? status & ~STATUS.FEATURES_OK : status;
    const goes = (next & STATUS.DRIVER_OK) !== 0 && (this.state & STATUS.DRIVER_OK) === 0;
    if (goes) await this.start(front);
    if (front.has('STATUS')) await front.ask('SET_STATUS', BigInt(next));
    this.state = next;
  }

  private async start(front: FrontEnd): Promise<void> {
    const { mtu } = this.wishes;
    const negotiated = this.features ?? 0n;
    if (mtu > 0 && front.has('MTU') && hasFeature(negotiated, 'MTU')) await front.ask('NET_SET_MTU', BigInt(mtu));
    await bringUp(front, this.means.segments(), this.told, this.layouts, (index) => this.eventfds.of(index));
    for (const index of this.layouts.keys()) this.running.add(index);
    await enable(
      front,
      [...this.running].filter((index) => this.isOn(index)),
    );
  }

  /** Rings of the pairs that are in use, §5.1.6.5.5: after a reset the first. */
  private isOn(index: number): boolean {
    return index < this.pairsOn * 2;
  }

  async reset(): Promise<void> {
    const front = this.present();
    for (const index of this.running) await this.stop(front, index);
    if (front.has('RESET_DEVICE') && this.state !== 0) await front.ask('RESET_DEVICE', undefined);
    if (front.has('STATUS')) await front.ask('SET_STATUS', 0n);
    this.forget();
  }

  private async stop(front: FrontEnd, index: number): Promise<void> {
    await disable(front, [index]);
    await front.ask('GET_VRING_BASE', { index, num: 0 });
    this.running.delete(index);
  }

  async readConfig(offset: number, length: number): Promise<Uint8Array> {
    this.present();
    return this.config.bytes.slice(offset, offset + length);
  }

  async queueMax(index: number): Promise<number> {
    return index < this.wishes.queues * 2 ? MAX_QUEUE_SIZE : 0;
  }

  async startQueue(index: number, layout: QueueLayout): Promise<void> {
    const front = this.present();
    this.layouts.set(index, layout);
    if ((this.state & STATUS.DRIVER_OK) === 0) return;
    await startRing(front, index, layout, this.eventfds.of(index));
    this.running.add(index);
    if (this.isOn(index)) await enable(front, [index]);
  }

  async resetQueue(index: number): Promise<void> {
    const front = this.present();
    if (this.running.has(index)) await this.stop(front, index);
    this.layouts.delete(index);
  }

  notifier(index: number): Notifier {
    return { fd: this.eventfds.of(index).kick, register: 0, value: 0, width: 2 };
  }

  interrupts(queues: readonly number[]): ReadonlyMap<number, Interrupt> {
    return new Map(queues.map((index) => [index, { fd: this.eventfds.of(index).call, isr: 0, unmask: -1 }]));
  }

  async command(commandClass: number, command: number, data: Uint8Array): Promise<number> {
    const front = this.present();
    const wanted = readCommand(commandClass, command, data);
    if (wanted === 'unknown') return CTRL_ACK.ERR;
    if (wanted === 'nothing') return CTRL_ACK.OK;
    if ('mac' in wanted) {
      this.config.mac = wanted.mac;
      return CTRL_ACK.OK;
    }
    if (wanted.pairs < 1 || wanted.pairs > this.wishes.queues) return CTRL_ACK.ERR;
    this.pairsOn = wanted.pairs;
    await disable(
      front,
      [...this.running].filter((index) => !this.isOn(index)),
    );
    await enable(
      front,
      [...this.running].filter((index) => this.isOn(index)),
    );
    return CTRL_ACK.OK;
  }

  /** Hangs up, for good. Idempotent. */
  close(): void {
    this.meeting?.close();
    this.requests?.close();
    this.front?.hangUp();
    this.front = undefined;
    this.ready = false;
    this.reason = 'it has been closed';
    this.eventfds.close();
  }

  private present(): FrontEnd {
    if (this.front !== undefined && this.ready) return this.front;
    throw gone(`there is no back end: ${this.reason}`);
  }
}

/** Whether the back end refused; what else goes wrong is thrown. */
async function refused(asked: Promise<unknown>): Promise<boolean> {
  try {
    await asked;
    return false;
  } catch (error) {
    if ((error as DeviceError).code === 'VHOST_NACK') return true;
    throw error;
  }
}

function badStatus(value: bigint) {
  return { what: "the back end's device status", why: `${value} has more than 8 bits`, fix: 'mend the back end' };
}

function unfit(path: string, why: string, fix: string): PortError {
  return new PortError('BACKEND_UNFIT', { what: `the back end at ${path}`, why, fix });
}

function noBackend(path: string, server: boolean, reason: string): PortError {
  const text = server
    ? { why: `nobody has connected to ${path}`, fix: 'start the back end (as the client), or raise wait=' }
    : { why: `nobody listens at ${path} (${reason})`, fix: 'start the back end first, or use server=1 here' };
  return new PortError('NO_BACKEND', { what: `port virtio-user:${path}`, ...text });
}
