/** What drivers of devices without hardware share: settings, a link that is always up, memory and counters of queues. */
import { asMemoryDevio, MEMORY_API, type MemoryDevio } from '../devios/memory.ts';
import { type Device, type Driver, FRAMEWORK_API } from '../framework/types.ts';
import { memoryDefaults, memoryLink, planQueue, type QueueSpec } from '../pktio/memory-port.ts';
import { Port } from '../pktio/port.ts';
import type { Capability, LinkInfo, PortConfig, PortDevice, Queues } from '../pktio/types.ts';
import type { QueuePlan } from '../queue.ts';

/** Control half of such a driver, but for its queues. */
export abstract class MemoryDevice implements PortDevice {
  abstract readonly driver: string;
  abstract readonly capability: Capability;
  readonly defaults: PortConfig;
  protected readonly device: Device;
  protected readonly devio: MemoryDevio;
  private offsets: number[] = [];

  constructor(device: Device, devio: MemoryDevio) {
    this.device = device;
    this.devio = devio;
    this.defaults = memoryDefaults(device);
  }

  abstract setup(config: PortConfig): Queues;

  /** Arena memory that lasts until `teardown`. */
  protected allocate(bytes: number): number {
    const offset = this.devio.allocate(bytes);
    this.offsets.push(offset);
    return offset;
  }

  /** Plans a queue of the port, with counters that last until `teardown`. */
  protected plan(config: PortConfig, spec: Omit<QueueSpec, 'port'>): QueuePlan {
    const plan = planQueue(this.devio, config, { ...spec, port: this.device.address });
    this.offsets.push(plan.counters);
    return plan;
  }

  teardown(): void {
    for (const offset of this.offsets) this.devio.free(offset);
    this.offsets = [];
  }

  close(): void {}

  link(): LinkInfo {
    return memoryLink();
  }
}

/** Makes a driver for the devices of `kind` in an enumerator class (`memory` if absent), which `make` makes ports of. */
export function memoryDriver(
  kind: string,
  make: (device: Device, devio: MemoryDevio) => PortDevice,
  enumeratorClass = 'memory',
): Driver {
  return {
    name: kind,
    version: '1.0.0',
    frameworkApi: FRAMEWORK_API,
    enumeratorClass,
    ids: [{ kind }],
    devios: [MEMORY_API],
    probe(device, devio) {
      const memory = asMemoryDevio(devio);
      return new Port(device.address, memory.memory, make(device, memory));
    },
  };
}
