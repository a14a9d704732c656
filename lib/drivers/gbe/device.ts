/** A port of a gigabit controller, 82574 or 82576. Control half. */
import { DeviceError } from '../../errors.ts';
import type { Interrupts, PciDevio } from '../../pci/devio.ts';
import { L2_OVERHEAD, macOf, times } from '../../pktio/memory-port.ts';
import type { Capability, Counters, LinkInfo, PortConfig, PortDevice, PortEvents, Queues } from '../../pktio/types.ts';
import { everyMs, type Pulse } from '../../pulse.ts';
import { MAX_SEGMENTS } from '../../queue.ts';
import { formatMac } from '../../wire/mac.ts';
import { Revival } from '../revival.ts';
import { deviceFault, portLost } from '../troubles.ts';
import type { Controller, ControllerState } from './controller.ts';
import { type Multicast, parseMulticast, readAddress } from './filters.ts';
import { type Buffers, fitBuffers } from './fit.ts';
import { enableInterrupts } from './interrupts.ts';
import { QueueSet, type QueuesState } from './queues.ts';
import { SPEEDS, STATUS } from './regs.ts';
import { Statistics } from './statistics.ts';
import { TxWatch } from './tx-watch.ts';

/** Descriptors per ring unless configured, and the most that there may be. */
const RING = 512;
const MOST_RING = 4096;
const FCS = 4;
/** How often the device is looked at, in milliseconds. */
const LOOK_MS = 100;
/** How often its statistics are read, in looks: its counters stop at 2^32. */
const STATISTICS_LOOKS = 10;

/** What a started port has. */
interface Running {
  readonly queues: QueueSet;
  readonly buffers: Buffers;
  readonly interrupts: Interrupts | undefined;
  readonly revival: Revival;
  readonly watch: TxWatch;
  pulse: Pulse | undefined;
}

/** What a release hands over to the next: `HANDOVER` names it. Plain data, but for the devio. */
export interface Handover {
  readonly name: string;
  readonly devio: PciDevio;
  readonly mac: string;
  readonly config: PortConfig;
  readonly counters: {
    readonly link_changes: bigint;
    readonly resets: bigint;
    readonly tx_hangs: bigint;
    readonly faults: bigint;
  };
  readonly last: LinkInfo['status'];
  readonly statistics: Counters;
  readonly buffers: Buffers;
  readonly interrupts: Interrupts | undefined;
  readonly controller: ControllerState;
  readonly queues: QueuesState;
}

/** The version goes up whenever `Handover`, a queue's block or its plan's data change. */
export const HANDOVER = 2;

/** A port's device. Make it with `openGbe`. */
export class GbeDevice implements PortDevice {
  readonly driver: string;
  readonly defaults: PortConfig;
  private readonly name: string;
  private readonly devio: PciDevio;
  private readonly controller: Controller;
  private readonly multicast: Multicast;
  private readonly legacy: boolean;
  private readonly statistics = new Statistics();
  private config: PortConfig;
  private events: PortEvents | undefined;
  private running: Running | undefined;
  private looks = 0;
  /** Why it does not work, or undefined. */
  private down: string | undefined;
  /** It was removed: it is not to be touched any more. */
  private lost = false;
  private last: LinkInfo['status'] = 'unknown';
  private counters = { link_changes: 0n, resets: 0n, tx_hangs: 0n, faults: 0n };

  constructor(name: string, devio: PciDevio, controller: Controller, mac: string) {
    this.name = name;
    this.devio = devio;
    this.controller = controller;
    this.driver = controller.traits.driver;
    const { multicast, legacy, queues } = devio.wishes;
    this.multicast = parseMulticast(name, multicast === undefined ? undefined : String(multicast));
    this.legacy = legacy === true && controller.traits.legacy;
    const rxQueues = Math.min(Number(queues ?? 1), this.capability.rxQueues.max);
    this.defaults = { rxQueues, txQueues: 1, rxRing: RING, txRing: RING, mtu: 1500, promiscuous: false, mac };
    this.config = this.defaults;
  }

  get capability(): Capability {
    const { queues, longest } = this.controller.traits;
    const ring = { min: 64, max: MOST_RING };
    return {
      rxQueues: { min: 1, max: this.legacy ? 1 : queues },
      txQueues: { min: 1, max: queues },
      rxRing: ring,
      txRing: ring,
      mtu: { min: 68, max: longest - FCS - L2_OVERHEAD },
      segments: MAX_SEGMENTS,
      setMac: true,
      setPromiscuous: true,
      interrupts: Object.values(this.devio.vectors).some((count) => count > 0),
      patient: false,
      finite: false,
      internal: false,
      hosts: true,
    };
  }

