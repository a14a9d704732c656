/** Enumerator class `pci`: network controllers on PCI, one enumerator per domain, as they come and go. */
import type { Native } from '../../native/index.ts';
import {
  type Api,
  type ClassHost,
  type DeviceFacts,
  type EnumeratorClass,
  type EnumeratorHost,
  FRAMEWORK_API,
} from '../framework/types.ts';
import { isNetwork, type PciFunction, readFunction, readFunctions } from '../pci/device.ts';
import { Uevents } from '../pci/uevents.ts';

/** Facts are `kind`, `vendor`, `device`, `subsystemVendor`, `subsystemDevice`, `class`, `kernelDriver`, `iommuGroup`, `numaNode`, `netif`. */
export const PCI_ENUMERATOR_API: Api = { name: 'pci', version: 1 };

/** How often events are looked for, in milliseconds. */
const LOOK_MS = 50;

/** Where a table's knowledge comes from. */
export interface PciSource {
  readonly native: Native;
  /** Root of sysfs; `/sys` if absent. */
  readonly sysfs?: string;
}

const INFO = { version: '1.0.0', frameworkApi: FRAMEWORK_API };

/** A function's facts: what drivers select by, and people read. */
export function factsOf(found: PciFunction): DeviceFacts {
  const { vendor, device, subsystemVendor, subsystemDevice, iommuGroup, numaNode, driver } = found;
  return {
    kind: 'pci',
    ...{ vendor, device, subsystemVendor, subsystemDevice, class: found.class },
    ...{ kernelDriver: driver, iommuGroup, numaNode },
    netif: found.netifs.map(({ name, up }) => (up ? `${name} (up)` : name)).join(', '),
  };
}

/** The functions of all domains. */
export class PciTable {
  private readonly native: Native;
  private readonly sysfs: string;
  private readonly domains = new Map<string, EnumeratorHost | undefined>();
  private readonly known = new Map<string, DeviceFacts>();
  private host: ClassHost | undefined;
  private uevents: Uevents | undefined;
  private timer: NodeJS.Timeout | undefined;
  private readonly failed: (error: Error) => void;

  /** `failed` hears it when changes cannot be followed any more. */
  constructor(source: PciSource, failed: (error: Error) => void = () => {}) {
    this.native = source.native;
    this.sysfs = source.sysfs ?? '/sys';
    this.failed = failed;
  }

  start(host: ClassHost): void {
    this.host = host;
    // Subscribed before it reads: what changes meanwhile is told as well.
    this.uevents = new Uevents(this.native);
    this.readAll();
    this.timer = setInterval(() => this.look(), LOOK_MS);
    this.timer.unref();
  }

  stop(): void {
    clearInterval(this.timer);
    this.uevents?.close();
    this.uevents = undefined;
    this.host = undefined;
    this.domains.clear();
    this.known.clear();
  }

  /** Takes note of all changes up to now. */
  look(): void {
    try {
      const { events, lost } = this.uevents?.receive() ?? { events: [], lost: false };
      const about = new Set(events.filter(({ address }) => address !== '').map(({ address }) => address));
      for (const address of about) this.update(address, readFunction(this.sysfs, address));
      if (lost) this.readAll();
    } catch (error) {
      clearInterval(this.timer);
      this.failed(error as Error);
    }
  }

  private readAll(): void {
    const found = new Map(readFunctions(this.sysfs).map((one) => [one.address, one]));
    for (const address of [...this.known.keys()]) if (!found.has(address)) this.update(address, undefined);
    for (const [address, one] of found) this.update(address, one);
  }

  private update(address: string, found: PciFunction | undefined): void {
    const before = this.known.get(address);
    const now = found !== undefined && isNetwork(found) ? factsOf(found) : undefined;
    if (now !== undefined && before !== undefined && sameFacts(now, before)) return;
    if (before !== undefined) {
      this.known.delete(address);
      // What goes wrong with the removal, the framework reports as an event.
      this.domains
        .get(domainOf(address))
        ?.removeDevice(address, { deadlineMs: 1000 })
        .catch(() => {});
    }
    if (now === undefined) return;
    this.known.set(address, now);
    const domain = domainOf(address);
    if (this.domains.has(domain)) this.domains.get(domain)?.addDevice({ address, facts: now });
    else this.addDomain(domain);
  }

  private addDomain(domain: string): void {
    this.domains.set(domain, undefined);
    this.host?.addEnumerator({
      ...INFO,
      name: domain,
      api: PCI_ENUMERATOR_API,
      start: (devices) => {
        this.domains.set(domain, devices);
        for (const [address, facts] of this.known) {
          if (domainOf(address) === domain) devices.addDevice({ address, facts });
        }
      },
      stop: () => {
        this.domains.set(domain, undefined);
      },
    });
  }
}

const domainOf = (address: string): string => address.slice(0, address.indexOf(':'));

const sameFacts = (a: DeviceFacts, b: DeviceFacts): boolean => Object.keys(a).every((key) => a[key] === b[key]);

/** Makes the class over `table`. */
export function pciClass(table: PciTable): EnumeratorClass {
  return { ...INFO, name: 'pci', start: (host) => table.start(host), stop: () => table.stop() };
}
