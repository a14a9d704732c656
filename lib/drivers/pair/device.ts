/** The `pair` driver: two ports, each of which receives what the other sends. Control half. */
import { asMemoryDevio, MEMORY_API, type MemoryDevio } from '../../devios/memory.ts';
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

/** The started ends of each pair, by the pair's name. */
type Ends = Map<string, Set<PairDevice>>;

class PairDevice implements PortDevice {
  readonly driver = 'pair';
  readonly capability = { ...memoryCapability, txRing: { min: 0, max: 0 }, interrupts: true, internal: true };
  readonly defaults: PortConfig;
  private readonly device: Device;
  private readonly devio: MemoryDevio;
  private readonly started: Set<PairDevice>;
  /** What this end sends into, and what it receives from: the other end has them the other way round. */
  private readonly out: Rings;
  private readonly in: Rings;
  private counters: number[] = [];
  private events: PortEvents | undefined;

  constructor(device: Device, devio: MemoryDevio, ends: Ends) {
    this.device = device;
    this.devio = devio;
    this.defaults = memoryDefaults(device);
    const name = String(device.facts.name);
    this.started = ends.get(name) ?? new Set();
    ends.set(name, this.started);
    const size = this.defaults.txRing;
    const side = Number(device.facts.side);
    const rings = (from: number) => new Rings(devio.memory, devio.shared(`${name}/${from}`, blockBytes(size)), size);
    this.out = rings(side);
    this.in = rings(1 - side);
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
    this.started.add(this);
    this.tellLink();
    return queues;
  }

  teardown(): void {
    this.out.use(0);
    this.started.delete(this);
    for (const offset of this.counters) this.devio.free(offset);
    this.counters = [];
    this.tellLink();
  }

  close(): void {}

  link(): LinkInfo {
    if (this.started.size === 2) return memoryLink();
    return { ...memoryLink(), status: 'down', reason: 'the other end is not started' };
  }

  private tellLink(): void {
    for (const end of new Set([...this.started, this])) end.events?.link(end.link());
  }
}

/** Makes the driver. */
export function pairDriver(): Driver {
  const ends: Ends = new Map();
  return {
    name: 'pair',
    version: '1.0.0',
    frameworkApi: FRAMEWORK_API,
    enumeratorClass: 'memory',
    ids: [{ kind: 'pair' }],
    devios: [MEMORY_API],
    probe(device, devio) {
      const memory = asMemoryDevio(devio);
      return new Port(device.address, memory.memory, new PairDevice(device, memory, ends));
    },
  };
}
