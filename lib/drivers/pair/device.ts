/** The `pair` driver: two ports, each of which receives what the other sends. Control half. */
import type { MemoryDevio } from '../../devios/memory.ts';
import { DeviceError } from '../../errors.ts';
import type { Device, Driver } from '../../framework/types.ts';
import { emptyHandle, memoryCapability, queueModule, times } from '../../pktio/memory-port.ts';
import type { LinkInfo, PortConfig, PortEvents, Queues } from '../../pktio/types.ts';
import { blockBytes, RX_NAMES } from '../loop/layout.ts';
import { Rings } from '../loop/rings.ts';
import { MemoryDevice, memoryDriver } from '../memory-device.ts';

/** What the two ends of a pair have in common. */
interface Link {
  /** Descriptors per ring. */
  readonly size: number;
  /** Ends that exist, and those of them that are started. */
  readonly ends: Set<PairDevice>;
  readonly started: Set<PairDevice>;
}

/** Links by the pair's name. */
type Links = Map<string, Link>;

class PairDevice extends MemoryDevice {
  readonly driver = 'pair';
  readonly capability = { ...memoryCapability, txRing: { min: 0, max: 0 }, interrupts: true, internal: true };
  private readonly links: Links;
  private readonly common: Link;
  /** What this end sends into, and what it receives from: the other end has them the other way round. */
  private readonly out: Rings;
  private readonly in: Rings;
  private events: PortEvents | undefined;

  constructor(device: Device, devio: MemoryDevio, links: Links) {
    super(device, devio);
    this.links = links;
    const { name, side } = device.facts;
    const size = this.defaults.txRing;
    this.common = links.get(String(name)) ?? { size, ends: new Set(), started: new Set() };
    if (this.common.size !== size) throw ringMismatch(device.address, size, this.common.size);
    const rings = (from: number) => new Rings(devio.memory, devio.shared(`${name}/${from}`, blockBytes(size)), size);
    this.out = rings(Number(side));
    this.in = rings(1 - Number(side));
    links.set(String(name), this.common);
    this.common.ends.add(this);
  }

  attach(events: PortEvents): void {
    this.events = events;
  }

  setup(config: PortConfig): Queues {
    const plan = (direction: 'rx' | 'tx', queue: number, data: Record<string, number>) => {
      const { fd } = direction === 'rx' ? this.in : this.out;
      const counterNames = direction === 'rx' ? RX_NAMES : [];
      return this.plan(config, { direction, queue, module: queueModule(import.meta.url), fd, data, counterNames });
    };
    const queues = {
      rx: times(config.rxQueues, (i) => emptyHandle(plan('rx', i, this.in.rxData(i, config.rxQueues, false)))),
      tx: times(config.txQueues, (i) => this.out.txHandle(plan('tx', i, this.out.txData(i)))),
    };
    this.out.use(config.txQueues);
    this.common.started.add(this);
    if (this.isUp) this.tellLink();
    return queues;
  }

  override teardown(): void {
    const wasUp = this.isUp;
    this.out.use(0);
    this.common.started.delete(this);
    super.teardown();
    if (wasUp) this.tellLink();
  }

  override close(): void {
    this.common.ends.delete(this);
    if (this.common.ends.size === 0) this.links.delete(String(this.device.facts.name));
  }

  override link(): LinkInfo {
    if (this.isUp) return super.link();
    return { ...super.link(), status: 'down', reason: 'the other end is not started' };
  }

  private get isUp(): boolean {
    return this.common.started.size === 2;
  }

  private tellLink(): void {
    for (const end of this.common.ends) end.events?.link(end.link());
  }
}

function ringMismatch(address: string, size: number, other: number): DeviceError {
  return new DeviceError('PAIR_MISMATCH', {
    what: `port ${address}`,
    why: `it has ring=${size}, but the other end has ring=${other}`,
    fix: 'give both ends the same ring',
  });
}

/** Makes the driver. */
export function pairDriver(): Driver {
  const links: Links = new Map();
  return memoryDriver('pair', (device, devio) => new PairDevice(device, devio, links));
}
