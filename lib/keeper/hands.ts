/** What custody does to the kernel that runs. */
import type { Native } from '../../native/index.ts';
import { duplicateAbove } from '../devios/last-file.ts';
import { UioFunction } from '../uio/function.ts';
import { VfioDevice } from '../vfio/device.ts';
import { vfioKernel } from '../vfio/kernel.ts';
import type { Hands } from './custody.ts';
import { malformed } from './protocol.ts';

/** Hands on a Linux system; `sysfs` and `dev` are for tests. */
export function systemHands(native: Native, sysfs = '/sys', dev = '/dev'): Hands {
  const kernel = vfioKernel(native);
  return {
    take({ address, backend }, fds) {
      const [fd, configFd] = fds as [number, number?];
      const fits = (configFd !== undefined) === (backend === 'uio');
      try {
        if (!fits) throw malformed(`${fds.length} files of a function of ${backend}`);
        if (configFd === undefined) return new VfioDevice(kernel, fd, address);
      } catch (error) {
        for (const one of fds) native.close(one);
        throw error;
      }
      return new UioFunction({ native, sysfs, dev }, address, { fd, configFd });
    },
    closedFirst: (fd, others) => duplicateAbove(native, fd, others),
    close: (fd) => native.close(fd),
    now: () => performance.now(),
  };
}
