/**
 * Enumerator class `pci`: network controllers on PCI, one enumerator per domain, as they come and go. `pci:ADDRESS` asks for
 * one.
 */

import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Native } from '../../native/index.ts';
import { PortError, RegistryError } from '../errors.ts';
import {
  type Api,
  type ClassHost,
  type DeviceDetails,
  type DeviceFacts,
  type EnumeratorClass,
  type EnumeratorHost,
  FRAMEWORK_API,
} from '../framework/types.ts';
import { fullAddress, isNetwork, type PciFunction, readFunction, readFunctions } from '../pci/device.ts';
import type { PciView, PciWishes } from '../pci/devio.ts';
import { Uevents } from '../pci/uevents.ts';
import { everyMs, type Pulse } from '../pulse.ts';
import { badName, type Options, optionValues, parsePortName } from './options.ts';

/** Facts are `kind`, `vendor`, `device`, `subsystemVendor`, `subsystemDevice`, `class`, `kernelDriver`, `iommuGroup`, `numaNode`, `netif`. */
export const PCI_ENUMERATOR_API: Api = { name: 'pci', version: 1 };

/** What the accepted names look like. */
export const PCI_PORT_NAMES = 'pci:[DDDD:]BB:DD.F[,queues=N][,unsafe-dma=1][,packed=1][,mergeable=0]…';

const OPTIONS: Options = {
  queues: { is: 'number', min: 1, max: 128 },
  // Without an IOMMU: the device may then write to all of the machine's memory.
  'unsafe-dma': { is: 'flag' },
  // Of virtio devices: features that are used when the device has them, unless one is told not to.
  packed: { is: 'flag' },
  mergeable: { is: 'flag' },
  'in-order': { is: 'flag' },
  'event-idx': { is: 'flag' },
  indirect: { is: 'flag' },
  // Of gigabit controllers: group addresses that are let through (all, none, or a list with + between), older descriptors.
  multicast: { is: 'text' },
  legacy: { is: 'flag' },
};

/** How often events are looked for, in milliseconds. */
const LOOK_MS = 100;
/** Without events everything is read afresh now and then: each so many looks. */
const LOOKS_UNTOLD = 10;
/** How long a function that is going may take to be let go, in milliseconds. */
const RECALL_MS = 1000;
/** The domain of machines that have one. */
const FIRST_DOMAIN = '0000';

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

/** The functions of all domains, and who asked for which. */
export class PciTable implements PciView {
  private readonly native: Native;
  private readonly sysfs: string;
  private readonly domains = new Map<string, EnumeratorHost | undefined>();
  private readonly known = new Map<string, DeviceFacts>();
  private readonly wishes = new Map<string, PciWishes>();
  private readonly taken = new Set<string>();
  /** Functions whose devices may have gone, although they themselves are there. */
  private readonly doubtful = new Set<string>();
  private host: ClassHost | undefined;
  private uevents: Uevents | undefined;
  private pulse: Pulse | undefined;
  private looks = 0;
  private readonly failed: (error: Error) => void;

  /** `failed` hears it when changes cannot be followed as they happen, but only by reading sysfs now and then. */
  constructor(source: PciSource, failed: (error: Error) => void = () => {}) {
    this.native = source.native;
    this.sysfs = source.sysfs ?? '/sys';
    this.failed = failed;
  }

  start(host: ClassHost): void {
    this.host = host;
    // It is there even when nothing else is: somebody has to say so to whoever asks for a function.
    this.addDomain(FIRST_DOMAIN);
    if (!existsSync(join(this.sysfs, 'bus/pci'))) return;
    // Subscribed before it reads: what changes meanwhile is told as well.
    this.subscribe();
    this.readAll();
    this.pulse = everyMs(LOOK_MS, () => this.look());
  }

  stop(): void {
    this.pulse?.stop();
    this.uevents?.close();
    this.uevents = undefined;
    this.host = undefined;
    for (const collection of [this.domains, this.known, this.wishes, this.taken, this.doubtful]) collection.clear();
  }

  private subscribe(): void {
    try {
      this.uevents = new Uevents(this.native);
    } catch (error) {
      this.failed(error as Error);
    }
  }

  /** Takes note of all changes up to now. */
  look(): void {
    this.looks++;
    try {
      const { events, lost } = this.uevents?.receive() ?? { events: [], lost: this.looks % LOOKS_UNTOLD === 0 };
      const about = new Set(events.filter(({ address }) => address !== '').map(({ address }) => address));
      for (const address of about) this.update(address, readFunction(this.sysfs, address));
      if (lost) this.readAll();
    } catch (error) {
      this.uevents?.close();
      this.uevents = undefined;
      this.failed(error as Error);
    }
    this.settle();
  }

