/** Functions that an engine has, on disk: for whoever comes after an engine and its keeper have both died. */
import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { fullAddress } from '../pci/device.ts';
import { BACKENDS, type Backend } from './protocol.ts';

/** Where records are kept: gone with a reboot, as the functions' state is. */
export const KEPT = '/run/linecard/kept';

const VERSION = 1;

/** A process, by its number and its start, which the next of that number does not share. */
export interface ProcessId {
  readonly pid: number;
  /** Clock ticks since boot (proc(5), `starttime`), as text. */
  readonly start: string;
}

/** Who has a function, and how. */
export interface KeptRecord {
  readonly address: string;
  readonly backend: Backend;
  readonly engine: ProcessId;
  readonly keeper: ProcessId;
}

/** The process of number `pid`, or undefined when there is none. A zombie has given up its files: it is none. */
export function processOf(pid: number, proc = '/proc'): ProcessId | undefined {
  try {
    const stat = readFileSync(join(proc, String(pid), 'stat'), 'latin1');
    // The command's name, in parentheses, may have anything in it.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
    return fields[0] === 'Z' || fields[0] === 'X' ? undefined : { pid, start: fields[19] ?? '' };
  } catch {
    return undefined;
  }
}

/** Whether that very process still runs. */
export const runs = ({ pid, start }: ProcessId, proc?: string): boolean => processOf(pid, proc)?.start === start;

const fileOf = (folder: string, address: string): string => join(folder, `${address}.json`);

/** Writes a record; there is none half written. Throws the system's error. */
export function writeKept(folder: string, record: KeptRecord): void {
  mkdirSync(folder, { recursive: true, mode: 0o700 });
  const file = fileOf(folder, record.address);
  writeFileSync(`${file}.new`, `${JSON.stringify({ version: VERSION, ...record })}\n`, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

export function removeKept(folder: string, address: string): void {
  rmSync(fileOf(folder, address), { force: true });
}

/** All records, by address; undefined for one that cannot be read. */
export function readKept(folder: string): Map<string, KeptRecord | undefined> {
  let names: string[] = [];
  try {
    names = readdirSync(folder);
  } catch {
    // There never was one.
  }
  const addresses = names.flatMap((name) => (name.endsWith('.json') ? (fullAddress(name.slice(0, -5)) ?? []) : []));
  return new Map(addresses.map((address) => [address, readOne(fileOf(folder, address), address)]));
}

function readOne(file: string, address: string): KeptRecord | undefined {
  try {
    const record = JSON.parse(readFileSync(file, 'utf8')) as Partial<KeptRecord> & { version?: unknown };
    const ids = [record.engine, record.keeper].map((one) => ({ pid: one?.pid ?? 0, start: one?.start ?? '' }));
    const good = ids.every(({ pid, start }) => Number.isInteger(pid) && pid > 0 && /^\d+$/.test(start));
    const backend = BACKENDS.find((one) => one === record.backend);
    if (record.version !== VERSION || record.address !== address || backend === undefined || !good) return undefined;
    return { address, backend, engine: ids[0]!, keeper: ids[1]! };
  } catch {
    return undefined;
  }
}
