/** Where the doctor looks: replaced by tests, which have file trees of their own. */
import { readdirSync, readFileSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { loadNative } from '../../../native/index.ts';

/** The machine. */
export interface Sources {
  /** Where procfs, sysfs and devfs are. */
  readonly proc: string;
  readonly sys: string;
  readonly dev: string;
  /** `20.19.0` */
  readonly nodeVersion: string;
  /** The program that capabilities would be given to. */
  readonly execPath: string;
  /** Loads the addon, or throws why not. */
  loadNative(): unknown;
}

/** This machine. */
export const systemSources = (): Sources => ({
  proc: '/proc',
  sys: '/sys',
  dev: '/dev',
  nodeVersion: process.versions.node,
  execPath: process.execPath,
  loadNative,
});

/** Reads a small file; the empty string when it is not there or may not be read. */
export function read(...path: string[]): string {
  try {
    return readFileSync(join(...path), 'utf8');
  } catch {
    return '';
  }
}

/** Names in a folder; none when it is not there. */
export function names(...path: string[]): string[] {
  try {
    return readdirSync(join(...path));
  } catch {
    return [];
  }
}

/** True when there is something at that path. */
export function exists(...path: string[]): boolean {
  try {
    statSync(join(...path));
    return true;
  } catch {
    return false;
  }
}

/** The value in a line `key: value`; the empty string when there is none. */
export function field(text: string, key: string): string {
  const line = text.split('\n').find((l) => l.startsWith(`${key}:`));
  return line === undefined ? '' : line.slice(key.length + 1).trim();
}

/** Kibibytes in a line of /proc/meminfo, as bytes; NaN when there is none. */
export const meminfo = (text: string, key: string): number => Number.parseInt(field(text, key), 10) * 1024;

/** The soft limit in a line of /proc/self/limits: a number, or infinity. */
export function softLimit(text: string, limit: string): number {
  const line = text.split('\n').find((l) => l.startsWith(limit)) ?? '';
  const [soft = 'unlimited'] = line.slice(limit.length).trim().split(/\s+/);
  return soft === 'unlimited' || soft === '' ? Number.POSITIVE_INFINITY : Number(soft);
}

/** True when the dotted version `a` is `b` or later; what is no number counts as 0. */
export function atLeast(a: string, b: string): boolean {
  const parts = (version: string) => version.split('.').map((part) => Number.parseInt(part, 10) || 0);
  const [x, y] = [parts(a), parts(b)];
  for (let i = 0; i < y.length; i++) {
    if ((x[i] ?? 0) !== y[i]) return (x[i] ?? 0) > y[i];
  }
  return true;
}
