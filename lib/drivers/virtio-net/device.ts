/** The `virtio-net` driver: a virtio network device as a port, whatever transport it is reached by. Control half. */
import { VHOST_USER_API } from '../../devios/vhost-user.ts';
import { type Device, type Driver, FRAMEWORK_API } from '../../framework/types.ts';
import { IOMMU_API, NOMMU_API } from '../../pci/devio.ts';
import { macOf, times } from '../../pktio/memory-port.ts';
import { Port } from '../../pktio/port.ts';
import type { Capability, Counters, LinkInfo, PortConfig, PortDevice, PortEvents, Queues } from '../../pktio/types.ts';
import { everyMs, type Pulse } from '../../pulse.ts';
import { MAX_SEGMENTS } from '../../queue.ts';
import { featureNames, hasFeature } from '../../virtio/features.ts';
import { controlQueue, NET_DEVICE_ID, receiveQueue, transmitQueue } from '../../virtio/net.ts';
import { MODERN_DEVICE_ID, TRANSITIONAL_NET, VIRTIO_VENDOR } from '../../virtio/pci/regs.ts';
import type { VirtioDevio } from '../../virtio/transport.ts';
import { answered, pause } from '../deadline.ts';
import { Revival } from '../revival.ts';
import { deviceFault, portLost } from '../troubles.ts';
import { TROUBLE } from './block.ts';
import { BringUp, type Introduced, STEP_MS } from './bring-up.ts';
import { announced, promiscuous } from './commands.ts';
import { readNetConfig } from './config.ts';
import { COMMAND_MS, Control, type ControlState } from './control.ts';
import { virtioDevioOf } from './devio.ts';
import { checkFit, needsSeveral } from './fit.ts';
import { instruct } from './instruct.ts';
import { QueueSet, type QueuesState } from './queues.ts';

/** Descriptors per ring unless configured. */
const RING = 256;
/** How often queues are asked whether they have stopped by themselves, in milliseconds. */
const LOOK_MS = 100;
/** Between two looks at a configuration that keeps changing. */
const CONFIG_MS = 20;

/** Time limits, in milliseconds; for tests. */
export interface Limits {
  readonly stepMs: number;
  readonly commandMs: number;
}

/** A virtio-net device as a port's device. Make it with `openVirtioNet`. */
export class VirtioNetDevice implements PortDevice {
  readonly driver = 'virtio-net';
  readonly defaults: PortConfig;
  private readonly name: string;
  private readonly devio: VirtioDevio;
  private readonly limits: Limits;
  private readonly bringUp: BringUp;
  private readonly control: Control;
  private readonly introduced: Introduced;
  private readonly most: { readonly rx: number; readonly tx: number; readonly pairs: number };
  private config: PortConfig;
  private net: Introduced['config'];
  private events: PortEvents | undefined;
  private queues: QueueSet | undefined;
  private revival: Revival | undefined;
  private pulse: Pulse | undefined;
  /** Why it does not work, or undefined. */
  private down: string | undefined;
  private changing: 'no' | 'reading' | 'again' = 'no';
  private counters = { losses: 0n, faults: 0n, resets: 0n, broken_rings: 0n, announcements: 0n };

  constructor(name: string, devio: VirtioDevio, parts: Parts, limits: Limits) {
    this.name = name;
    this.devio = devio;
    this.limits = limits;
    this.bringUp = parts.bringUp;
    this.introduced = parts.introduced;
    this.most = parts.most;
    this.net = parts.introduced.config;
    this.control = new Control(name, devio, limits.commandMs);
    // As many pairs as were asked for: else the device has more than one would think.
    const pairs = Math.min(Number(devio.wishes.queues ?? 1), this.most.pairs);
    this.defaults = {
      rxQueues: pairs,
      txQueues: pairs,
      rxRing: Math.min(RING, this.most.rx),
      txRing: Math.min(RING, this.most.tx),
      mtu: this.net.mtu ?? 1500,
      promiscuous: !this.has('CTRL_RX'),
      mac: this.net.mac ?? macOf(name),
    };
    this.config = this.defaults;
  }

  private has(name: Parameters<typeof hasFeature>[1]): boolean {
    return hasFeature(this.introduced.features, name);
  }

