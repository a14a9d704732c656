/** Turns a port name into a bound device, and takes it back. */
import { DeviceError, LinecardError, RegistryError } from '../errors.ts';
import { bindDevice } from './bind.ts';
import type { Core } from './core.ts';
import type { DeviceRecord } from './device.ts';
import { arrive, notBound, removeNow, retry } from './devices.ts';
import { toError } from './events.ts';
import { type EnumeratorRecord, sourceOf } from './records.ts';
import { unbindDevice } from './release.ts';
import type { Device } from './types.ts';

interface Found {
  readonly device: DeviceRecord;
  /** It was made for this request. */
  readonly made: boolean;
}

/** Asks the enumerators in order, matches what they find or make, and claims it. */
export async function request(core: Core, portName: string): Promise<Device> {
  if (!core.running || core.stopping)
    throw refused('NOT_STARTED', portName, 'the framework does not run', 'start() it first');
  for (const enumerator of core.registry.enumerators()) {
    if (enumerator.state !== 'running' || enumerator.leaving !== undefined) continue;
    const found = await find(core, enumerator, portName);
    if (found !== undefined) return claim(core, found, portName);
  }
  throw noSuchPort(core, portName);
}

/** Gives back what `request` gave. Made for it: removed. Otherwise bound afresh, so that no setting is inherited. */
export async function release(core: Core, device: DeviceRecord): Promise<void> {
  if (device.binding?.claimed !== true && !device.requested) return;
  const ms = core.limits.unbindDeadlineMs;
  const failure = device.requested ? await removeNow(core, device, ms) : await unbindDevice(core, device, ms);
  if (failure !== undefined) throw failure;
  await bindDevice(core, device);
}

async function find(core: Core, enumerator: EnumeratorRecord, portName: string): Promise<Found | undefined> {
  const before = new Set(enumerator.devices.values());
  const added: DeviceRecord[] = [];
  const callback = () => {
    try {
      return enumerator.object.request?.(portName);
    } finally {
      for (const device of enumerator.devices.values()) if (!before.has(device)) added.push(device);
    }
  };
  try {
    const address = await core.call(sourceOf.enumerator(enumerator), 'request', callback);
    return address === undefined ? undefined : located(enumerator, portName, address, added);
  } catch (error) {
    const address = addressThatIsThere(enumerator, error);
    if (address !== undefined) return located(enumerator, portName, address, added);
    // Nobody has seen what it added before it threw: that goes without a word.
    for (const device of added) await removeNow(core, device);
    throw error instanceof LinecardError ? error : badName(enumerator, portName, error);
  }
}

function located(
  enumerator: EnumeratorRecord,
  portName: string,
  address: string,
  added: readonly DeviceRecord[],
): Found {
  const device = enumerator.devices.get(address);
  if (device !== undefined) return { device, made: added.includes(device) };
  const why = `${sourceOf.enumerator(enumerator)} answered with address ${address}, where it has no device`;
  throw refused('NO_SUCH_DEVICE', portName, why, 'this is a mistake of that enumerator');
}

/** An enumerator need not look whether it has the device: trying to add it again says so as well. */
function addressThatIsThere(enumerator: EnumeratorRecord, error: unknown): string | undefined {
  if (!(error instanceof RegistryError) || error.code !== 'DUPLICATE_DEVICE') return undefined;
  const { enumerator: id, address } = error.detail;
  return id === enumerator.id && typeof address === 'string' ? address : undefined;
}

function badName(enumerator: EnumeratorRecord, portName: string, error: unknown): RegistryError {
  const why = `${sourceOf.enumerator(enumerator)} refused it: ${toError(error).message}`;
  return refused('BAD_PORT_NAME', portName, why, accepted([enumerator]), error);
}

async function claim(core: Core, { device, made }: Found, portName: string): Promise<Device> {
  if (device.binding?.claimed === true) {
    const text = { what: `port ${portName}`, why: 'it was requested before and is in use', fix: 'release() it first' };
    throw new DeviceError('PORT_TAKEN', text, { detail: { port: portName, device: device.id } });
  }
  if (made) device.requested = true;
  await (made ? arrive(core, device) : retry(core, device));
  if (device.binding === undefined) {
    const error = notBound(core, device);
    if (device.requested) await removeNow(core, device);
    throw error;
  }
  device.binding.claimed = true;
  return device.view;
}

function noSuchPort(core: Core, portName: string): RegistryError {
  const asked = core.registry.enumerators().filter((e) => e.object.request !== undefined);
  const why = asked.length === 0 ? 'no enumerator knows ports by name' : 'no enumerator knows this name';
  return refused('NO_SUCH_PORT', portName, why, accepted(asked));
}

/** Says which names would do. */
function accepted(enumerators: readonly EnumeratorRecord[]): string {
  const kinds = enumerators.map((e) => `${e.object.portNames ?? 'names'} (${e.id})`);
  return kinds.length === 0 ? 'register a class whose enumerators do' : `accepted are: ${kinds.join(', ')}`;
}

function refused(code: string, portName: string, why: string, fix: string, cause?: unknown): RegistryError {
  return new RegistryError(code, { what: `port ${portName}`, why, fix }, { detail: { port: portName }, cause });
}
