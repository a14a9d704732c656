/**
 * Moving a function from one kernel driver to another and back (Linux, Documentation/ABI/testing/sysfs-bus-pci):
 * `driver_override`, never `new_id`, which would catch other functions too. Control half.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { DeviceError } from '../errors.ts';
import { isNetwork, type Netif, type PciFunction } from './device.ts';
import type { BinderKernel } from './kernel.ts';
import { type BindRecord, RECORDS, readRecord, recordedAddresses, removeRecord, writeRecord } from './records.ts';

/** Kernel drivers that give a function to user space. */
export const USER_DRIVERS = ['vfio-pci', 'uio_pci_generic', 'igb_uio'] as const;

/** Longest wait for the kernel to bind, and for an interface to come back, in milliseconds. */
const BIND_MS = 5000;
const NETIF_MS = 5000;
const LOOK_MS = 10;

/** How to bind. */
export interface BindOptions {
  /** Also when the function carries an interface that is up, has addresses, or a default route leaves by. */
  readonly force?: boolean;
  /** Load vfio so that it works without an IOMMU: unsafe, the device may then write to all memory. */
  readonly noiommu?: boolean;
}

/** What is to be known of a function that was bound or given back. */
export interface Bound {
  readonly address: string;
  readonly driver: string;
  readonly before: string;
}

function refuse(code: string, address: string, why: string, fix: string, cause?: unknown): DeviceError {
  return new DeviceError(code, { what: `function ${address}`, why, fix }, cause === undefined ? {} : { cause });
}

/** Binds and gives back. */
export class Binder {
  private readonly kernel: BinderKernel;
  private readonly folder: string;

  constructor(kernel: BinderKernel, folder = RECORDS) {
    this.kernel = kernel;
    this.folder = folder;
  }

  /** Functions that were bound by us and have not been given back. */
  recorded(): string[] {
    return recordedAddresses(this.folder);
  }

  /**
   * Binds the function at `address` to kernel driver `driver`. Throws `NO_SUCH_FUNCTION`, `NOT_NETWORK`, `IN_USE`,
   * `NO_SUCH_DRIVER`, `NOT_BOUND`, `BAD_RECORD`; the function is as before then.
   */
  async bind(address: string, driver: string, options: BindOptions = {}): Promise<Bound> {
    const found = this.find(address);
    if (!isNetwork(found)) {
      throw refuse('NOT_NETWORK', address, 'it is no network controller', 'name one: "linecard status" lists them');
    }
    if (found.driver === driver) return { address, driver, before: driver };
    if (options.force !== true) await this.refuseUsed(found);
    this.refuseOpen(address);
    this.prepare(address, driver, options);
    const { driver: before, driverOverride, netifs } = found;
    // The first record counts: from vfio-pci to uio_pci_generic and back leads to what was before both.
    const record = readRecord(this.folder, address) ?? { address, driver: before, driverOverride, netifs };
    this.write(record);
    try {
      await this.change(address, driver, driver);
    } catch (error) {
      await this.restore(record).catch(() => {}); // the error that counts is the first
      throw error;
    }
    return { address, driver, before };
  }

  /** Gives the function back as it was. Throws `NO_SUCH_FUNCTION`, `NOT_RECORDED`, `BAD_RECORD`, `NOT_BOUND`, `INTERFACE`. */
  async unbind(address: string): Promise<Bound> {
    const before = this.find(address).driver;
    const record = readRecord(this.folder, address);
    if (record === undefined) {
      const why = 'linecard did not bind it, so it does not know what was before';
      throw refuse('NOT_RECORDED', address, why, `bind it to a driver by name: linecard bind ${address} DRIVER`);
    }
    this.refuseOpen(address);
    await this.restore(record);
    return { address, driver: record.driver, before };
  }

  /** VFIO keeps a function until its engine has let go of it; UIO does not, and two would drive it. */
  private refuseOpen(address: string): void {
    if (!this.kernel.inUse(address)) return;
    throw refuse('IN_USE', address, 'an engine has it open', 'end that, or close its port there, first');
  }

  private find(address: string): PciFunction {
    const found = this.kernel.read(address);
    if (found !== undefined) return found;
    const all = this.kernel.readAll().filter(isNetwork);
    const list =
      all.length === 0
        ? 'this machine has no network controllers on PCI'
        : `there are ${all.map((f) => f.address).join(', ')}`;
    throw refuse('NO_SUCH_FUNCTION', address, 'there is none', list);
  }

