/** What is registered, as plain data: for listings, `status` and management. */
import type { Core } from './core.ts';
import type { Api, Device, DeviceId } from './types.ts';

/** A registered class. */
export interface ClassListing {
  readonly name: string;
  readonly version: string;
  /** False before start, after stop, and when its start has failed. */
  readonly running: boolean;
  /** Names of its enumerators. */
  readonly enumerators: readonly string[];
}

/** An enumerator that a class has added. */
export interface EnumeratorListing {
  readonly name: string;
  readonly version: string;
  readonly class: string;
  readonly api: Api;
  /** What its port names look like; undefined when it takes none or does not say. */
  readonly portNames: string | undefined;
  /** Ids of its devices. */
  readonly devices: readonly string[];
}

/** A registered devio. */
export interface DevioListing {
  readonly name: string;
  readonly version: string;
  readonly api: Api;
  readonly backend: string;
  readonly enumeratorApi: Api;
  /** Ids of the devices that are reached through it. */
  readonly devices: readonly string[];
}

/** A registered driver. */
export interface DriverListing {
  readonly name: string;
  readonly version: string;
  readonly enumeratorClasses: readonly string[];
  readonly ids: readonly DeviceId[];
  readonly devios: readonly Api[];
  readonly priority: number;
  /** Ids of the devices that are bound to it. */
  readonly devices: readonly string[];
}

/** Lists devices in the order in which they were added. */
export const listDevices = (core: Core): readonly Device[] => [...core.registry.devices].map((device) => device.view);

/** Lists classes in the order in which they were registered. */
export function listClasses(core: Core): readonly ClassListing[] {
  return [...core.registry.classes.values()].map(({ name, version, run }) => {
    return { name, version, running: run?.state === 'running', enumerators: [...(run?.enumerators.keys() ?? [])] };
  });
}

/** Lists enumerators in the order in which port names are offered to them. */
export function listEnumerators(core: Core): readonly EnumeratorListing[] {
  return core.registry.enumerators().map((record) => {
    const { name, version, api, owner, object } = record;
    const devices = [...core.registry.devices].filter((d) => d.enumerator === record).map((d) => d.id);
    return { name, version, class: owner.name, api, portNames: object.portNames, devices };
  });
}

/** Lists devios in the order in which they were registered. */
export function listDevios(core: Core): readonly DevioListing[] {
  return [...core.registry.devios.values()].map((record) => {
    const { name, version, api, backend, enumeratorApi } = record;
    const devices = [...core.registry.devices].filter((d) => d.binding?.provider === record).map((d) => d.id);
    return { name, version, api, backend, enumeratorApi, devices };
  });
}

/** Lists drivers in the order in which they were registered. */
export function listDrivers(core: Core): readonly DriverListing[] {
  return [...core.registry.drivers.values()].map((record) => {
    const { name, version, enumeratorClasses, ids, devios, priority } = record;
    const devices = [...core.registry.devices].filter((d) => d.binding?.driver === record).map((d) => d.id);
    return { name, version, enumeratorClasses, ids, devios, priority, devices };
  });
}
