/** How a device arrives, is tried again, and goes. */
import { DeviceError } from '../errors.ts';
import { bindDevice } from './bind.ts';
import { type Core, checkDeadline } from './core.ts';
import type { DeviceRecord } from './device.ts';
import { explain } from './explain.ts';
import type { EnumeratorRecord } from './records.ts';
import { unbindDevice } from './release.ts';
import type { UnbindOptions } from './types.ts';

/** Announces a device, the first time, and matches it. Not before its enumerator's start has succeeded. */
export async function arrive(core: Core, device: DeviceRecord): Promise<void> {
  if (device.leaving !== undefined || device.state === 'removed' || device.enumerator.state !== 'running') return;
  if (!device.announced) {
    device.announced = true;
    core.events.emit({ type: 'device-added', device: device.view });
  }
  await bindDevice(core, device);
}

/** Matches a device afresh, whatever was refused before, and although it was unbound by request or has failed. */
export async function retry(core: Core, device: DeviceRecord): Promise<void> {
  if (device.binding !== undefined) return;
  device.held = false;
  if (device.state === 'failed') device.move('unbound');
  device.failure = undefined;
  device.forget();
  await arrive(core, device);
}

/** Says why a device is not bound. */
export function notBound(core: Core, device: DeviceRecord): DeviceError {
  const { drivers, devios } = core.registry.usable();
  const { summary } = explain(device, drivers, devios);
  const text = { what: `device ${device.id}`, why: summary, fix: 'explain(device) lists every attempt' };
  return new DeviceError('NOT_BOUND', text, { detail: { device: device.id } });
}

/** How long an unbinding may take. Throws `BAD_DEADLINE`. */
export function unbindDeadline(core: Core, options: UnbindOptions | undefined): number {
  return checkDeadline('deadlineMs', options?.deadlineMs ?? core.limits.unbindDeadlineMs);
}

/** Asks for a device to be removed. Its address is free from now on. */
export function removeDevice(core: Core, device: DeviceRecord, options?: UnbindOptions): Promise<void> {
  const deadlineMs = unbindDeadline(core, options);
  const { devices } = device.enumerator;
  if (devices.get(device.address) === device) devices.delete(device.address);
  return core.leave(device, `the removal of device ${device.id}`, async () => {
    const failure = await removeNow(core, device, deadlineMs);
    if (failure !== undefined) throw failure;
  });
}

/** Removes a device, unbinding it first; one that has gone stays so. Returns what could not be released. */
export async function removeNow(
  core: Core,
  device: DeviceRecord,
  deadlineMs = core.limits.unbindDeadlineMs,
): Promise<Error | undefined> {
  if (device.state === 'removed') return undefined;
  const { devices } = device.enumerator;
  if (devices.get(device.address) === device) devices.delete(device.address);
  const failure = await unbindDevice(core, device, deadlineMs);
  device.move('removed');
  core.registry.devices.delete(device);
  if (device.announced) core.events.emit({ type: 'device-removed', device: device.view });
  return failure;
}

/** All devices of an enumerator, those too whose removal was asked for. */
export function devicesOf(core: Core, enumerator: EnumeratorRecord): DeviceRecord[] {
  return [...core.registry.devices].filter((device) => device.enumerator === enumerator);
}
