/** The `vhost` driver: the back end of a vhost-user socket, a guest's network card as a port. Control half. */

import { asVhostDevio } from '../../devios/vhost.ts';
import { DeviceError } from '../../errors.ts';
import { type Device, type Driver, FRAMEWORK_API } from '../../framework/types.ts';
import { emptyHandle, macOf, planQueue, queueModule, times } from '../../pktio/memory-port.ts';
import { Port } from '../../pktio/port.ts';
import type {
  Capability,
  LinkInfo,
  PortConfig,
  PortDevice,
  PortEvents,
  QueueHandle,
  Queues,
} from '../../pktio/types.ts';
import { MAX_SEGMENTS, type QueuePlan } from '../../queue.ts';
import { type RingBase, type RingOwner, type RingSetup, VHOST_API, type VhostDevio } from '../../vhost-user/types.ts';
import { receiveQueue, transmitQueue } from '../../virtio/net.ts';
import { VHOST_RX_NAMES, VHOST_TX_NAMES } from './block.ts';
import { netConfig, offeredFeatures } from './offer.ts';
import { RingControl } from './ring-control.ts';

/** How often rings are looked at that their workers may have stopped, in ms. The front end knows at once: `err`. */
const WATCH_MS = 100;

class VhostDevice implements PortDevice, RingOwner {
  readonly driver = 'vhost';
  readonly pairs: number;
  readonly features: bigint;
  private readonly name: string;
  private readonly devio: VhostDevio;
  /** By number of the virtqueue. */
  private readonly rings: readonly RingControl[];
  private readonly epolls: readonly number[];
  private settings: PortConfig;
  private events: PortEvents | undefined;
  private peer: { readonly pid: number } | undefined;
  private reason = 'no front end has connected yet';
  private last: LinkInfo['status'] = 'down';
  private watch: NodeJS.Timeout | undefined;
  private counters: number[] = [];

  constructor(device: Device, devio: VhostDevio) {
    const { wishes, native } = devio;
    this.name = device.address;
    this.devio = devio;
    this.pairs = Number(wishes.queues ?? 1);
    this.features = offeredFeatures(wishes, this.pairs);
    const mac = typeof wishes.mac === 'string' ? wishes.mac : macOf(device.address);
    const mtu = typeof wishes.mtu === 'number' ? wishes.mtu : 1500;
    const queues = { rxQueues: this.pairs, txQueues: this.pairs, rxRing: 0, txRing: 0 };
    this.settings = { ...queues, mtu, promiscuous: true, mac };
    const wake = () => this.events?.wake();
    this.epolls = times(this.pairs, () => native.epollCreate());
    this.rings = times(this.pairs * 2, (i) => new RingControl(devio, i, i % 2 === 1 ? this.epolls[i >> 1] : -1, wake));
    devio.serve(this);
  }

  get capability(): Capability {
    return {
      // Each of the guest's transmit queues needs somebody who empties it.
      rxQueues: { min: this.pairs, max: this.pairs },
      txQueues: { min: 1, max: this.pairs },
      rxRing: { min: 0, max: 0 },
      txRing: { min: 0, max: 0 },
      mtu: { min: 68, max: 65_000 },
      segments: MAX_SEGMENTS,
      setMac: true,
      setPromiscuous: false,
      interrupts: true,
      patient: false,
      finite: false,
      // A front end in this process: what it sends, a port of ours was sent.
      internal: this.peer?.pid === process.pid,
      hosts: true,
    };
  }

  get defaults(): PortConfig {
    return this.settings;
  }

  attach(events: PortEvents): void {
    this.events = events;
  }

  setup(config: PortConfig): Queues {
    this.settings = config;
    const queues = {
      rx: times(config.rxQueues, (i) => this.handle('rx', i, config, this.rings[transmitQueue(i)])),
      tx: times(config.txQueues, (i) => this.handle('tx', i, config, this.rings[receiveQueue(i)])),
    };
    this.devio.configChanged();
    return queues;
  }