  attach(events: PortEvents): void {
    this.events = events;
    this.devio.watch({
      lost: (reason) => this.vanished(reason),
      failed: (reason) => {
        this.counters.faults++;
        events.error(deviceFault(this.name, reason), false);
        this.running?.revival.broken(`it reported an error: ${reason}`);
      },
    });
  }

  async setup(config: PortConfig): Promise<Queues> {
    const { devio, controller, name } = this;
    const { limitsLength, small } = controller.traits;
    const buffers = fitBuffers({ ...config, name, pool: devio.frames.plan, limitsLength, small });
    this.config = config;
    await controller.reset();
    const { queues } = this.prepare(buffers, enableInterrupts(devio, config.rxQueues));
    const made = {
      rx: times(config.rxQueues, (i) => queues.add('rx', i, config.rxRing)),
      tx: times(config.txQueues, (i) => queues.add('tx', i, config.txRing)),
    };
    await this.run();
    this.down = undefined;
    this.last = this.link().status;
    this.watchOver();
    return made;
  }

  /** A set of queues that has none yet, and what goes with it. */
  private prepare(buffers: Buffers, interrupts: Interrupts | undefined): Running {
    const { config, legacy, devio, controller } = this;
    const wake = () => this.events?.wake();
    const queues = new QueueSet(devio, controller, { port: this.name, config, buffers, legacy, interrupts, wake });
    const revival = this.revivalOf(queues);
    this.running = { queues, buffers, interrupts, revival, watch: new TxWatch(), pulse: undefined };
    return this.running;
  }

  private watchOver(): void {
    if (this.running !== undefined) this.running.pulse = everyMs(LOOK_MS, () => this.look());
  }

  /** Undefined while it is being brought back, or has gone: then it is reset. */
  handOver(): Handover | undefined {
    const { running, controller, devio, name, config, counters, last, statistics } = this;
    const steady = !this.lost && this.down === undefined && running?.revival.idle === true && !controller.gone;
    if (running === undefined || !steady) return undefined;
    running.pulse?.stop();
    this.running = undefined;
    const { buffers, interrupts, queues } = running;
    return {
      ...{ name, devio, mac: this.defaults.mac, config, counters, last, buffers, interrupts },
      ...{ statistics: statistics.counters, controller: controller.handOver(), queues: queues.handOver() },
    };
  }

  /** Goes on where an earlier release has left off. */
  takeOver(state: Handover): Queues {
    const { config, counters, last, statistics, buffers, interrupts } = state;
    this.config = config;
    this.last = last;
    this.counters = { ...this.counters, ...counters };
    this.statistics.takeOver(statistics);
    this.controller.takeOver(state.controller);
    const made = this.prepare(buffers, interrupts).queues.takeOver(state.queues);
    this.watchOver();
    return made;
  }

  private revivalOf(queues: QueueSet): Revival {
    return new Revival({
      close: (deadlineMs) => queues.close(deadlineMs),
      reset: () => {
        this.counters.resets++;
        this.statistics.read(this.controller.registers);
        return this.controller.reset();
      },
      release: () => queues.release(),
      bringUp: () => this.run(),
      changed: (up, reason) => {
        this.down = up ? undefined : reason;
        this.tell();
      },
      failed: (error, fatal) => this.events?.error(error, fatal),
    });
  }

  /** From a device that was reset to one that runs, gates open. */
  private async run(): Promise<void> {
    const { running, config, multicast, legacy } = this;
    if (running === undefined) return;
    const { queues, buffers, interrupts } = running;
    queues.clean();
    const rings = { rx: queues.places('rx'), tx: queues.places('tx') };
    await this.controller.start({ config, buffers, multicast, legacy, interrupts, ...rings });
    running.watch.forget();
    queues.open();
  }

  /** Looks at the device: whether it is there, its link, whether it sends, its statistics. */
  private look(): void {
    const { controller, running } = this;
    if (running === undefined || this.lost) return;
    if (controller.gone) {
      this.vanished('its registers do not answer any more');
      return;
    }
    this.noteLinkInterrupt(running);
    this.tell();
    if (++this.looks % STATISTICS_LOOKS === 0) this.statistics.read(controller.registers);
    this.watchSending(running);
  }

