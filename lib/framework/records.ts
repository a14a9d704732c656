/** What the framework keeps about each registered object: a copy of its data, and where it stands. */
import type { DeviceRecord } from './device.ts';
import type { Api, DevioProvider, Driver, Enumerator, EnumeratorClass } from './types.ts';

/** From a class's start to its stop. A new one per start, so that a host of an earlier start cannot reach this one. */
export interface ClassRun {
  readonly enumerators: Map<string, EnumeratorRecord>;
  state: 'starting' | 'running' | 'stopping' | 'stopped';
}

/** A registered enumerator class. */
export interface ClassRecord {
  readonly object: EnumeratorClass;
  readonly name: string;
  readonly version: string;
  run: ClassRun | undefined;
  /** Set while it is being unregistered, which this promise ends. */
  leaving: Promise<void> | undefined;
}

/** An enumerator that a class has added. */
export interface EnumeratorRecord {
  readonly object: Enumerator;
  readonly owner: ClassRecord;
  readonly run: ClassRun;
  readonly name: string;
  readonly version: string;
  readonly api: Api;
  /** `class/name`. */
  readonly id: string;
  /** Its devices, without those that are being removed: their addresses are free again. */
  readonly devices: Map<string, DeviceRecord>;
  state: 'added' | 'starting' | 'running' | 'stopping' | 'stopped';
  leaving: Promise<void> | undefined;
}

/** What matching looks at in a devio. */
export type DevioFacts = Pick<DevioProvider, 'name' | 'version' | 'api' | 'backend' | 'enumeratorApi'>;

/** What matching looks at in a driver. */
export type DriverFacts = Pick<Driver, 'name' | 'version' | 'ids' | 'devios'> & {
  readonly enumeratorClasses: readonly string[];
  readonly priority: number;
};

interface Stoppable {
  /** Its `stop` was called, and nothing has used it since. */
  stopped: boolean;
  leaving: Promise<void> | undefined;
}

/** A registered devio. */
export interface DevioRecord extends DevioFacts, Stoppable {
  readonly object: DevioProvider;
}

/** A registered driver. */
export interface DriverRecord extends DriverFacts, Stoppable {
  readonly object: Driver;
}

/** How messages write an api. */
export const apiText = (api: Api): string => `${api.name} v${api.version}`;

/** Matching's one rule about apis: equal in both, no compatibility games. */
export const sameApi = (a: Api, b: Api): boolean => a.name === b.name && a.version === b.version;

/** Two devios are the same when a driver could not tell which one it wants. */
export function devioKey(devio: Pick<DevioProvider, 'api' | 'backend' | 'enumeratorApi'>): string {
  return `${apiText(devio.api)} (${devio.backend}) for ${apiText(devio.enumeratorApi)}`;
}

/** The `source` of error events. */
export const sourceOf = {
  class: (record: ClassRecord): string => `class ${record.name}`,
  enumerator: (record: EnumeratorRecord): string => `enumerator ${record.id}`,
  devio: (record: DevioFacts): string => `devio ${apiText(record.api)} (${record.backend})`,
  driver: (record: DriverFacts): string => `driver ${record.name}`,
} as const;

const copyApi = (api: Api): Api => Object.freeze({ name: api.name, version: api.version });

/** Copies what matching needs: an object that changes after registration changes nothing. */
export function classRecord(object: EnumeratorClass): ClassRecord {
  return { object, name: object.name, version: object.version, run: undefined, leaving: undefined };
}

export function enumeratorRecord(object: Enumerator, owner: ClassRecord, run: ClassRun): EnumeratorRecord {
  const { name, version } = object;
  const id = `${owner.name}/${name}`;
  const api = copyApi(object.api);
  return { object, owner, run, name, version, api, id, devices: new Map(), state: 'added', leaving: undefined };
}

export function devioRecord(object: DevioProvider): DevioRecord {
  const { name, version, backend } = object;
  const apis = { api: copyApi(object.api), enumeratorApi: copyApi(object.enumeratorApi) };
  return { object, name, version, backend, ...apis, stopped: false, leaving: undefined };
}

export function driverRecord(object: Driver): DriverRecord {
  const { name, version, priority = 0 } = object;
  const enumeratorClasses = Object.freeze([object.enumeratorClass].flat());
  const ids = Object.freeze(object.ids.map((id) => Object.freeze({ ...id })));
  const devios = Object.freeze(object.devios.map(copyApi));
  return { object, name, version, enumeratorClasses, ids, devios, priority, stopped: false, leaving: undefined };
}
