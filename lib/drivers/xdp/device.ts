/** The `xdp` driver: a kernel interface as a port, by AF_XDP. Control half. */
import { makeCounters } from '../../arena/counters.ts';
import { type Attached, asXskDevio, XSK_API, type XskDevio } from '../../devios/xsk.ts';
import type { RingSizes, Xsk } from '../../devios/xsk-socket.ts';
import { DevioError } from '../../errors.ts';
import { type Device, type Driver, FRAMEWORK_API } from '../../framework/types.ts';
import type { Link } from '../../netlink/rtnetlink.ts';
import { planQueue, queueModule, times } from '../../pktio/memory-port.ts';
import { Port } from '../../pktio/port.ts';
import { addCounters } from '../../pktio/stats.ts';
import type {
  Capability,
  Counters,
  LinkInfo,
  PortConfig,
  PortDevice,
  PortEvents,
  QueueHandle,
  Queues,
} from '../../pktio/types.ts';
import { type QueuePlan, TX } from '../../queue.ts';
import { type Death, deathOf, grantGone, interfaceGone, packetsCut } from './death.ts';
import { checkFit, type Fit, needsSeveral, tooLarge } from './fit.ts';
import { linkInfo } from './link-info.ts';
import { Liveness, withoutRoom } from './liveness.ts';
import { checksumNote, isSoftware, largeNote, modeNote, offloadNote, shareNote } from './notes.ts';
import { FRAME, placeData, XDP_RX_NAMES, XDP_TX_NAMES } from './places.ts';
import { XDP_MAX_SEGMENTS } from './regs.ts';

const MAX_RING = 16_384;
/** Sockets that are refused again so soon after they were made would only be refused for ever. */
const STEADY_MS = 1000;

class XdpDevice implements PortDevice {
  readonly driver = 'xdp';
  readonly defaults: PortConfig;
  private readonly name: string;
  private readonly devio: XskDevio;
  private sockets: Xsk[] = [];
  private offsets: number[] = [];
  private attached: Attached | undefined;
  private events: PortEvents | undefined;
  private liveness: Liveness | undefined;
  /** Where tx queues leave error numbers for it. */
  private refusals: number[] = [];
  /** Of sockets that are closed. */
  private kernelCounters: Counters = {};
  private setUpAt = 0;
  /** How often the kernel's refusal has made us make the sockets anew. */
  private rebuilt = 0n;

  constructor(device: Device, devio: XskDevio) {
    this.name = device.address;
    this.devio = devio;
    const { mtu, mac } = this.interface();
    this.defaults = { rxQueues: 1, txQueues: 1, rxRing: 2048, txRing: 2048, mtu, promiscuous: false, mac };
  }

  get capability(): Capability {
    const queues = { min: 1, max: Math.max(1, this.devio.queues() - this.devio.options.firstQueue) };
    const ring = { min: 64, max: MAX_RING };
    const mtu = this.devio.link()?.mtu ?? this.defaults.mtu;
    return {
      rxQueues: queues,
      txQueues: queues,
      rxRing: ring,
      txRing: ring,
      mtu: { min: mtu, max: mtu },
      segments: XDP_MAX_SEGMENTS,
      setMac: false,
      setPromiscuous: true,
      interrupts: true,
      patient: false,
      finite: false,
      internal: false,
      hosts: true,
    };
  }

  attach(events: PortEvents): void {
    this.events = events;
    this.devio.onLost((why) => this.die(grantGone(why)));
    let status = this.link().status;
    this.devio.watch((link, why) => {
      if (link === undefined) this.die(interfaceGone(why));
      else events.settings?.({ mtu: link.mtu, mac: link.mac });
      const now = this.link();
      if (now.status !== status) events.link(now);
      status = now.status;
    });
  }