  /** A packet may come in as many buffers, and be sent in as many. */
  private get segments(): number {
    return this.has('MRG_RXBUF') && this.has('INDIRECT_DESC') ? MAX_SEGMENTS : 1;
  }

  get capability(): Capability {
    const queues = { min: 1, max: this.most.pairs };
    return {
      rxQueues: queues,
      txQueues: queues,
      rxRing: { min: Math.min(64, this.most.rx), max: this.most.rx },
      txRing: { min: Math.min(64, this.most.tx), max: this.most.tx },
      mtu: { min: 68, max: this.net.mtu ?? 65_000 },
      segments: this.segments,
      setMac: this.has('CTRL_MAC_ADDR') || this.has('CTRL_RX'),
      setPromiscuous: this.has('CTRL_RX'),
      interrupts: true,
      patient: false,
      finite: false,
      internal: this.devio.transport.ours === true,
      hosts: true,
    };
  }

  attach(events: PortEvents): void {
    this.events = events;
    this.devio.transport.watch({
      configChanged: () => void this.configChanged(),
      needsReset: (reason) => {
        this.counters.faults++;
        events.error(deviceFault(this.name, reason), false);
        this.revival?.broken(`the device asks to be reset: ${reason}`);
      },
      lost: (reason, forGood) => {
        if (this.down === undefined) this.counters.losses++;
        if (this.revival === undefined) this.down = reason;
        else if (forGood) this.revival.gone(reason);
        else this.revival.lost(reason);
        if (forGood) events.error(portLost(this.name, reason), true);
      },
      back: () => {
        if (this.revival === undefined) this.down = undefined;
        else this.revival.back();
      },
    });
  }

  async setup(config: PortConfig): Promise<Queues> {
    checkFit({ ...config, name: this.name, pool: this.devio.frames.plan, segments: this.segments });
    this.config = config;
    const { features } = this.introduced;
    await this.prepare();
    const interrupts = this.devio.transport.interrupts(times(config.rxQueues, receiveQueue));
    const wake = () => this.events?.wake();
    const several = needsSeveral({ ...config, pool: this.devio.frames.plan });
    const queues = new QueueSet(this.devio, { port: this.name, features, config, several, interrupts, wake });
    this.queues = queues;
    const pairs = this.pairs;
    const sizes = await Promise.all([
      this.bringUp.queueSize(receiveQueue(pairs - 1), config.rxRing, features),
      this.bringUp.queueSize(transmitQueue(pairs - 1), config.txRing, features),
    ]);
    const made = {
      rx: times(config.rxQueues, (i) => queues.add('rx', i, sizes[0])),
      tx: times(config.txQueues, (i) => queues.add('tx', i, sizes[1])),
    };
    await this.run(queues);
    this.down = undefined;
    this.watchOver(queues);
    return made;
  }

  private watchOver(queues: QueueSet): void {
    this.revival = new Revival({
      close: (deadlineMs) => queues.close(deadlineMs),
      reset: () => {
        this.counters.resets++;
        return this.bringUp.reset();
      },
      release: () => queues.release(),
      bringUp: async () => {
        queues.clean();
        await this.prepare();
        await this.run(queues);
      },
      changed: (up, reason) => this.changed(up, reason),
      failed: (error, fatal) => this.events?.error(error, fatal),
    });
    this.pulse = everyMs(LOOK_MS, () => this.look());
  }

  /** Undefined while it is being brought back, or a command is under way: then the device is reset. */
  handOver(): Handover | undefined {
    const { queues, revival, control } = this;
    const steady = this.down === undefined && revival?.idle === true && control.idle && this.changing === 'no';
    if (queues === undefined || !steady) return undefined;
    this.pulse?.stop();
    this.revival = undefined;
    this.queues = undefined;
    const { name, devio, introduced, most, config, net, counters } = this;
    const parts = { devio, introduced, most, status: this.bringUp.status };
    return { name, ...parts, config, net, counters, queues: queues.handOver(), control: control.handOver() };
  }

