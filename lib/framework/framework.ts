/** The driver framework: finds devices, binds drivers to them, and lets them go again. One object per engine. */
import { DeviceError } from '../errors.ts';
import { bindAll } from './bind.ts';
import { startClass } from './classes.ts';
import { Core, type FrameworkOptions } from './core.ts';
import { notBound, retry, unbindDeadline } from './devices.ts';
import type { FrameworkListener } from './events.ts';
import { explain } from './explain.ts';
import type { ClassListing, DevioListing, DriverListing, EnumeratorListing } from './listing.ts';
import { listClasses, listDevices, listDevios, listDrivers, listEnumerators } from './listing.ts';
import { sourceOf } from './records.ts';
import { unbindDevice } from './release.ts';
import { replaceDriver } from './replace.ts';
import { release, request } from './request.ts';
import { startAll, stopAll } from './run.ts';
import type {
  Device,
  DeviceDetails,
  DevioProvider,
  Driver,
  EnumeratorClass,
  Explanation,
  UnbindOptions,
} from './types.ts';
import { unregisterClass, unregisterDevio, unregisterDriver, unregisterEnumerator } from './unregister.ts';

export type { FrameworkOptions } from './core.ts';
export type { FrameworkListener } from './events.ts';
export type { ClassListing, DevioListing, DriverListing, EnumeratorListing } from './listing.ts';

/**
 * Everything it does, it does from one queue, one thing after the other: what a callback registers, adds or removes
 * is done after the callback. So a callback must not await it: it would wait for itself, and fails at its deadline with
 * `WAITS_FOR_ITSELF`. Registrations are refused by throwing `RegistryError`; what goes wrong later is an `error` event.
 */
export class Framework {
  readonly #core: Core;

  /** Throws `BAD_DEADLINE`. */
  constructor(options: FrameworkOptions = {}) {
    this.#core = new Core(options);
  }

  /** Registers a class; it is started with the framework, or soon if that runs. Throws `RegistryError`. */
  registerClass(object: EnumeratorClass): void {
    const record = this.#core.registry.addClass(object);
    this.#core.later(`class ${record.name}`, () => startClass(this.#core, record));
  }

  /** Registers a devio, and matches the devices that are free. Throws `RegistryError`. */
  registerDevio(object: DevioProvider): void {
    this.#core.registry.addDevio(object);
    this.#core.rematch(() => bindAll(this.#core));
  }

  /**
   * Registers a driver, and matches the devices that are free. Bound ones stay bound, whatever its priority. Throws
   * `RegistryError`.
   */
  registerDriver(object: Driver): void {
    this.#core.registry.addDriver(object);
    this.#core.rematch(() => bindAll(this.#core));
  }