  async setup(config: PortConfig): Promise<Queues> {
    const fit = { ...config, name: this.name, interface: this.interface().name, pool: this.devio.frames.plan };
    checkFit(fit, this.devio.options.zeroCopy === true);
    const count = Math.max(config.rxQueues, config.txQueues);
    const sizes = { rx: config.rxRing, fill: config.rxRing, tx: config.txRing, completion: config.txRing };
    const multiBuffer = needsSeveral(fit);
    try {
      await this.devio.setPromiscuous(config.promiscuous);
      this.attached = await this.attachProgram(fit, multiBuffer);
      for (let i = 0; i < count; i++) await this.openQueue(i, sizes, multiBuffer);
      if (multiBuffer && !this.multiBuffer) throw tooLarge(fit, 'the kernel has no multi-buffer AF_XDP (Linux 6.6)');
    } catch (error) {
      this.teardown();
      throw error;
    }
    const queues = {
      rx: times(config.rxQueues, (i) => this.rxHandle(i, config)),
      tx: times(config.txQueues, (i) => this.txHandle(i, config)),
    };
    const { memory } = this.devio;
    const { sockets, refusals } = this;
    const whole = !this.multiBuffer && largeNote(this.interface(), this.attached.mode).length > 0;
    const cut = () => (whole ? withoutRoom(this.extraStats()) : 0n);
    const asks = { link: () => this.devio.link(), refresh: () => this.devio.refresh() };
    this.setUpAt = performance.now();
    this.liveness = new Liveness(
      { memory, sockets, refusals, tooLarge: cut, ...asks },
      (death) => this.die(death),
      (packets) => this.events?.error(packetsCut(this.name, this.interface().name, packets), false),
    );
    return queues;
  }

  private die(death: Death): void {
    const error = deathOf(this.name, death);
    const mended = death.code === 'XSK_REFUSED' && performance.now() - this.setUpAt > STEADY_MS;
    if (!mended) {
      this.events?.error(error, true);
      return;
    }
    this.rebuilt++;
    this.events?.stuck(error);
  }

  /** Packets that do not fit a frame come in several. */
  private get multiBuffer(): boolean {
    return this.sockets.length > 0 && this.sockets.every((xsk) => xsk.multiBuffer);
  }

  private async attachProgram(fit: Fit, multiBuffer: boolean): Promise<Attached> {
    try {
      return await this.devio.attach(multiBuffer);
    } catch (cause) {
      const unknown = multiBuffer && cause instanceof DevioError && cause.code === 'BPF_PROGRAM';
      if (!unknown || cause.detail.errno !== 'EINVAL') throw cause;
      throw tooLarge(fit, 'the kernel has no XDP programs for packets of several buffers (Linux 5.18)', { cause });
    }
  }

  private async openQueue(index: number, sizes: RingSizes, multiBuffer: boolean): Promise<void> {
    this.sockets.push(await this.devio.openQueue(this.devio.options.firstQueue + index, sizes, multiBuffer));
  }

  /** Unless it was said: everywhere but behind hardware, which lets nothing in whose checksum somebody still has to make. */
  private fillsChecksums(): boolean {
    return this.devio.options.fillChecksums ?? (this.attached?.mode === 'skb' || isSoftware(this.interface()));
  }

  private allocate(bytes: number): number {
    const offset = this.devio.allocate(bytes);
    this.offsets.push(offset);
    return offset;
  }

  /** A map with a byte per frame of the pool: what of a queue's the kernel has. */
  private map(): number {
    return this.allocate(this.devio.frames.plan.count);
  }

  private common(map: number): Record<string, number> {
    const { base, count, frameSize } = this.devio.frames.plan;
    const segments = this.multiBuffer ? XDP_MAX_SEGMENTS : 1;
    return { base, umemBytes: count * frameSize, frameShift: Math.log2(frameSize), map, frames: count, segments };
  }

  private rxHandle(index: number, config: PortConfig): QueueHandle {
    const { rings, fd } = this.sockets[index];
    const map = this.map();
    const flags = { busyPoll: Number(this.devio.options.busyPoll), fillChecksums: Number(this.fillsChecksums()) };
    const places = { ...placeData('rx', rings.rx), ...placeData('fill', rings.fill) };
    const data = { ...this.common(map), ...places, ...flags, socket: fd, most: config.rxRing };
    const plan = this.plan('rx', index, config, -1, data, XDP_RX_NAMES);
    const clear = () => {
      this.silence();
      this.forget(map);
    };
    return { plan, held: () => this.inKernel(map, FRAME.posted), settle: () => {}, clear };
  }