  /** Goes on where an earlier release has left off. */
  takeOver(state: Handover): Queues {
    this.config = state.config;
    this.net = state.net;
    this.counters = { ...this.counters, ...state.counters };
    this.control.takeOver(state.control);
    const { features } = this.introduced;
    const wake = () => this.events?.wake();
    const several = needsSeveral({ ...state.config, pool: this.devio.frames.plan });
    const options = { port: this.name, features, config: this.config, several, interrupts: new Map(), wake };
    const queues = new QueueSet(this.devio, options);
    const made = queues.takeOver(state.queues);
    this.queues = queues;
    this.watchOver(queues);
    return made;
  }

  /** Pairs that are in use: a device spreads what it receives over as many. */
  private get pairs(): number {
    return Math.max(this.config.rxQueues, this.config.txQueues);
  }

  /** From a device in any state to one that waits for its queues. */
  private async prepare(): Promise<void> {
    const { config } = await this.bringUp.introduce(this.devio.wishes, this.introduced.features);
    this.net = { ...config, mac: this.net.mac };
  }

  /** From there to one that runs, gates open. */
  private async run(queues: QueueSet): Promise<void> {
    const layouts = new Map(queues.layouts);
    if (this.has('CTRL_VQ')) {
      const index = controlQueue(this.net.pairs);
      const layout = this.control.prepare(index, this.has('RING_PACKED'), this.has('EVENT_IDX'));
      if (layout !== undefined) layouts.set(index, layout);
    }
    await this.bringUp.start(layouts);
    const { config, introduced, pairs } = this;
    const told = { config, pairs, introduced, rss: this.net.rss };
    await instruct(this.control, told, (error) => this.events?.error(error, false));
    queues.open();
  }

  /** Queues that have stopped by themselves. */
  private look(): void {
    const trouble = this.down === undefined ? this.queues?.trouble : undefined;
    if (trouble === undefined) return;
    this.counters.broken_rings++;
    const name = Object.keys(TROUBLE)[trouble] ?? 'ring';
    this.revival?.broken(`the device has broken a ring (${name})`);
  }

  private changed(up: boolean, reason: string): void {
    const before = this.link();
    this.down = up ? undefined : reason;
    this.tell(before);
  }

  private tell(before: LinkInfo): void {
    const now = this.link();
    if (now.status !== before.status || now.speed !== before.speed) this.events?.link(now);
  }

  /** Reads the configuration; however often it changes, once at a time, with a pause. */
  private async configChanged(): Promise<void> {
    const again = this.changing !== 'no';
    this.changing = again ? 'again' : 'reading';
    if (again) return;
    do {
      this.changing = 'reading';
      await this.readConfig().catch(() => {}); // it has gone, or will say so again
      await pause(CONFIG_MS);
    } while ((this.changing as string) === 'again');
    this.changing = 'no';
  }

  private async readConfig(): Promise<void> {
    const { transport } = this.devio;
    const what = `${this.name}: configuration`;
    const read = await answered(what, this.limits.stepMs, readNetConfig(transport, this.introduced.features));
    const before = this.link();
    this.net = { ...this.net, up: read.up, speed: read.speed, duplex: read.duplex };
    if (this.queues !== undefined) this.tell(before);
    if (read.announce && this.down === undefined) {
      this.counters.announcements++;
      this.queues?.announce();
      await this.control.send(announced());
    }
  }

  async teardown(): Promise<void> {
    this.pulse?.stop();
    const { queues, revival } = this;
    this.revival = undefined;
    await revival?.stop();
    this.queues = undefined;
    try {
      // After this the device touches nothing of ours. If it has gone, or does not answer, its transport cuts it off.
      await this.bringUp.reset().catch(() => {});
    } finally {
      this.control.release();
      queues?.free();
    }
  }

  close(): void {}

  setPromiscuous(on: boolean): void {
    this.config = { ...this.config, promiscuous: on };
    if (this.queues === undefined || this.down !== undefined) return; // it is told when it starts
    this.control.send(promiscuous(on)).catch((error: Error) => {
      if ((error as { code?: string }).code === 'DEVICE_TIMEOUT') this.revival?.broken(error.message);
      this.events?.error(error, false);
    });
  }

  extraStats(): Counters {
    return { ...this.counters };
  }

