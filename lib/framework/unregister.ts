/** Takes registered objects out: what depends on them is unbound first, and matched again with what is left. */
import { RegistryError } from '../errors.ts';
import { bindDevice } from './bind.ts';
import { stopClass } from './classes.ts';
import type { Core } from './core.ts';
import type { DeviceRecord } from './device.ts';
import { removeEnumerator } from './enumerators.ts';
import { devioKey, sourceOf } from './records.ts';
import { unbindDevice } from './release.ts';
import type { DevioProvider } from './types.ts';

/** Unregisters a driver: unbinds its devices, then stops it. */
export function unregisterDriver(core: Core, name: string): Promise<void> {
  const record = core.registry.drivers.get(name);
  if (record === undefined) return unknown('NO_SUCH_DRIVER', `driver ${name}`, core.registry.drivers.keys());
  return core.leave(record, `the unregistration of driver ${name}`, async () => {
    const freed = await unbindAll(core, (device) => device.binding?.driver === record);
    await core.stop(sourceOf.driver(record), record);
    core.registry.drivers.delete(name);
    for (const device of freed) await bindDevice(core, device);
  });
}

/** Unregisters a devio: unbinds the devices that are reached through it, then stops it. */
export function unregisterDevio(
  core: Core,
  devio: Pick<DevioProvider, 'api' | 'backend' | 'enumeratorApi'>,
): Promise<void> {
  const key = devioKey(devio);
  const record = core.registry.devios.get(key);
  if (record === undefined) return unknown('NO_SUCH_DEVIO', `devio ${key}`, core.registry.devios.keys());
  return core.leave(record, `the unregistration of devio ${key}`, async () => {
    const freed = await unbindAll(core, (device) => device.binding?.provider === record);
    await core.stop(sourceOf.devio(record), record);
    core.registry.devios.delete(key);
    for (const device of freed) await bindDevice(core, device);
  });
}

/** Unregisters a class: removes its enumerators with their devices, then stops it. */
export function unregisterClass(core: Core, name: string): Promise<void> {
  const record = core.registry.classes.get(name);
  if (record === undefined) return unknown('NO_SUCH_CLASS', `class ${name}`, core.registry.classes.keys());
  return core.leave(record, `the unregistration of class ${name}`, async () => {
    await stopClass(core, record);
    core.registry.classes.delete(name);
  });
}

/** Withdraws one enumerator of a class. */
export function unregisterEnumerator(core: Core, className: string, name: string): Promise<void> {
  const enumerators = core.registry.enumerators();
  const record = enumerators.find((e) => e.owner.name === className && e.name === name);
  if (record !== undefined) return removeEnumerator(core, record);
  return unknown(
    'NO_SUCH_ENUMERATOR',
    `enumerator ${className}/${name}`,
    enumerators.map((e) => e.id),
  );
}

async function unbindAll(core: Core, concerned: (device: DeviceRecord) => boolean): Promise<DeviceRecord[]> {
  const devices = [...core.registry.devices].filter(concerned);
  for (const device of devices) await unbindDevice(core, device, core.limits.unbindDeadlineMs);
  return devices;
}

function unknown(code: string, what: string, known: Iterable<string>): Promise<never> {
  const list = [...known].join(', ') || 'none';
  return Promise.reject(new RegistryError(code, { what, why: 'it is not registered', fix: `registered are: ${list}` }));
}
