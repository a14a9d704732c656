/** The `loop` driver: a port that receives what it sends. Control half. */
import type { MemoryDevio } from '../../devios/memory.ts';
import type { Device, Driver } from '../../framework/types.ts';
import { emptyHandle, memoryCapability, queueModule, times } from '../../pktio/memory-port.ts';
import type { PortConfig, Queues } from '../../pktio/types.ts';
import { MemoryDevice, memoryDriver } from '../memory-device.ts';
import { blockBytes, RX_NAMES } from './layout.ts';
import { Rings } from './rings.ts';

class LoopDevice extends MemoryDevice {
  readonly driver = 'loop';
  readonly capability = { ...memoryCapability, interrupts: true, internal: true };
  private readonly fd: number;

  constructor(device: Device, devio: MemoryDevio) {
    super(device, devio);
    this.fd = devio.eventfd();
  }

  setup(config: PortConfig): Queues {
    const offset = this.allocate(blockBytes(config.txRing));
    const rings = new Rings(this.devio.memory, { offset, fd: this.fd }, config.txRing);
    rings.use(config.txQueues);
    const plan = (direction: 'rx' | 'tx', queue: number, data: Record<string, number>) => {
      const counterNames = direction === 'rx' ? RX_NAMES : [];
      return this.plan(config, {
        direction,
        queue,
        module: queueModule(import.meta.url),
        fd: this.fd,
        data,
        counterNames,
      });
    };
    return {
      rx: times(config.rxQueues, (i) => emptyHandle(plan('rx', i, rings.rxData(i, config.rxQueues, true)))),
      tx: times(config.txQueues, (i) => rings.txHandle(plan('tx', i, rings.txData(i)))),
    };
  }
}

/** Makes the driver. */
export const loopDriver = (): Driver => memoryDriver('loop', (device, devio) => new LoopDevice(device, devio));