  /** A device that was made in answer to a name the framework removes with it; the function is there, so it comes again. */
  private settle(): void {
    for (const address of this.doubtful) {
      if (this.taken.has(address)) continue;
      this.doubtful.delete(address);
      const facts = this.known.get(address);
      if (facts === undefined) this.update(address, readFunction(this.sysfs, address));
      else this.announce(address, facts);
    }
  }

  private announce(address: string, facts: DeviceFacts): void {
    try {
      this.domains.get(domainOf(address))?.addDevice({ address, facts });
    } catch (error) {
      if (!(error instanceof RegistryError) || error.code !== 'DUPLICATE_DEVICE') throw error;
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
    this.recall(address);
    if (now === undefined) return;
    this.known.set(address, now);
    const domain = domainOf(address);
    if (this.domains.has(domain)) this.domains.get(domain)?.addDevice({ address, facts: now });
    else this.addDomain(domain);
  }

  recall(address: string): void {
    this.wishes.delete(address);
    if (!this.known.delete(address)) return;
    // What goes wrong with the removal, the framework reports as an event.
    this.domains
      .get(domainOf(address))
      ?.removeDevice(address, { deadlineMs: RECALL_MS })
      .catch(() => {});
  }

  private addDomain(domain: string): void {
    this.domains.set(domain, undefined);
    this.host?.addEnumerator({
      ...INFO,
      name: domain,
      api: PCI_ENUMERATOR_API,
      ...(domain === FIRST_DOMAIN ? { portNames: PCI_PORT_NAMES } : {}),
      start: (devices) => {
        this.domains.set(domain, devices);
        for (const [address, facts] of this.known) {
          if (domainOf(address) === domain) devices.addDevice({ address, facts });
        }
      },
      stop: () => {
        this.domains.set(domain, undefined);
      },
      request: (text) => (text.startsWith('pci:') ? this.request(domain, text) : undefined),
      describe: (address) => this.describe(address),
    });
  }

  /** The address that `text` names, noted as wanted; undefined when it is another domain's. Throws `BAD_PORT_NAME`, `NO_SUCH_FUNCTION`. */
  private request(domain: string, text: string): string | undefined {
    const parsed = parsePortName(text, Object.keys(OPTIONS));
    const wishes = optionValues(text, parsed, OPTIONS);
    const address = fullAddress(parsed.name);
    if (address === undefined) throw badName(text, 'it has no PCI address', `write ${PCI_PORT_NAMES}`);
    if (domainOf(address) !== domain && this.domains.has(domainOf(address))) return undefined;
    const found = readFunction(this.sysfs, address);
    if (found === undefined || !isNetwork(found)) throw this.noSuch(text, address, found !== undefined);
    if (!this.taken.has(address)) {
      // What was bound a moment ago may not have been told yet.
      this.update(address, found);
      this.doubtful.add(address);
      this.wishes.set(address, wishes);
    }
    return address;
  }

  private noSuch(text: string, address: string, isThere: boolean): PortError {
    const list = [...this.known.keys()].join(', ');
    return new PortError('NO_SUCH_FUNCTION', {
      what: `port ${text}`,
      why: isThere ? `${address} is no network controller` : `there is no PCI function at ${address}`,
      fix: list === '' ? 'this machine has no network controllers on PCI' : `there are ${list}`,
    });
  }

  wanted(address: string): PciWishes | undefined {
    return this.wishes.get(address);
  }

  take(address: string): PciWishes | undefined {
    this.taken.add(address);
    return this.wishes.get(address);
  }

  unwant(address: string): void {
    this.wishes.delete(address);
    if (this.taken.delete(address) && this.host !== undefined) this.doubtful.add(address);
  }

  /** What is known of a function now: `kernelDriver`, its `interfaces` with state, and memory `bars` with their sizes. */
  private describe(address: string): DeviceDetails {
    const found = readFunction(this.sysfs, address);
    if (found === undefined) return {};
    return {
      kernelDriver: found.driver,
      interfaces: found.netifs.map(({ name, mac, up }) => `${name} ${mac} ${up ? 'up' : 'down'}`),
      bars: found.bars.map(({ number, bytes, kind }) => `${number}: ${bytes} bytes of ${kind}`),
    };
  }
}

const domainOf = (address: string): string => address.slice(0, address.indexOf(':'));

const sameFacts = (a: DeviceFacts, b: DeviceFacts): boolean => Object.keys(a).every((key) => a[key] === b[key]);

/** Makes the class over `table`. */
export function pciClass(table: PciTable): EnumeratorClass {
  return { ...INFO, name: 'pci', start: (host) => table.start(host), stop: () => table.stop() };
}
