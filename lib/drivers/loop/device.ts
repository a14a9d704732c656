/** The `loop` driver: a port that receives what it sends. Control half. */
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
import { blockBytes } from './layout.ts';
import { Rings } from './rings.ts';

class LoopDevice implements PortDevice {
  readonly driver = 'loop';
  readonly capability = { ...memoryCapability, interrupts: true, internal: true };
  readonly defaults: PortConfig;
  readonly link = memoryLink;
  private readonly device: Device;
  private readonly devio: MemoryDevio;
  private readonly fd: number;
  private offsets: number[] = [];

  constructor(device: Device, devio: MemoryDevio) {
    this.device = device;
    this.devio = devio;
    this.fd = devio.eventfd();
    this.defaults = memoryDefaults(device);
  }

  setup(config: PortConfig): Queues {
    const offset = this.devio.allocate(blockBytes(config.txRing));
    this.offsets.push(offset);
    const rings = new Rings(this.devio.memory, { offset, fd: this.fd }, config.txRing);
    rings.use(config.txQueues);
    const plan = (direction: 'rx' | 'tx', queue: number, data: Record<string, number>) => {
      const module = queueModule(import.meta.url);
      const made = planQueue(this.devio, config, {
        port: this.device.address,
        direction,
        queue,
        module,
        fd: this.fd,
        data,
      });
      this.offsets.push(made.counters);
      return made;
    };
    return {
      rx: times(config.rxQueues, (i) => emptyHandle(plan('rx', i, rings.rxData(i, config.rxQueues, true)))),
      tx: times(config.txQueues, (i) => rings.txHandle(plan('tx', i, rings.txData(i)))),
    };
  }

  teardown(): void {
    for (const offset of this.offsets) this.devio.free(offset);
    this.offsets = [];
  }

  close(): void {}
}

/** Makes the driver. */
export function loopDriver(): Driver {
  return {
    name: 'loop',
    version: '1.0.0',
    frameworkApi: FRAMEWORK_API,
    enumeratorClass: 'memory',
    ids: [{ kind: 'loop' }],
    devios: [MEMORY_API],
    probe(device, devio) {
      const memory = asMemoryDevio(devio);
      return new Port(device.address, memory.memory, new LoopDevice(device, memory));
    },
  };
}
