/** Starts and stops enumerators, and gives each the host through which it adds and removes devices. */
import { RegistryError } from '../errors.ts';
import type { Core } from './core.ts';
import { arrive, devicesOf, removeDevice, removeNow } from './devices.ts';
import { type EnumeratorRecord, sourceOf } from './records.ts';
import type { EnumeratorHost } from './types.ts';

/** Starts an enumerator. If that fails it is withdrawn, and so are the devices that it has added. */
export async function startEnumerator(core: Core, record: EnumeratorRecord): Promise<void> {
  if (record.state !== 'added' || record.leaving !== undefined) return;
  const source = sourceOf.enumerator(record);
  const { object } = record;
  // A later start of the same object may have succeeded meanwhile: that one must not be stopped.
  const restarted = () => core.registry.enumerators().some((other) => other.object === object);
  record.state = 'starting';
  try {
    await core.call(
      source,
      'start',
      () => object.start(enumeratorHost(core, record)),
      (result) => core.releaseLate(source, result, 'stop', () => (restarted() ? undefined : object.stop?.())),
    );
  } catch (error) {
    core.events.error(source, error);
    record.state = 'stopped';
    record.run.enumerators.delete(record.name);
    for (const device of devicesOf(core, record)) await removeNow(core, device);
    return;
  }
  record.state = 'running';
  core.events.emit({ type: 'enumerator-added', enumerator: record.name, class: record.owner.name });
}

/** Removes an enumerator's devices, then stops it. One that never started just goes. */
export async function stopEnumerator(core: Core, record: EnumeratorRecord): Promise<void> {
  const started = record.state === 'running';
  if (started) {
    // It may go on adding devices until its stop is called.
    for (let devices = devicesOf(core, record); devices.length > 0; devices = devicesOf(core, record)) {
      for (const device of devices.reverse()) await removeNow(core, device);
    }
    record.state = 'stopping';
    await core.attempt(sourceOf.enumerator(record), 'stop', () => record.object.stop?.());
  }
  record.state = 'stopped';
  record.run.enumerators.delete(record.name);
  if (started) core.events.emit({ type: 'enumerator-removed', enumerator: record.name, class: record.owner.name });
}

/** Asks for an enumerator to be withdrawn. */
export function removeEnumerator(core: Core, record: EnumeratorRecord): Promise<void> {
  return core.leave(record, `the removal of enumerator ${record.id}`, () => stopEnumerator(core, record));
}

function enumeratorHost(core: Core, record: EnumeratorRecord): EnumeratorHost {
  const source = sourceOf.enumerator(record);
  return {
    addDevice: (device) => {
      // An event that arrives while `stop` unsubscribes is nobody's fault.
      if (record.state === 'stopping') return;
      if (record.state === 'stopped') return core.events.error(source, closed(source, `device ${device.address}`));
      const added = core.registry.addDevice(record, device);
      core.later(source, () => arrive(core, added));
    },
    removeDevice: (address, options) => {
      const gone = devicesOf(core, record).find((device) => device.address === address && device.leaving !== undefined);
      const device = record.devices.get(address) ?? gone;
      return device === undefined ? Promise.resolve() : removeDevice(core, device, options);
    },
  };
}

/** Says that something was added through a host whose start has failed or which was stopped. */
export function closed(source: string, what: string): RegistryError {
  const why = `${source} does not run`;
  return new RegistryError('HOST_CLOSED', { what, why, fix: 'unsubscribe in stop(), and stop when start has failed' });
}
