/** What is registered in one framework: a table per kind. Duplicates are refused; nothing is called. */
import { type ErrorDetail, RegistryError } from '../errors.ts';
import { DeviceRecord } from './device.ts';
import type { ClassRecord, ClassRun, DevioRecord, DriverRecord, EnumeratorRecord } from './records.ts';
import { classRecord, devioKey, devioRecord, driverRecord, enumeratorRecord } from './records.ts';
import type { Device, DevioProvider, Driver, Enumerator, EnumeratorClass } from './types.ts';
import { checkClass, checkDevice, checkDevio, checkDriver, checkEnumerator } from './validate.ts';

interface Leaving {
  readonly leaving: Promise<void> | undefined;
}

/** The tables. Order of insertion is order of registration. */
export class Registry {
  readonly classes = new Map<string, ClassRecord>();
  readonly drivers = new Map<string, DriverRecord>();
  readonly devios = new Map<string, DevioRecord>();
  /** All devices, those too that are being removed. */
  readonly devices = new Set<DeviceRecord>();
  readonly #records = new WeakMap<Device, DeviceRecord>();

  addClass(object: EnumeratorClass): ClassRecord {
    checkClass(object);
    refuseDuplicate('DUPLICATE_CLASS', `class ${object.name}`, this.classes.get(object.name));
    return insert(this.classes, object.name, classRecord(object));
  }

  addEnumerator(object: Enumerator, owner: ClassRecord, run: ClassRun): EnumeratorRecord {
    checkEnumerator(object);
    const what = `enumerator ${owner.name}/${object.name}`;
    refuseDuplicate('DUPLICATE_ENUMERATOR', what, run.enumerators.get(object.name));
    return insert(run.enumerators, object.name, enumeratorRecord(object, owner, run));
  }

  addDevio(object: DevioProvider): DevioRecord {
    checkDevio(object);
    const key = devioKey(object);
    refuseDuplicate('DUPLICATE_DEVIO', `devio ${key}`, this.devios.get(key));
    return insert(this.devios, key, devioRecord(object));
  }

  addDriver(object: Driver): DriverRecord {
    checkDriver(object);
    refuseDuplicate('DUPLICATE_DRIVER', `driver ${object.name}`, this.drivers.get(object.name));
    return insert(this.drivers, object.name, driverRecord(object));
  }

  /**
   * Puts `object` in the place of the driver of its name; returns both. Throws `NO_SUCH_DRIVER`, `SAME_VERSION`,
   * `OTHER_CLASS`, and what `addDriver` does.
   */
  replaceDriver(object: Driver): { readonly before: DriverRecord; readonly after: DriverRecord } {
    checkDriver(object);
    const { name, version } = object;
    const before = this.drivers.get(name);
    const refuse = (code: string, why: string, fix: string) =>
      new RegistryError(code, { what: `driver ${name} ${version}`, why, fix }, { detail: { driver: name, version } });
    const known = [...this.drivers.keys()].join(', ') || 'none';
    if (before === undefined)
      throw refuse('NO_SUCH_DRIVER', 'none of that name is registered', `registered are: ${known}`);
    if (before.leaving !== undefined) refuseDuplicate('DUPLICATE_DRIVER', `driver ${name}`, before);
    if (before.version === version)
      throw refuse('SAME_VERSION', 'that very version is registered', 'give the release its own version');
    const after = driverRecord(object);
    const classesOf = ({ enumeratorClasses }: DriverRecord) => [...enumeratorClasses].sort().join(' and ');
    if (classesOf(before) !== classesOf(after)) {
      const why = `it is for devices of class ${classesOf(after)}, and ${before.version} for ${classesOf(before)}`;
      throw refuse('OTHER_CLASS', why, 'register it under a name of its own');
    }
    return { before, after: insert(this.drivers, name, after) };
  }

  addDevice(enumerator: EnumeratorRecord, device: Pick<Device, 'address' | 'facts'>): DeviceRecord {
    checkDevice(enumerator.id, device);
    const detail = { enumerator: enumerator.id, address: device.address };
    const what = `device ${enumerator.id}/${device.address}`;
    refuseDuplicate('DUPLICATE_DEVICE', what, enumerator.devices.get(device.address), detail);
    const record = insert(enumerator.devices, device.address, new DeviceRecord(enumerator, device));
    this.devices.add(record);
    this.#records.set(record.view, record);
    return record;
  }

  /** Enumerators of the classes that run, in the order in which they were added. */
  enumerators(): EnumeratorRecord[] {
    return [...this.classes.values()].flatMap((record) => [...(record.run?.enumerators.values() ?? [])]);
  }

  /** The drivers and devios that matching may use: not those that are leaving. */
  usable(): { readonly drivers: DriverRecord[]; readonly devios: DevioRecord[] } {
    const stays = (record: Leaving) => record.leaving === undefined;
    return { drivers: [...this.drivers.values()].filter(stays), devios: [...this.devios.values()].filter(stays) };
  }

  /** The device with this id; of two, the one that is not on its way out. */
  device(id: string): DeviceRecord | undefined {
    const found = [...this.devices].filter((device) => device.id === id);
    return found.find((device) => device.leaving === undefined) ?? found[0];
  }

  /** The framework's side of a device. Throws `UNKNOWN_DEVICE`. */
  recordOf(device: Device): DeviceRecord {
    const record = this.#records.get(device);
    if (record !== undefined) return record;
    const why = 'it is not a device of this framework';
    throw new RegistryError('UNKNOWN_DEVICE', {
      what: `device ${device.id}`,
      why,
      fix: 'use one that devices() lists',
    });
  }
}

function insert<T>(table: Map<string, T>, key: string, record: T): T {
  table.set(key, record);
  return record;
}

function refuseDuplicate(code: string, what: string, known: Leaving | undefined, detail: ErrorDetail = {}): void {
  if (known === undefined) return;
  const going = known.leaving !== undefined;
  const why = going ? 'the one before it is still being unregistered' : 'there is one already';
  const fix = going ? 'await its unregistration first' : 'remove that one first, or give this one another name';
  throw new RegistryError(code, { what, why, fix }, { detail });
}