  private async refuseUsed({ address, netifs }: PciFunction): Promise<void> {
    const uses = await this.kernel.uses(netifs.map(({ name }) => name));
    for (const { name, up } of netifs) {
      const { addresses = [], defaultRoute = false } = uses.get(name) ?? {};
      const reasons = [
        ...(defaultRoute ? ['a default route leaves by it'] : []),
        ...(addresses.length > 0 ? [`it has addresses (${addresses.join(', ')})`] : []),
        ...(up ? ['it is up'] : []),
      ];
      if (reasons.length === 0) continue;
      const fix = `ip link set ${name} down, and take its addresses away; or --force`;
      throw refuse('IN_USE', address, `its interface ${name} is in use: ${reasons.join(', ')}`, fix);
    }
  }

  /** Makes the driver be there. */
  private prepare(address: string, driver: string, { noiommu = false }: BindOptions): void {
    if (!/^[\w-]+$/.test(driver))
      throw refuse('NO_SUCH_DRIVER', address, `"${driver}" is no driver's name`, 'use vfio-pci');
    const { kernel } = this;
    if (noiommu) {
      const mode = 'module/vfio/parameters/enable_unsafe_noiommu_mode';
      const said = kernel.exists('module/vfio') ? undefined : kernel.loadModule('vfio', 'enable_unsafe_noiommu_mode=1');
      if (said !== undefined || !kernel.exists(mode)) {
        const why = said ?? 'this kernel’s vfio has no mode without an IOMMU (CONFIG_VFIO_NOIOMMU)';
        throw refuse('NO_NOIOMMU', address, why, 'use uio_pci_generic, or a kernel that has it');
      }
      this.attempt(address, 'switching vfio to no-IOMMU mode', () => kernel.write(mode, '1'));
    }
    if (kernel.exists(`bus/pci/drivers/${driver}`)) return;
    const said = kernel.loadModule(driver);
    if (said === undefined && kernel.exists(`bus/pci/drivers/${driver}`)) return;
    const why = `the kernel has no PCI driver ${driver}${said === undefined ? '' : `: ${said}`}`;
    throw refuse('NO_SUCH_DRIVER', address, why, `load it (modprobe ${driver}), or use another`);
  }

  private write(record: BindRecord): void {
    this.attempt(record.address, `writing ${this.folder}`, () => writeRecord(this.folder, record));
  }

  /** Unbinds, says what alone may be bound, and has the kernel bind it. */
  private async change(address: string, driver: string, override: string): Promise<void> {
    const { kernel } = this;
    const at = `bus/pci/devices/${address}`;
    const current = this.find(address).driver;
    this.attempt(address, 'setting its driver_override', () => kernel.write(`${at}/driver_override`, `${override}\n`));
    if (current !== '' && current !== driver) {
      this.attempt(address, `unbinding it from ${current}`, () => kernel.write(`${at}/driver/unbind`, address));
    }
    if (driver === '') return;
    if (kernel.read(address)?.driver !== driver) {
      this.attempt(address, `binding it to ${driver}`, () => kernel.write('bus/pci/drivers_probe', address));
    }
    const bound = await this.until(BIND_MS, () => kernel.read(address)?.driver === driver);
    if (bound) return;
    const group = kernel.read(address)?.iommuGroup ?? -1;
    const needs =
      driver === 'vfio-pci' && group < 0
        ? 'there is no IOMMU in front of it: --noiommu-mode, or uio_pci_generic'
        : 'see dmesg';
    throw refuse('NOT_BOUND', address, `${driver} did not take it`, needs);
  }

  private async restore(record: BindRecord): Promise<void> {
    const { address, driver, driverOverride, netifs } = record;
    await this.change(address, driver, driverOverride);
    await this.restoreNetifs(address, netifs);
    removeRecord(this.folder, address);
  }

  /** An interface that had been renamed comes back under the kernel's name for it: one function, the same order. */
  private async restoreNetifs(address: string, before: readonly Netif[]): Promise<void> {
    if (before.length === 0) return;
    const here = () => this.kernel.read(address)?.netifs ?? [];
    if (!(await this.until(NETIF_MS, () => here().length >= before.length))) {
      throw refuse('NOT_BOUND', address, `its interface ${before[0]!.name} did not come back`, 'see dmesg');
    }
    for (const [i, now] of here().entries()) {
      const was = before.find(({ name }) => name === now.name) ?? before[i];
      if (was === undefined || (was.name === now.name && was.mac === now.mac && was.up === now.up)) continue;
      this.kernel.setNetif(now.name, was);
    }
  }

  private async until(ms: number, condition: () => boolean): Promise<boolean> {
    const end = performance.now() + ms;
    while (!condition()) {
      if (performance.now() > end) return false;
      await sleep(LOOK_MS);
    }
    return true;
  }

  private attempt(address: string, what: string, action: () => void): void {
    try {
      action();
    } catch (cause) {
      const { code = '', message } = cause as NodeJS.ErrnoException;
      const fix = code === 'EACCES' || code === 'EPERM' ? 'run as root' : 'see dmesg';
      throw refuse('NOT_BOUND', address, `${what} failed: ${message}`, fix, cause);
    }
  }
}
