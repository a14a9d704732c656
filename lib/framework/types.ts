/**
 * The objects of the driver framework and what they say to each other.
 * Words and roles are OpenDataPlane's (driver framework, 2017): enumerator class → enumerator → device; devio; driver.
 */
import type { Pktio } from '../pktio/types.ts';

/** The version of this file's interfaces. An object written for another one is refused at registration. */
export const FRAMEWORK_API = 1;

/** A named interface. Two of them match when name and version are equal, and not otherwise. */
export interface Api {
  readonly name: string;
  readonly version: number;
}

/** What every registered object states about itself. */
export interface ObjectInfo {
  readonly name: string;
  /** Release of this very object: shown everywhere, never matched. */
  readonly version: string;
  /** The `FRAMEWORK_API` that it was written for. */
  readonly frameworkApi: number;
}

/** Facts about a device that drivers select by, and that people read. Set by the enumerator. */
export type DeviceFacts = Readonly<Record<string, string | number | boolean>>;

/** What is known of a device at some moment, for people and programs; nothing is matched by it. */
export type DeviceDetails = Readonly<Record<string, string | number | boolean | readonly string[]>>;

/** Where devices come from, by kind: `pci`, `netdev`, `memory`, `file`. Starts enumerators. */
export interface EnumeratorClass extends ObjectInfo {
  /** Called once per framework start: adds this class's enumerators through `host`. May fail: then they are withdrawn. */
  start(host: ClassHost): void | Promise<void>;
  /** Called when the class is unregistered or the framework stops, after its enumerators have gone. */
  stop?(): void | Promise<void>;
}

/** What a class may do to the framework. */
export interface ClassHost {
  /** Adds one of this class's; it is started after the callback that adds it. Throws `RegistryError`. */
  addEnumerator(enumerator: Enumerator): void;
  /**
   * Removes its devices, then stops it. A callback must not await it: see `EnumeratorHost.removeDevice`. Rejects with
   * `NO_SUCH_ENUMERATOR`.
   */
  removeEnumerator(name: string): Promise<void>;
}

/** One source of devices: a PCI domain, a network namespace, a family of port names. */
export interface Enumerator extends ObjectInfo {
  /** What its devices' `facts` mean and what can be done to them: devios ask for it by name and version. */
  readonly api: Api;
  /** Adds the devices that are there; may add and remove devices later too, at any time until `stop`. */
  start(host: EnumeratorHost): void | Promise<void>;
  /** Takes back whatever the enumerator subscribed to. Its devices are removed by the framework, before this. */
  stop?(): void | Promise<void>;
  /** What its port names look like, for people: `pair:NAME/END[,size=N]`. Shown when a port name is nobody's. */
  readonly portNames?: string;
  /**
   * Makes the device that a port name asks for, when the name is this enumerator's (`pair:link/0,size=128` is the
   * memory enumerator's). Returns its address, or undefined when the name is another's. Throws when the name is its
   * own but wrong. May be asked again for a device that is still there: then it returns the address, nothing more.
   */
  request?(portName: string): string | undefined;
  /** What is known now of the device at `address` beyond its facts: state, addresses, who uses it. */
  describe?(address: string): DeviceDetails | Promise<DeviceDetails>;
}

/** What an enumerator may do to the framework. */
export interface EnumeratorHost {
  /**
   * Adds a device. Throws `DUPLICATE_DEVICE` when this enumerator has one at that address, `BAD_ADDRESS` and `BAD_FACTS`.
   * It is announced and matched after the callback that adds it. Ignored while the enumerator is being stopped.
   */
  addDevice(device: { readonly address: string; readonly facts: DeviceFacts }): void;
  /**
   * Removes a device: it is unbound first. Resolves when it has gone. Unknown address: resolves at once. The address can
   * be used again at once. Rejects with `UNBIND_FAILED` when the device has gone but something of it was not released.
   * A callback must not await it: the removal happens after the callback, which then fails with `WAITS_FOR_ITSELF`.
   */
  removeDevice(address: string, options?: UnbindOptions): Promise<void>;
}

/** States of a device. */
export type DeviceState = 'unbound' | 'probing' | 'bound' | 'unbinding' | 'failed' | 'removed';

/** A device, as everyone but the framework sees it. */
export interface Device {
  readonly address: string;
  /** `class/enumerator/address`: unique in a framework. */
  readonly id: string;
  readonly enumerator: { readonly name: string; readonly class: string; readonly api: Api };
  readonly facts: DeviceFacts;
  readonly state: DeviceState;
  /** Set while bound. */
  readonly driver: string | undefined;
  readonly devio: { readonly api: Api; readonly backend: string } | undefined;
  readonly pktio: Pktio | undefined;
}