  private txHandle(index: number, config: PortConfig): QueueHandle {
    const { rings, fd, budget } = this.sockets[index];
    const map = this.map();
    const places = { ...placeData('tx', rings.tx), ...placeData('completion', rings.completion) };
    const refusal = this.allocate(4);
    this.refusals.push(refusal);
    const data = { ...this.common(map), ...places, budget, refusal };
    const plan = this.plan('tx', index, config, fd, data, XDP_TX_NAMES);
    const held = () => this.inKernel(map, FRAME.sending);
    const clear = () => {
      this.silence();
      makeCounters(this.devio.memory, plan.counters)(TX.stopped, held().length);
      this.forget(map);
    };
    return { plan, held, settle: () => {}, clear };
  }

  private plan(
    direction: 'rx' | 'tx',
    queue: number,
    config: PortConfig,
    fd: number,
    data: Record<string, number>,
    counterNames: readonly string[],
  ): QueuePlan {
    const module = queueModule(import.meta.url);
    const plan = planQueue(this.devio, config, { port: this.name, direction, queue, module, fd, data, counterNames });
    this.offsets.push(plan.counters);
    return plan;
  }

  private inKernel(map: number, state: number): number[] {
    const { base, count, frameSize } = this.devio.frames.plan;
    const states = new Uint8Array(this.devio.memory, map, count);
    return Array.from(states.keys())
      .filter((i) => states[i] === state)
      .map((i) => base + i * frameSize);
  }

  private forget(map: number): void {
    new Uint8Array(this.devio.memory, map, this.devio.frames.plan.count).fill(FRAME.none);
  }

  /** After this the kernel neither writes into frames of ours nor reads them: they can be given to others. */
  private silence(): void {
    this.liveness?.stop();
    this.liveness = undefined;
    this.devio.detach();
    this.kernelCounters = this.inKernelCounted();
    for (const xsk of this.sockets) this.devio.closeQueue(xsk);
    this.sockets = [];
  }

  teardown(): void {
    this.silence();
    for (const offset of this.offsets) this.devio.free(offset);
    this.offsets = [];
    this.refusals = [];
    this.attached = undefined;
    this.askPromiscuous(false);
  }

  close(): void {}

  setPromiscuous(on: boolean): void {
    // While stopped it is only noted: nobody would see the packets.
    if (this.attached !== undefined) this.askPromiscuous(on);
  }

  /** A helper answers later: what it says then is an error of the port. */
  private askPromiscuous(on: boolean): void {
    const asked = this.devio.setPromiscuous(on);
    asked?.catch((error: Error) => this.events?.error(error, false));
  }

  extraStats(): Counters {
    return { ...this.inKernelCounted(), sockets_rebuilt: this.rebuilt };
  }

  private inKernelCounted(): Counters {
    return this.sockets.map((xsk) => xsk.statistics()).reduce(addCounters, this.kernelCounters);
  }

  notes({ rxQueues }: PortConfig): string[] {
    const link = this.devio.link();
    if (link === undefined) return [];
    const { options } = this.devio;
    const share = { opened: rxQueues, first: options.firstQueue, queues: this.devio.queues() };
    const { attached } = this;
    return [
      ...(attached === undefined ? [] : [modeNote(link.name, attached, this.sockets[0])]),
      ...shareNote(link, share, this.devio.channels()),
      ...checksumNote(link, this.fillsChecksums()),
      ...(this.multiBuffer ? offloadNote(link) : largeNote(link, attached?.mode ?? options.mode)),
    ];
  }

  link(): LinkInfo {
    return linkInfo(this.devio.link());
  }

  private interface(): Link {
    const link = this.devio.link();
    if (link === undefined) throw deathOf(this.name, interfaceGone('nobody knows where'));
    return link;
  }
}

/** Makes the driver. */
export function xdpDriver(): Driver {
  return {
    name: 'xdp',
    version: '1.0.0',
    frameworkApi: FRAMEWORK_API,
    enumeratorClass: 'netdev',
    ids: [{ kind: 'netdev' }],
    devios: [XSK_API],
    probe(device, devio) {
      const xsk = asXskDevio(devio);
      return new Port(`xdp:${device.address}`, xsk.memory, new XdpDevice(device, xsk));
    },
  };
}
