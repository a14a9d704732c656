/** The `null` driver: a port that receives endless frames and frees what it is sent. Control half. */
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
import type { PortConfig, PortDevice, Queues } from '../../pktio/types.ts';

class NullDevice implements PortDevice {
  readonly driver = 'null';
  readonly capability = { ...memoryCapability, patient: true };
  readonly defaults: PortConfig;
  readonly link = memoryLink;
  private readonly device: Device;
  private readonly devio: MemoryDevio;
  private counters: number[] = [];

  constructor(device: Device, devio: MemoryDevio) {
    this.device = device;
    this.devio = devio;
    this.defaults = memoryDefaults(device);
  }

  setup(config: PortConfig): Queues {
    const data = { size: Number(this.device.facts.size) };
    const make = (direction: 'rx' | 'tx') => (queue: number) => {
      const spec = { port: this.device.address, direction, queue, module: queueModule(import.meta.url), data };
      const plan = planQueue(this.devio, config, spec);
      this.counters.push(plan.counters);
      return emptyHandle(plan);
    };
    return { rx: times(config.rxQueues, make('rx')), tx: times(config.txQueues, make('tx')) };
  }

  teardown(): void {
    for (const offset of this.counters) this.devio.free(offset);
    this.counters = [];
  }

  close(): void {}
}

/** Makes the driver. */
export function nullDriver(): Driver {
  return {
    name: 'null',
    version: '1.0.0',
    frameworkApi: FRAMEWORK_API,
    enumeratorClass: 'memory',
    ids: [{ kind: 'null' }],
    devios: [MEMORY_API],
    probe(device, devio) {
      const memory = asMemoryDevio(devio);
      return new Port(device.address, memory.memory, new NullDevice(device, memory));
    },
  };
}
