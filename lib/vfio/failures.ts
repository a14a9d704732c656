/** What goes wrong with VFIO, in words. Control half. */
import { DevioError } from '../errors.ts';
import { systemError } from '../system-error.ts';

/** A failed request, with what to do by the name of its error. */
export function failed(
  code: string,
  what: string,
  cause: unknown,
  fixes: Readonly<Record<string, string>> = {},
): Error {
  const known = { ENODEV: 'the device has gone: check the card and its slot', ...fixes };
  return systemError(DevioError, code, what, cause, known);
}

/** An error that is no system call's. */
export function refused(code: string, what: string, why: string, fix: string): DevioError {
  return new DevioError(code, { what, why, fix });
}

/** Why a file of VFIO's could not be opened; `load` is the command that makes it. */
export function cannotOpen(path: string, cause: unknown, load = 'modprobe vfio-pci'): Error {
  return failed('VFIO_OPEN', path, cause, {
    ENOENT: `load the module: ${load}`,
    ENODEV: `load the module: ${load}`,
    EACCES: `let this user have it: chown USER ${path}, or a udev rule; or be root`,
    EPERM: 'without an IOMMU it takes CAP_SYS_RAWIO: be root',
    EBUSY: 'another process has it open: end that one first',
  });
}

/** Why memory could not be mapped for devices. */
export function cannotMap(bytes: number, limit: number, cause: unknown): Error {
  return failed('DMA_MAP', `${bytes} bytes of memory for devices`, cause, {
    ENOMEM:
      `memory that devices use is locked, and this process may lock ${limit} bytes: raise it (ulimit -l unlimited, ` +
      'LimitMEMLOCK=infinity in systemd), or ask for fewer or smaller frames',
    ENOSPC: 'the IOMMU driver takes no more mappings: raise dma_entry_limit of vfio_iommu_type1, or open fewer ports',
    EINVAL: 'an address there is reserved or beyond what the IOMMU has: ask for fewer or smaller frames',
  });
}