  notes(): string[] {
    const { features, faults } = this.introduced;
    const { rxQueues, txQueues } = this.config;
    const unserved = this.queues !== undefined && txQueues > rxQueues ? txQueues - rxQueues : 0;
    return [
      `${this.name}: ${this.has('RING_PACKED') ? 'packed' : 'split'} rings; ${featureNames(features).join(', ')}`,
      ...faults,
      ...(unserved === 0
        ? []
        : [
            `${this.name} sends by ${txQueues} queues, and its device spreads what it receives over as many: ` +
              `${unserved} of them will not be looked at; rxQueues: ${txQueues}`,
          ]),
    ];
  }

  link(): LinkInfo {
    const { speed, duplex } = this.net;
    const common = { speed, duplex, autoneg: false, media: 'virtio' } as const;
    if (this.down !== undefined) return { ...common, status: 'down', reason: this.down };
    return this.net.up
      ? { ...common, status: 'up' }
      : { ...common, status: 'down', reason: 'the device says that its link is down' };
  }
}

/** What is known of a device before it is a port. */
interface Parts {
  readonly bringUp: BringUp;
  readonly introduced: Introduced;
  readonly most: { readonly rx: number; readonly tx: number; readonly pairs: number };
}

/** What a release hands over to the next: `HANDOVER` names it. Plain data, but for the devio. */
interface Handover extends Omit<Parts, 'bringUp'> {
  readonly name: string;
  readonly devio: VirtioDevio;
  /** The device status. */
  readonly status: number;
  readonly config: PortConfig;
  readonly net: Introduced['config'];
  readonly counters: Readonly<Record<string, bigint>>;
  readonly queues: QueuesState;
  readonly control: ControlState | undefined;
}

/** The version goes up whenever `Handover`, a queue's block or its plan's data change. */
const HANDOVER = 'virtio-net-2';

const LIMITS: Limits = { stepMs: STEP_MS, commandMs: COMMAND_MS };

function succeed(state: Handover): Port {
  const { name, devio, status, introduced, most, config } = state;
  const bringUp = new BringUp(name, devio.transport, LIMITS.stepMs, status);
  const device = new VirtioNetDevice(name, devio, { bringUp, introduced, most }, LIMITS);
  return new Port(name, devio.memory, device, { config, queues: device.takeOver(state) });
}

/** Meets the device behind `devio`: its features and configuration. Throws what `BringUp` throws. */
export async function openVirtioNet(
  name: string,
  devio: VirtioDevio,
  limits: Limits = LIMITS,
): Promise<VirtioNetDevice> {
  const bringUp = new BringUp(name, devio.transport, limits.stepMs);
  const introduced = await bringUp.introduce(devio.wishes);
  const { features } = introduced;
  const most = {
    rx: powerOfTwo(await bringUp.queueSize(receiveQueue(0), 32_768, features)),
    tx: powerOfTwo(await bringUp.queueSize(transmitQueue(0), 32_768, features)),
    pairs: introduced.config.pairs,
  };
  return new VirtioNetDevice(name, devio, { bringUp, introduced, most }, limits);
}

/** Ports' rings are powers of two. */
const powerOfTwo = (size: number): number => 2 ** Math.floor(Math.log2(size));

/** Makes the driver. */
export function virtioNetDriver(): Driver {
  return {
    name: 'virtio-net',
    version: '1.0.0',
    frameworkApi: FRAMEWORK_API,
    enumeratorClass: ['socket', 'pci'],
    // Of any revision and subsystem (§4.1.2.2).
    ids: [
      { kind: 'virtio-user' },
      { kind: 'pci', vendor: VIRTIO_VENDOR, device: MODERN_DEVICE_ID + NET_DEVICE_ID },
      { kind: 'pci', vendor: VIRTIO_VENDOR, device: TRANSITIONAL_NET },
    ],
    devios: [IOMMU_API, NOMMU_API, VHOST_USER_API],
    async probe({ address, facts }: Device, devio) {
      const virtio = virtioDevioOf(devio);
      const name = facts.kind === 'pci' ? `pci:${address}` : address;
      return new Port(name, virtio.memory, await openVirtioNet(name, virtio));
    },
    handover: HANDOVER,
    succeed: (_device, _devio, _index, state) => succeed(state as Handover),
  };
}
