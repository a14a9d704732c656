/** What binding does to the kernel: sysfs, modules, interfaces. One place, so that tests can stand in for it. Control half. */
import { spawnSync } from 'node:child_process';
import { closeSync, existsSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Native } from '../../native/index.ts';
import { type InterfaceState, setInterface } from '../netlink/interface.ts';
import { Netdevs } from '../netlink/netdevs.ts';
import { errnoName } from '../system-error.ts';
import { type PciFunction, readFunction, readFunctions } from './device.ts';

const MODPROBE_MS = 10_000;

/** An interface as the host uses it. */
export interface NetifUse {
  readonly addresses: readonly string[];
  readonly defaultRoute: boolean;
}

/** The kernel, as far as binding goes. */
export interface BinderKernel {
  read(address: string): PciFunction | undefined;
  readAll(): PciFunction[];
  /** Writes to a file below sysfs' root. Throws the system's error. */
  write(path: string, text: string): void;
  exists(path: string): boolean;
  /** Whether an engine has the function open by UIO, which keeps nobody from taking it away. */
  inUse(address: string): boolean;
  /** Loads a module; returns what modprobe said when it failed, or undefined. */
  loadModule(name: string, options?: string): string | undefined;
  /** How interfaces are used, by name. */
  uses(names: readonly string[]): Promise<ReadonlyMap<string, NetifUse>>;
  /** Sets name, address and state of the interface `now`. Throws `INTERFACE`. */
  setNetif(now: string, state: InterfaceState): void;
}

/** The kernel that runs. */
export function binderKernel(native: Native, sysfs = '/sys'): BinderKernel {
  return {
    read: (address) => readFunction(sysfs, address),
    readAll: () => readFunctions(sysfs),
    write: (path, text) => writeFileSync(join(sysfs, path), text),
    exists: (path) => existsSync(join(sysfs, path)),
    inUse: (address) => isLocked(native, join(sysfs, 'bus/pci/devices', address, 'config')),
    loadModule(name, options) {
      const args = options === undefined ? [name] : [name, options];
      const { status, stderr, error } = spawnSync('modprobe', args, { encoding: 'utf8', timeout: MODPROBE_MS });
      if (status === 0) return undefined;
      return error?.message ?? stderr.trim();
    },
    uses: (names) => usesOf(native, names),
    setNetif: (now, state) => setInterface(native, now, state),
  };
}

async function usesOf(native: Native, names: readonly string[]): Promise<Map<string, NetifUse>> {
  const nobody = () => {};
  const netdevs = new Netdevs(native, { appeared: nobody, changed: nobody, vanished: nobody, failed: nobody });
  try {
    await netdevs.start();
    const routes = await netdevs.defaultRoutes();
    const links = netdevs.links().filter(({ name }) => names.includes(name));
    return new Map(
      links.map(({ name, index }) => [name, { addresses: netdevs.addresses(index), defaultRoute: routes.has(index) }]),
    );
  } finally {
    netdevs.stop();
  }
}

function isLocked(native: Native, path: string): boolean {
  let fd = -1;
  try {
    fd = openSync(path, 'r');
    native.flock(fd);
    return false;
  } catch (error) {
    return errnoName(error) === 'EAGAIN';
  } finally {
    if (fd >= 0) closeSync(fd);
  }
}
