/** Tidies up after engines that died with their keepers: what the records say, and nobody lives to do. */
import type { Native } from '../../native/index.ts';
import { toPlainError } from '../errors.ts';
import { COMMAND, changeCommand, HEADER } from '../pci/config-space.ts';
import { readFunction } from '../pci/device.ts';
import { UIO_DRIVER, UioFunction } from '../uio/function.ts';
import { type KeptRecord, readKept, removeKept, runs } from './records.ts';

/** Where things are. */
export interface SweepPlace {
  readonly native: Pick<Native, 'flock'>;
  readonly sysfs: string;
  readonly dev: string;
  readonly proc: string;
  /** Folder of the records. */
  readonly folder: string;
}

/** The system's own. */
export const sweepPlace = (native: Native, folder: string): SweepPlace => ({
  native,
  ...{ sysfs: '/sys', dev: '/dev', proc: '/proc' },
  folder,
});

/** What was found, and done about it. */
export interface Swept {
  readonly address: string;
  /** `stopped`: bus master off, reset. `stopped-before`: the kernel has seen to it. `left`: it is not ours any more. */
  readonly outcome: 'stopped' | 'stopped-before' | 'left';
  readonly why?: string;
  readonly errors: readonly Error[];
}

/** Stops the functions of engines that do not live, whose keepers don't either, and removes their records. */
export function sweep(place: SweepPlace): Swept[] {
  const { folder, proc } = place;
  return [...readKept(folder)].flatMap(([address, record]) => {
    if (record !== undefined && (runs(record.engine, proc) || runs(record.keeper, proc))) return [];
    const swept = sweepOne(place, address, record);
    if (swept.errors.length === 0) removeKept(folder, address);
    return [swept];
  });
}

function sweepOne(place: SweepPlace, address: string, record: KeptRecord | undefined): Swept {
  const left = (why: string): Swept => ({ address, outcome: 'left', why, errors: [] });
  const found = readFunction(place.sysfs, address);
  if (found === undefined) return left('it has been removed');
  // VFIO stops and resets a function when its last file is closed, and nobody of those who had it lives.
  if (found.driver.includes('vfio')) return { address, outcome: 'stopped-before', errors: [] };
  if (found.driver !== UIO_DRIVER) return left(`${found.driver || 'nobody'} has it now`);
  if (record === undefined) return left('its record cannot be read');
  return stopUio(place, address, left);
}

function stopUio({ native, sysfs, dev }: SweepPlace, address: string, left: (why: string) => Swept): Swept {
  let access: UioFunction;
  try {
    access = new UioFunction({ native, sysfs, dev }, address);
  } catch (error) {
    if (toPlainError(error).code === 'UIO_BUSY') return left('another engine has it now');
    return { address, outcome: 'left', errors: [error as Error] };
  }
  const errors: Error[] = [];
  try {
    const was = changeCommand(access.config, 0, COMMAND.busMaster);
    access.config.read(HEADER.command, 16); // waits until that has arrived
    if (access.resettable) access.reset();
    return { address, outcome: (was & COMMAND.busMaster) === 0 ? 'stopped-before' : 'stopped', errors };
  } catch (error) {
    errors.push(error as Error);
    return { address, outcome: 'stopped', errors };
  } finally {
    access.close();
  }
}
