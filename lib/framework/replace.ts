/** Exchanges a driver for another release of it, while its devices run. */
import type { Pktio } from '../pktio/types.ts';
import { bindDevice } from './bind.ts';
import type { Core } from './core.ts';
import type { Binding, DeviceRecord } from './device.ts';
import { toError } from './events.ts';
import { selects } from './match.ts';
import { type DriverRecord, sameApi, sourceOf } from './records.ts';
import { unbindDevice } from './release.ts';
import type { Driver } from './types.ts';

/** Puts `object` in the place of the driver of its name, device by device. Throws as `Registry.replaceDriver`. */
export function replaceDriver(core: Core, object: Driver): Promise<void> {
  const { before, after } = core.registry.replaceDriver(object);
  return core.leave(before, `the replacement of driver ${object.name}`, async () => {
    const bound = [...core.registry.devices].filter((device) => device.binding?.driver === before);
    const freed: DeviceRecord[] = [];
    for (const device of bound) if (!(await succeed(core, device, before, after))) freed.push(device);
    await core.stop(sourceOf.driver(before), before);
    for (const device of freed) await bindDevice(core, device);
  });
}

/** False: `device` could not be taken over, and was unbound. */
async function succeed(core: Core, device: DeviceRecord, before: DriverRecord, after: DriverRecord): Promise<boolean> {
  const { binding } = device;
  if (binding === undefined) return false;
  const { provider, pktio } = binding;
  const index = after.devios.findIndex((api) => sameApi(api, provider.api));
  const fits = index >= 0 && after.ids.some((id) => selects(id, device.facts));
  if (fits && pktio.succeed !== undefined) {
    try {
      const kept = await exchange(core, device, binding, { before, after, index });
      device.binding = { ...binding, driver: after };
      device.forget();
      const reason = kept ? `it took over from ${before.version}` : `it set the device up after ${before.version}`;
      device.record({ driver: after, devio: provider, index }, 'bound', reason);
      const { name: driver, version } = after;
      core.events.emit({ type: 'driver-replaced', device: device.view, driver, version, kept });
      return true;
    } catch (error) {
      core.events.error(sourceOf.driver(after), toError(error), device.view);
    }
  }
  await unbindDevice(core, device, core.limits.unbindDeadlineMs);
  return false;
}

async function exchange(
  core: Core,
  device: DeviceRecord,
  { devio, pktio }: Binding,
  { before, after, index }: { readonly before: DriverRecord; readonly after: DriverRecord; readonly index: number },
): Promise<boolean> {
  const source = sourceOf.driver(after);
  const { object } = after;
  const late = (result: Promise<Pktio>) => core.releaseLate(source, result, 'pktio.close', (port) => port.close());
  const make = (handover?: { readonly state: unknown }): Promise<Pktio> =>
    handover === undefined
      ? core.call(source, 'probe', () => object.probe(device.view, devio, index), late)
      : core.call(source, 'succeed', () => object.succeed!(device.view, devio, index, handover.state), late);
  const compatible = before.object.handover !== undefined && before.object.handover === object.handover;
  let kept = false;
  const change = async () => {
    kept = await pktio.succeed!({ compatible, make });
    return kept;
  };
  await core.call(`device ${device.id}`, 'onReplace', () => core.limits.onReplace(device.view, change));
  return kept;
}
