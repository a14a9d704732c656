/** The `xdp` driver: a kernel interface as a port, by AF_XDP. Control half. */
import { makeCounters } from '../../arena/counters.ts';
import { asXskDevio, XSK_API, type XskDevio } from '../../devios/xsk.ts';
import type { RingSizes, Xsk } from '../../devios/xsk-socket.ts';
import { DeviceError, PortError } from '../../errors.ts';
import { type Device, type Driver, FRAMEWORK_API } from '../../framework/types.ts';
import type { Link } from '../../netlink/rtnetlink.ts';
import { planQueue, queueModule, times } from '../../pktio/memory-port.ts';
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
import { type QueuePlan, TX } from '../../queue.ts';
import { FRAME, placeData, XDP_RX_NAMES, XDP_TX_NAMES } from './places.ts';

const MAX_RING = 16_384;

class XdpDevice implements PortDevice {
  readonly driver = 'xdp';
  readonly capability: Capability;
  readonly defaults: PortConfig;
  private readonly name: string;
  private readonly devio: XskDevio;
  private sockets: Xsk[] = [];
  private offsets: number[] = [];

  constructor(device: Device, devio: XskDevio) {
    this.name = device.address;
    this.devio = devio;
    const link = this.interface();
    const queues = Math.max(1, devio.queues() - devio.options.firstQueue);
    const fixed = (n: number) => ({ min: n, max: n });
    this.capability = {
      rxQueues: { min: 1, max: queues },
      txQueues: { min: 1, max: queues },
      rxRing: { min: 64, max: MAX_RING },
      txRing: { min: 64, max: MAX_RING },
      mtu: fixed(link.mtu),
      setMac: false,
      setPromiscuous: false,
      interrupts: true,
      patient: false,
      finite: false,
      internal: false,
    };
    this.defaults = {
      rxQueues: 1,
      txQueues: 1,
      rxRing: 2048,
      txRing: 2048,
      mtu: link.mtu,
      promiscuous: false,
      mac: link.mac,
    };
  }

  attach(events: PortEvents): void {
    let before = this.link();
    this.devio.watch((link) => {
      if (link === undefined) events.error(lost(this.name), true);
      const now = this.link();
      if (now.status !== before.status) events.link(now);
      before = now;
    });
  }

  async setup(config: PortConfig): Promise<Queues> {
    const room = this.devio.frames.room;
    if (config.mtu + 18 > room) {
      throw new DeviceError('MTU_TOO_LARGE', {
        what: `port ${this.name}`,
        why: `packets of ${config.mtu + 18} bytes do not fit into frames with room for ${room}`,
        fix: `lower its MTU (ip link set ${this.interface().name} mtu ${room - 18}), or use larger frames (frameSize: 4096)`,
      });
    }
    const count = Math.max(config.rxQueues, config.txQueues);
    const sizes = { rx: config.rxRing, fill: config.rxRing, tx: config.txRing, completion: config.txRing };
    try {
      this.devio.attach();
      for (let i = 0; i < count; i++) await this.openQueue(i, sizes);
    } catch (error) {
      this.teardown();
      throw error;
    }
    return {
      rx: times(config.rxQueues, (i) => this.rxHandle(i, config)),
      tx: times(config.txQueues, (i) => this.txHandle(i, config)),
    };
  }

  private async openQueue(index: number, sizes: RingSizes): Promise<void> {
    this.sockets.push(await this.devio.openQueue(this.devio.options.firstQueue + index, sizes));
  }

  /** A map with a byte per frame of the pool: what of a queue's the kernel has. */
  private map(): number {
    const offset = this.devio.allocate(this.devio.frames.plan.count);
    this.offsets.push(offset);
    return offset;
  }

  private common(map: number): Record<string, number> {
    const { base, count, frameSize } = this.devio.frames.plan;
    return { base, umemBytes: count * frameSize, frameShift: Math.log2(frameSize), map, frames: count };
  }

  private rxHandle(index: number, config: PortConfig): QueueHandle {
    const { rings, fd } = this.sockets[index];
    const map = this.map();
    const busyPoll = Number(this.devio.options.busyPoll);
    const data = { ...this.common(map), ...placeData('rx', rings.rx), ...placeData('fill', rings.fill), busyPoll };
    const plan = this.plan('rx', index, config, fd, data, XDP_RX_NAMES);
    return { plan, held: () => this.inKernel(map, FRAME.posted), settle: () => {}, clear: () => this.forget(map) };
  }

  private txHandle(index: number, config: PortConfig): QueueHandle {
    const { rings, fd } = this.sockets[index];
    const map = this.map();
    const data = { ...this.common(map), ...placeData('tx', rings.tx), ...placeData('completion', rings.completion) };
    const plan = this.plan('tx', index, config, fd, data, XDP_TX_NAMES);
    const held = () => this.inKernel(map, FRAME.sending);
    const clear = () => {
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

  teardown(): void {
    this.devio.detach();
    for (const xsk of this.sockets) this.devio.closeQueue(xsk);
    for (const offset of this.offsets) this.devio.free(offset);
    this.sockets = [];
    this.offsets = [];
  }

  close(): void {}

  link(): LinkInfo {
    const link = this.devio.link();
    const up = link !== undefined && link.up && link.carrier;
    const common = { speed: 0, duplex: 'unknown', autoneg: false, media: link?.kind || 'ethernet' } as const;
    if (up) return { ...common, status: 'up' };
    const why = link === undefined ? 'it has gone' : link.up ? 'no carrier' : `it is down: ip link set ${link.name} up`;
    return { ...common, status: 'down', reason: why };
  }

  private interface(): Link {
    const link = this.devio.link();
    if (link === undefined) throw lost(this.name);
    return link;
  }
}

function lost(name: string): PortError {
  return new PortError('PORT_LOST', {
    what: `port xdp:${name}`,
    why: 'its interface was deleted, or moved to another network namespace',
    fix: 'open it again when it is back',
  });
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