  private watchSending({ queues, watch, revival }: Running): void {
    const { controller } = this;
    if (this.down !== undefined || this.last !== 'up') {
      watch.forget();
      return;
    }
    const heads = times(this.config.txQueues, (i) => controller.registers.get32(controller.traits.tx.HEAD(i)));
    const flying = times(this.config.txQueues, (i) => queues.inFlight(i));
    const hung = watch.hung(heads, flying);
    if (hung === undefined) return;
    this.counters.tx_hangs++;
    this.events?.error(hang(this.name, hung), false);
    revival.broken(`tx queue ${hung} does not send any more`);
  }

  /** A link that went and came between two looks has interrupted. */
  private noteLinkInterrupt({ interrupts }: Running): void {
    if (interrupts?.kind !== 'msix') return;
    const { rxQueues } = this.config;
    if (!this.devio.signalled(interrupts.fds[rxQueues])) return;
    this.counters.link_changes++;
    this.controller.rearmLink(rxQueues);
  }

  /** Tells of the link if it has changed. */
  private tell(): void {
    const now = this.link();
    if (now.status !== this.last) {
      this.last = now.status;
      this.events?.link(now);
    }
  }

  private vanished(reason: string): void {
    if (this.lost) return;
    this.lost = true;
    this.down = reason;
    this.running?.pulse?.stop();
    this.running?.revival.gone(reason);
    this.events?.error(portLost(this.name, reason), true);
  }

  async teardown(): Promise<void> {
    const { running } = this;
    if (running === undefined) return;
    running.pulse?.stop();
    await running.revival.stop();
    if (!this.lost && !this.controller.gone) this.statistics.read(this.controller.registers);
    this.running = undefined;
    try {
      // After this the device touches nothing of ours. If it has gone, or does not answer, bus mastering is off.
      await this.controller.stop();
    } catch (error) {
      if (!this.lost) this.events?.error(error as Error, false);
    } finally {
      this.devio.disableInterrupts();
      running.queues.free();
    }
  }

  close(): void {}

  setPromiscuous(on: boolean): void {
    this.config = { ...this.config, promiscuous: on };
    // While it is being brought back it is told then.
    if (this.running !== undefined && this.down === undefined) this.controller.setFilter(on, this.multicast);
  }

  extraStats(): Counters {
    const readable = this.running !== undefined && this.down === undefined && !this.controller.gone;
    if (readable) this.statistics.read(this.controller.registers);
    return { ...this.counters, hung_masters: BigInt(this.controller.hungMasters), ...this.statistics.counters };
  }

  notes(): string[] {
    const { name, running } = this;
    if (running === undefined) return [];
    const { interrupts, buffers } = running;
    const kind = interrupts === undefined ? 'no interrupts' : interrupts.kind;
    const shared = interrupts?.kind !== 'msix' && this.config.rxQueues > 1;
    return [
      `${name}: ${this.legacy ? 'legacy' : this.controller.traits.descriptors} descriptors, buffers of ${buffers.bytes} bytes, ${kind}`,
      ...(shared
        ? [`${name} has one interrupt for ${this.config.rxQueues} rx queues: they are polled each millisecond`]
        : []),
    ];
  }

  link(): LinkInfo {
    const common = { autoneg: true, media: 'copper' } as const;
    const off = { ...common, speed: 0, duplex: 'unknown', status: 'down' } as const;
    if (this.down !== undefined) return { ...off, reason: this.down };
    if (this.running === undefined) return { ...off, status: 'unknown' };
    const { status } = this.controller;
    if (status === 0xffff_ffff) return { ...off, reason: 'its registers do not answer' };
    if ((status & STATUS.LU) === 0) return { ...off, reason: 'no signal: no cable, or nobody at its other end' };
    const speed = SPEEDS[(status & STATUS.SPEED) >>> 6];
    return { ...common, speed, duplex: (status & STATUS.FD) === 0 ? 'half' : 'full', status: 'up' };
  }
}

const hang = (name: string, queue: number): DeviceError =>
  new DeviceError('TX_HUNG', {
    what: `port ${name}: tx queue ${queue}`,
    why: 'the device does not send what it was given, though its link is up',
    fix: 'nothing: it is reset and goes on; if it happens again, look at its cable and at what it is connected to',
  });

/** Meets `controller` behind `devio`: resets it, reads its address. Throws `DEVICE_TIMEOUT`, `DEVICE_LOST`, `BAD_WISH`. */
export async function openGbe(name: string, devio: PciDevio, controller: Controller): Promise<GbeDevice> {
  await controller.reset();
  const address = readAddress(controller.registers);
  return new GbeDevice(name, devio, controller, address === undefined ? macOf(name) : formatMac(address));
}
