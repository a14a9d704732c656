/** What the drivers of gigabit controllers have in common: how they are registered and opened. Control half. */
import { DeviceError } from '../../errors.ts';
import { type Driver, FRAMEWORK_API } from '../../framework/types.ts';
import { asPciDevio, IOMMU_API, NOMMU_API, type PciDevio } from '../../pci/devio.ts';
import { Port } from '../../pktio/port.ts';
import type { Controller } from './controller.ts';
import { GbeDevice, HANDOVER, type Handover, openGbe } from './device.ts';
import { BAR_BYTES } from './regs.ts';

const INTEL = 0x8086;

/** Makes the driver `name` for Intel's functions with `device`, which `make` makes controllers of. */
export function gbeDriver(name: string, device: number, make: (port: string, devio: PciDevio) => Controller): Driver {
  return {
    name,
    version: '1.0.0',
    frameworkApi: FRAMEWORK_API,
    enumeratorClass: 'pci',
    ids: [{ vendor: INTEL, device }],
    devios: [IOMMU_API, NOMMU_API],
    async probe({ address }, devio) {
      const pci = asPciDevio(devio);
      const port = `pci:${address}`; // as it is asked for
      const controller = make(port, pci);
      const { bytes } = controller.bar;
      if (bytes < BAR_BYTES) {
        throw new DeviceError('BAD_BAR', {
          what: `port ${port}: BAR 0`,
          why: `it has ${bytes} bytes, and registers lie in the first ${BAR_BYTES}`,
          fix: 'the device is broken or hostile: do not use it',
        });
      }
      return new Port(port, pci.memory, await openGbe(port, pci, controller));
    },
    handover: `${name}-${HANDOVER}`,
    async succeed(_device, _devio, _index, state) {
      const handed = state as Handover;
      const { name: port, devio, mac, config } = handed;
      const next = new GbeDevice(port, devio, make(port, devio), mac);
      return new Port(port, devio.memory, next, { config, queues: next.takeOver(handed) });
    },
  };
}