  /**
   * Exchanges a driver for another release of it, while its devices run. Releases that state the same `handover` go on with
   * the rings as they are; otherwise each device is reset and set up anew, as the same port with the same settings; one that
   * cannot be is unbound, which is an `error` event, and matched afresh. Throws `NO_SUCH_DRIVER`, `SAME_VERSION`,
   * `OTHER_CLASS`, and as `registerDriver`.
   */
  replaceDriver(object: Driver): Promise<void> {
    return replaceDriver(this.#core, object);
  }

  /** Removes the class's enumerators and their devices, then stops it. Rejects with `NO_SUCH_CLASS`. */
  unregisterClass(name: string): Promise<void> {
    return unregisterClass(this.#core, name);
  }

  /**
   * Removes the enumerator's devices, then stops it. It comes back when its class adds it again. Rejects with
   * `NO_SUCH_ENUMERATOR`.
   */
  unregisterEnumerator(className: string, name: string): Promise<void> {
    return unregisterEnumerator(this.#core, className, name);
  }

  /** Unbinds the devices that are reached through it, stops it, and matches them again. Rejects with `NO_SUCH_DEVIO`. */
  unregisterDevio(devio: Pick<DevioProvider, 'api' | 'backend' | 'enumeratorApi'>): Promise<void> {
    return unregisterDevio(this.#core, devio);
  }

  /** Unbinds its devices, stops it, and matches them again. Rejects with `NO_SUCH_DRIVER`. */
  unregisterDriver(name: string): Promise<void> {
    return unregisterDriver(this.#core, name);
  }

  /**
   * Starts the classes. Resolves when their devices have been matched. A class that fails is an `error` event.
   * Idempotent.
   */
  async start(): Promise<void> {
    this.#core.stopping = false;
    await this.#core.ask('the start of the framework', () => startAll(this.#core));
    await this.settled();
  }

  /**
   * Unbinds and removes all devices and stops everything. What fails is an `error` event and holds up nothing.
   * Idempotent.
   */
  stop(): Promise<void> {
    this.#core.stopping = true;
    return this.#core.ask('the stop of the framework', () => stopAll(this.#core));
  }

  /** Resolves when there is nothing left to do. */
  settled(): Promise<void> {
    this.#core.callbacks.asks('the end of all work');
    return this.#core.queue.idle();
  }

  /**
   * Returns the bound device of a port name: the enumerators are asked in order whose name it is. It is the caller's
   * until `release`, or until it is unbound for another reason. Rejects with `NO_SUCH_PORT`, `BAD_PORT_NAME` or whatever
   * the enumerator says of the name, `NOT_BOUND`, `PORT_TAKEN`, `NOT_STARTED`. After a rejection a device that was made
   * for the name is gone.
   */
  request(portName: string): Promise<Device> {
    return this.#core.ask(`port ${portName}`, () => request(this.#core, portName));
  }

  /** Gives back what `request` gave: a device made for it is removed, any other unbound and matched afresh. Idempotent. */
  release(device: Device): Promise<void> {
    const record = this.#core.registry.recordOf(device);
    return this.#core.order(`the release of device ${record.id}`, () => release(this.#core, record));
  }

  /**
   * Matches a device afresh, also one that was unbound by request or has failed. Rejects with `NOT_BOUND`,
   * `DEVICE_REMOVED`.
   */
  bind(device: Device): Promise<void> {
    const record = this.#core.registry.recordOf(device);
    return this.#core.ask(`the binding of device ${record.id}`, async () => {
      if (record.leaving !== undefined || record.state === 'removed') throw removed(device);
      await retry(this.#core, record);
      if (record.binding === undefined) throw notBound(this.#core, record);
    });
  }

  /**
   * Unbinds a device, by force after the deadline. It stays unbound until `bind` or `request`. One that is not bound
   * only stays so. Rejects with `UNBIND_FAILED` when something was not released: then the device is `failed`.
   */
  unbind(device: Device, options?: UnbindOptions): Promise<void> {
    const record = this.#core.registry.recordOf(device);
    const deadlineMs = unbindDeadline(this.#core, options);
    return this.#core.order(`the unbinding of device ${record.id}`, async () => {
      record.held = true;
      const failure = await unbindDevice(this.#core, record, deadlineMs);
      if (failure !== undefined) throw failure;
    });
  }

  /** Says why a device is bound the way it is, or not at all. */
  explain(device: Device): Explanation {
    const { drivers, devios } = this.#core.registry.usable();
    return explain(this.#core.registry.recordOf(device), drivers, devios);
  }

  /** Calls `listener` with every event from now on. The returned function ends that. */
  on(listener: FrameworkListener): () => void {
    return this.#core.events.on(listener);
  }

  /**
   * Asks a device's enumerator what is known of it now; nothing, when that does not say, or the device has gone. Rejects as
   * the enumerator does.
   */
  async details(device: Device): Promise<DeviceDetails> {
    const { enumerator, state } = this.#core.registry.recordOf(device);
    const { object } = enumerator;
    if (state === 'removed' || enumerator.state !== 'running' || object.describe === undefined) return {};
    return this.#core.call(sourceOf.enumerator(enumerator), 'describe', () => object.describe?.(device.address) ?? {});
  }

  /** Returns the device with that id (`class/enumerator/address`), if there is one. */
  device(id: string): Device | undefined {
    return this.#core.registry.device(id)?.view;
  }

  /** Lists the devices, also those that are being removed. */
  devices(): readonly Device[] {
    return listDevices(this.#core);
  }

  /** Lists the registered classes. */
  classes(): readonly ClassListing[] {
    return listClasses(this.#core);
  }

  /** Lists the enumerators of the classes that run, in the order in which they are asked for port names. */
  enumerators(): readonly EnumeratorListing[] {
    return listEnumerators(this.#core);
  }

  /** Lists the registered devios. */
  devios(): readonly DevioListing[] {
    return listDevios(this.#core);
  }

  /** Lists the registered drivers. */
  drivers(): readonly DriverListing[] {
    return listDrivers(this.#core);
  }
}

function removed(device: Device): DeviceError {
  const text = { what: `device ${device.id}`, why: 'it has been removed', fix: 'use one that devices() lists' };
  return new DeviceError('DEVICE_REMOVED', text, { detail: { device: device.id } });
}
