/** What was before a function was bound to another driver: written before anything is changed, removed when it is undone. */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { DeviceError } from '../errors.ts';
import { fullAddress } from './device.ts';

/** Where records are kept: gone with a reboot, as the bindings are. */
export const RECORDS = '/run/linecard/bindings';

const VERSION = 1;

/** How a function was. */
export interface BindRecord {
  readonly address: string;
  /** Kernel driver; empty: none. */
  readonly driver: string;
  readonly driverOverride: string;
  readonly netifs: readonly { readonly name: string; readonly mac: string; readonly up: boolean }[];
}

const fileOf = (folder: string, address: string): string => join(folder, `${address}.json`);

/** Writes a record; there is none half written. */
export function writeRecord(folder: string, record: BindRecord): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = fileOf(folder, record.address);
  writeFileSync(`${file}.new`, `${JSON.stringify({ version: VERSION, ...record })}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/** The record of a function, or undefined. Throws `BAD_RECORD` when there is one that cannot be read. */
export function readRecord(folder: string, address: string): BindRecord | undefined {
  const file = fileOf(folder, address);
  let text: string;
  try {
    text = readFileSync(file, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw badRecord(file, (error as Error).message, error);
  }
  try {
    return checked(JSON.parse(text), address);
  } catch (error) {
    throw badRecord(file, (error as Error).message, error);
  }
}

/** Functions that have a record. */
export function recordedAddresses(folder: string): string[] {
  try {
    return readdirSync(folder).flatMap((name) => fullAddress(name.replace(/\.json$/, '')) ?? []);
  } catch {
    return []; // nothing was ever bound
  }
}

export function removeRecord(folder: string, address: string): void {
  rmSync(fileOf(folder, address), { force: true });
}

function checked(value: unknown, address: string): BindRecord {
  const record = value as Partial<BindRecord> & { version?: unknown };
  const strings = [record?.address, record?.driver, record?.driverOverride];
  const netifs = Array.isArray(record?.netifs) ? record.netifs : undefined;
  const good = netifs?.every(
    (n) => typeof n?.name === 'string' && typeof n.mac === 'string' && typeof n.up === 'boolean',
  );
  if (record?.version !== VERSION || record.address !== address || good !== true) throw new Error('it is not one');
  if (!strings.every((text) => typeof text === 'string' && /^[\w.:-]*$/.test(text))) throw new Error('it is not one');
  return { address, driver: strings[1]!, driverOverride: strings[2]!, netifs: netifs! };
}

function badRecord(file: string, why: string, cause: unknown): DeviceError {
  const fix =
    'bind the function to its driver by hand (its driver_override in sysfs, then drivers_probe), and remove the file';
  return new DeviceError('BAD_RECORD', { what: `binding record ${file}`, why, fix }, { cause });
}
