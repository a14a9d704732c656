/** Takes a device from `bound` to `unbound`, and closes what a probe that came to nothing has opened. */
import { DeviceError } from '../errors.ts';
import type { Core } from './core.ts';
import { Descent, type Opened } from './descent.ts';
import type { DeviceRecord } from './device.ts';
import { sourceOf } from './records.ts';

/** Closes the pktio, if there is one, and the devio: workers first, the driver next, the devio last. */
async function takeDown(
  core: Core,
  device: DeviceRecord,
  opened: Opened,
  deadlineMs: number,
  quiesce: boolean,
): Promise<Descent> {
  const descent = new Descent(core, device, opened, deadlineMs);
  const driver = sourceOf.driver(opened.driver);
  const { pktio, devio } = opened;
  if (quiesce) await descent.step(`device ${device.id}`, 'onQuiesce', () => core.limits.onQuiesce(device.view));
  if (pktio !== undefined) {
    // Its close stops it too. A stop of its own is for the way on which the device still answers.
    const stop = () => (pktio.state === 'started' ? pktio.stop() : undefined);
    if (descent.forced === undefined) await descent.step(driver, 'pktio.stop', stop);
    await descent.step(driver, 'pktio.close', () => pktio.close());
  }
  const held = await descent.step(sourceOf.devio(opened.provider), 'close', () => devio.close());
  descent.failure ??= held;
  return descent;
}

/** Unbinds a bound device; does nothing to any other. Returns the error when the device has failed. Never rejects. */
export async function unbindDevice(
  core: Core,
  device: DeviceRecord,
  deadlineMs: number,
): Promise<DeviceError | undefined> {
  const { binding } = device;
  if (binding === undefined) return undefined;
  device.move('unbinding');
  const { forced, failure } = await takeDown(core, device, binding, deadlineMs, true);
  device.binding = undefined;
  device.forget();
  if (failure !== undefined) return fail(core, device, 'UNBIND_FAILED', failure);
  device.move('unbound');
  if (forced !== undefined) reportForce(core, device, forced);
  core.events.emit({ type: 'device-unbound', device: device.view });
  return undefined;
}

/** Closes what was opened for a probe that came to nothing; by force when the device may be running. */
export async function abandon(core: Core, device: DeviceRecord, opened: Opened, force: boolean): Promise<void> {
  const { failure } = await takeDown(core, device, opened, force ? 0 : core.limits.unbindDeadlineMs, false);
  if (failure !== undefined) fail(core, device, 'RELEASE_FAILED', failure);
}

/** Something may still hold the device: no other driver must touch it. */
function fail(core: Core, device: DeviceRecord, code: string, cause: Error): DeviceError {
  const why = `it was not released: ${cause.message}`;
  const fix = 'see to what holds it, then bind() it again or remove it';
  const error = new DeviceError(
    code,
    { what: `device ${device.id}`, why, fix },
    { detail: { device: device.id }, cause },
  );
  device.failure = error;
  device.move('failed');
  core.events.emit({ type: 'device-failed', device: device.view, error });
  return error;
}

function reportForce(core: Core, device: DeviceRecord, cause: Error): void {
  const text = {
    what: `unbinding of ${device.id}`,
    why: `it was forced: ${cause.message}`,
    fix: 'packets that were in its rings are lost; nothing else is',
  };
  const error = new DeviceError('UNBIND_FORCED', text, { detail: { device: device.id }, cause });
  core.events.error(`device ${device.id}`, error, device.view);
}
