/** The `pair` driver: two ports, each of which receives what the other sends. Control half. */
import { asMemoryDevio, MEMORY_API, type MemoryDevio } from '../../devios/memory.ts';
import { DeviceError } from '../../errors.ts';
import { type Device, type Driver, FRAMEWORK_API } from '../../framework/types.ts';
import {
  emptyHandle,
  memoryCapability,
  memoryDefaults,
  memoryLink,
  planQueue,
  queueModule,
  times,
} from '../../pktio/memory-port.ts';
import { Port } from '../../pktio/port.ts';
import type { LinkInfo, PortConfig, PortDevice, PortEvents, Queues } from '../../pktio/types.ts';
import { blockBytes } from '../loop/layout.ts';
import { Rings } from '../loop/rings.ts';

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

class PairDevice implements PortDevice {
  readonly driver = 'pair';
  readonly capability = { ...memoryCapability, txRing: { min: 0, max: 0 }, interrupts: true, internal: true };
  readonly defaults: PortConfig;
  private readonly device: Device;
  private readonly devio: MemoryDevio;
  private readonly links: Links;
  private readonly common: Link;
  /** What this end sends into, and what it receives from: the other end has them the other way round. */
  private readonly out: Rings;
  private readonly in: Rings;
  private counters: number[] = [];
  private events: PortEvents | undefined;

  constructor(device: Device, devio: MemoryDevio, links: Links) {
    this.device = device;
    this.devio = devio;
    this.links = links;
    this.defaults = memoryDefaults(device);
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
      const module = queueModule(import.meta.url);
      const made = planQueue(this.devio, config, { port: this.device.address, direction, queue, module, fd, data });
      this.counters.push(made.counters);
      return made;
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

  teardown(): void {
    const wasUp = this.isUp;
    this.out.use(0);
    this.common.started.delete(this);
    for (const offset of this.counters) this.devio.free(offset);
    this.counters = [];
    if (wasUp) this.tellLink();
  }

  close(): void {
    this.common.ends.delete(this);
    if (this.common.ends.size === 0) this.links.delete(String(this.device.facts.name));
  }

  link(): LinkInfo {
    if (this.isUp) return memoryLink();
    return { ...memoryLink(), status: 'down', reason: 'the other end is not started' };
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
  return {
    name: 'pair',
    version: '1.0.0',
    frameworkApi: FRAMEWORK_API,
    enumeratorClass: 'memory',
    ids: [{ kind: 'pair' }],
    devios: [MEMORY_API],
    probe(device, devio) {
      const memory = asMemoryDevio(devio);
      return new Port(device.address, memory.memory, new PairDevice(device, memory, links));
    },
  };
}
