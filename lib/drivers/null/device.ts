/** The `null` driver: a port that receives endless frames and frees what it is sent. Control half. */
import { PortError } from '../../errors.ts';
import type { Driver } from '../../framework/types.ts';
import { emptyHandle, L2_OVERHEAD, memoryCapability, queueModule, times } from '../../pktio/memory-port.ts';
import type { PortConfig, Queues } from '../../pktio/types.ts';
import { MemoryDevice, memoryDriver } from '../memory-device.ts';

class NullDevice extends MemoryDevice {
  readonly driver = 'null';
  readonly capability = { ...memoryCapability, patient: true };

  setup(config: PortConfig): Queues {
    const size = Number(this.device.facts.size);
    const { address } = this.device;
    if (size > config.mtu + L2_OVERHEAD) throw tooLong(address, size, config.mtu);
    const make = (direction: 'rx' | 'tx') => (queue: number) =>
      emptyHandle(this.plan(config, { direction, queue, module: queueModule(import.meta.url), data: { size } }));
    return { rx: times(config.rxQueues, make('rx')), tx: times(config.txQueues, make('tx')) };
  }
}

function tooLong(address: string, size: number, mtu: number): PortError {
  const text = {
    what: `port ${address}`,
    why: `size=${size} is more than its MTU of ${mtu} and ${L2_OVERHEAD} bytes allow`,
    fix: `give a size up to ${mtu + L2_OVERHEAD}, or raise the MTU (mtu: ${size - L2_OVERHEAD})`,
  };
  return new PortError('BAD_FRAME_SIZE', text, { detail: { port: address, size, max: mtu + L2_OVERHEAD } });
}

/** Makes the driver. */
export const nullDriver = (): Driver => memoryDriver('null', (device, devio) => new NullDevice(device, devio));