  /** Frames are copied in and out: no queue ever holds one. */
  private handle(direction: 'rx' | 'tx', queue: number, config: PortConfig, ring: RingControl): QueueHandle {
    const block = ring.attach();
    const made = planQueue(this.devio, config, {
      port: this.name,
      direction,
      queue,
      module: queueModule(import.meta.url),
      fd: direction === 'rx' ? this.epolls[queue] : -1,
      data: { block },
      counterNames: direction === 'rx' ? VHOST_RX_NAMES : VHOST_TX_NAMES,
    });
    this.counters.push(made.counters);
    const plan: QueuePlan = { ...made, peer: this.devio.windows };
    return { ...emptyHandle(plan), settle: () => ring.forget() };
  }

  teardown(): void {
    for (const ring of this.rings) ring.detach();
    for (const offset of this.counters) this.devio.free(offset);
    this.counters = [];
    this.devio.configChanged();
  }

  async close(): Promise<void> {
    clearInterval(this.watch);
    try {
      await this.devio.retire();
    } finally {
      for (const fd of this.epolls) this.devio.native.close(fd);
    }
  }

  link(): LinkInfo {
    const common = { speed: 0, duplex: 'full', autoneg: false, media: 'vhost-user' } as const;
    const up = this.peer !== undefined && this.rings.some((ring, i) => i % 2 === 0 && ring.up && this.rings[i + 1].up);
    if (up) return { ...common, status: 'up' };
    const reason = this.peer === undefined ? this.reason : 'its front end has not started a pair of rings';
    return { ...common, status: 'down', reason };
  }

  // What the session calls.

  config(): Uint8Array {
    const { mac, mtu } = this.settings;
    return netConfig(mac, mtu, this.pairs, this.rings[0].attached);
  }

  connected(peer: { readonly pid: number }): void {
    this.peer = peer;
    this.watch ??= setInterval(() => this.look(), WATCH_MS).unref();
    this.tell();
  }

  disconnected(reason: string): void {
    this.peer = undefined;
    this.reason = reason;
    clearInterval(this.watch);
    this.watch = undefined;
    this.tell();
  }

  async startRing(setup: RingSetup): Promise<void> {
    this.rings[setup.index].start(setup);
    this.tell();
  }

  async stopRing(index: number): Promise<RingBase> {
    const base = await this.rings[index].stop();
    this.tell();
    return base;
  }

  async enableRing(index: number, on: boolean): Promise<void> {
    await this.rings[index].enable(on);
    this.tell();
  }

  mtu(bytes: number): void {
    this.events?.settings?.({ mtu: bytes });
  }

  rarp(mac: Uint8Array): void {
    this.rings[transmitQueue(0)].rarp(mac);
  }

  /** Reports rings that their workers have stopped. */
  private look(): void {
    for (const ring of this.rings) {
      const why = ring.failure();
      if (why === undefined) continue;
      const what = `port ${this.name}, virtqueue ${ring.index}`;
      const fix = 'it is stopped until the front end sets it up anew';
      this.devio.broken(ring.index, why);
      this.events?.error(new DeviceError('RING_BROKEN', { what, why, fix }), false);
      this.tell();
    }
  }

  private tell(): void {
    const link = this.link();
    if (link.status === this.last) return;
    this.last = link.status;
    this.events?.link(link);
  }
}

/** Makes the driver. */
export function vhostDriver(): Driver {
  return {
    name: 'vhost',
    version: '1.0.0',
    frameworkApi: FRAMEWORK_API,
    enumeratorClass: 'socket',
    ids: [{ kind: 'vhost-user' }],
    devios: [VHOST_API],
    probe(device, devio) {
      const vhost = asVhostDevio(devio);
      return new Port(device.address, vhost.memory, new VhostDevice(device, vhost));
    },
  };
}
