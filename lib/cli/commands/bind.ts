/** `linecard bind` and `linecard unbind`: which kernel driver has a network controller. */
import { Command } from 'commander';
import { loadNative } from '../../../native/index.ts';
import { Binder, type BindOptions, type Bound, USER_DRIVERS } from '../../pci/binding.ts';
import { fullAddress, isNetwork } from '../../pci/device.ts';
import { type BinderKernel, binderKernel } from '../../pci/kernel.ts';
import type { Action } from '../action.ts';
import { EXIT, usageError } from '../failure.ts';
import { toJson } from '../json.ts';

/** The PCI address that `text` stands for: an address, or the name of an interface. Throws `USAGE`. */
export function addressOf(text: string, kernel: Pick<BinderKernel, 'readAll'>): string {
  const address = fullAddress(text);
  if (address !== undefined) return address;
  const carrier = kernel.readAll().find(({ netifs }) => netifs.some(({ name }) => name === text));
  if (carrier !== undefined) return carrier.address;
  const known = kernel
    .readAll()
    .filter(isNetwork)
    .map((found) => found.address);
  const fix = known.length === 0 ? 'this machine has no network controllers on PCI' : `there are ${known.join(', ')}`;
  throw usageError(`device "${text}"`, 'it is neither a PCI address nor the interface of a PCI function', fix);
}

const driverName = (driver: string): string => (driver === '' ? 'no driver' : driver);

function sentence({ address, driver, before }: Bound): string {
  if (driver === before) return `${address} has ${driverName(driver)} already`;
  return `${address}: ${driverName(before)} → ${driverName(driver)}`;
}

interface Flags {
  readonly force?: boolean;
  readonly noiommuMode?: boolean;
  readonly json?: boolean;
}

function optionsOf({ force = false, noiommuMode = false }: Flags): BindOptions {
  return { force, noiommu: noiommuMode };
}

/** Makes `linecard bind`. */
export function bindCommand(action: Action): Command {
  return new Command('bind')
    .description('give a PCI network controller to another kernel driver; "unbind" gives it back')
    .argument('<device>', 'PCI address, such as 0000:01:00.0 or 01:00.0, or the name of its interface')
    .argument('<driver>', `${USER_DRIVERS.join(', ')}, or a kernel driver`)
    .option('--force', 'also when its interface is up, has addresses, or carries a default route')
    .option(
      '--noiommu-mode',
      'load vfio so that it works without an IOMMU: the device can then write to all of memory, and the kernel is tainted',
    )
    .option('-j, --json', 'one JSON object')
    .action((device: string, driver: string, flags: Flags) =>
      action(async (terminal) => {
        const kernel = binderKernel(loadNative());
        const bound = await new Binder(kernel).bind(addressOf(device, kernel), driver, optionsOf(flags));
        terminal.out(flags.json === true ? `${toJson({ ...bound })}\n` : `${sentence(bound)}\n`);
        return EXIT.ok;
      }),
    );
}

/** Makes `linecard unbind`. */
export function unbindCommand(action: Action): Command {
  return new Command('unbind')
    .description('give a PCI network controller back: driver, address and state of its interface as before "bind"')
    .argument('<device>', 'PCI address')
    .option('-j, --json', 'one JSON object')
    .action((device: string, flags: Flags) =>
      action(async (terminal) => {
        const kernel = binderKernel(loadNative());
        const bound = await new Binder(kernel).unbind(addressOf(device, kernel));
        terminal.out(flags.json === true ? `${toJson({ ...bound })}\n` : `${sentence(bound)}\n`);
        return EXIT.ok;
      }),
    );
}