/** An open way to a device. What else it can do is said by the interface that its api names. */
export interface Devio {
  readonly api: Api;
  readonly backend: string;
  /** Releases everything: registers, memory, interrupts. Idempotent. */
  close(): void | Promise<void>;
  /** Stops the device without its driver's help (bus master off, reset), when unbinding passed its deadline. */
  force?(): void | Promise<void>;
}

/** A way to reach devices of one enumerator api. Several back ends may offer the same api to drivers. */
export interface DevioProvider extends ObjectInfo {
  /** What drivers ask for. */
  readonly api: Api;
  /** How it is done: `vfio`, `iommufd`, `uio`, `vfio-noiommu`, `arena` … */
  readonly backend: string;
  /** The enumerator api whose devices it can reach. It is never asked about any other device. */
  readonly enumeratorApi: Api;
  /** True, or the reason why not. Must not change the device. */
  usable(device: Device): true | string | Promise<true | string>;
  /** Opens the device, which is that call's own until `Devio.close`. Throws when it cannot be had: the next one is tried. */
  open(device: Device): Devio | Promise<Devio>;
  /** Called when it is unregistered or the framework stops. */
  stop?(): void | Promise<void>;
}

/** Selects devices: each key must be a fact of the device with that very value. `{}` selects all of the class. */
export type DeviceId = Readonly<Record<string, string | number | boolean>>;

/** Control half of a driver. */
export interface Driver extends ObjectInfo {
  /** The kind of devices it is for: the name of an enumerator class, or of several. */
  readonly enumeratorClass: string | readonly string[];
  /** Any one of these must fit. Data, so that matching runs no driver code. */
  readonly ids: readonly DeviceId[];
  /** It needs any one of these, in its order of preference. */
  readonly devios: readonly Api[];
  /** Higher is tried first; 0 if absent. Equal priorities: in the order of registration. */
  readonly priority?: number;
  /**
   * Takes the device, or throws to decline it (the reason is kept for `explain`). `index` is the position in `devios`
   * of the one it was given. Whatever it made before throwing it must have released; the framework closes the devio.
   */
  probe(device: Device, devio: Devio, index: number): Pktio | Promise<Pktio>;
  /**
   * Name and version of what its ports hand over to a later release (`PortDevice.handOver`): `virtio-net-1`. Releases that
   * name the same one go on with each other's rings; others reset the device.
   */
  readonly handover?: string;
  /**
   * As `probe`, for a device that an earlier release of the driver has left running: makes a port that is started, from
   * what that handed over, and touches neither the device nor its rings. `queue.ts` halves of this release go on with them.
   */
  succeed?(device: Device, devio: Devio, index: number, state: unknown): Pktio | Promise<Pktio>;
  /** Called when it is unregistered or the framework stops, after its devices have been unbound. */
  stop?(): void | Promise<void>;
}

/** How to unbind. */
export interface UnbindOptions {
  /** After that many milliseconds the device is forced: 2,000 if absent. */
  readonly deadlineMs?: number;
}

/** One step of the way to a binding that was refused, or the binding itself. */
export interface Attempt {
  readonly driver: string;
  readonly driverVersion: string;
  /** Empty when the refusal was before any devio came into question. */
  readonly devio: string;
  readonly backend: string;
  readonly stage: 'class' | 'ids' | 'devio' | 'enumerator-api' | 'usable' | 'open' | 'probe' | 'bound';
  readonly reason: string;
}

/** Why a device is bound the way it is, or not at all. */
export interface Explanation {
  readonly device: string;
  readonly state: DeviceState;
  /** One sentence for people. */
  readonly summary: string;
  /**
   * In the order of preference, up to the one that is bound: what was tried since the device was added, last unbound or
   * retried by request, and every static refusal among the drivers and devios that are registered now.
   */
  readonly attempts: readonly Attempt[];
}

/** What the framework reports, always with the identity of the object. */
export type FrameworkEvent =
  | { readonly type: 'device-added' | 'device-removed' | 'device-unbound'; readonly device: Device }
  | { readonly type: 'device-bound'; readonly device: Device; readonly driver: string; readonly devio: string }
  | {
      readonly type: 'driver-replaced';
      readonly device: Device;
      readonly driver: string;
      readonly version: string;
      /** The rings went on; else the device was reset. */
      readonly kept: boolean;
    }
  | { readonly type: 'device-failed'; readonly device: Device; readonly error: Error }
  | { readonly type: 'enumerator-added' | 'enumerator-removed'; readonly enumerator: string; readonly class: string }
  | {
      readonly type: 'error';
      /** Whose callback failed: `class pci`, `enumerator pci/0000`, `driver e1000e` … */
      readonly source: string;
      readonly error: Error;
      /** The device that it was about, when there is one. */
      readonly device?: Device;
    };
