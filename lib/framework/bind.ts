/** Takes a device from `unbound` to `bound`: tries each candidate that matching found, once. */
import { RegistryError } from '../errors.ts';
import { isTimeout } from './callbacks.ts';
import type { Core } from './core.ts';
import type { Binding, DeviceRecord } from './device.ts';
import { toError } from './events.ts';
import { type Candidate, match } from './match.ts';
import { apiText, type DevioRecord, type DriverRecord, sourceOf } from './records.ts';
import { abandon } from './release.ts';
import type { Attempt, Devio } from './types.ts';

type Choice = Candidate<DriverRecord, DevioRecord>;

/** Binds every device that is free and for which there is something that was not tried yet. */
export async function bindAll(core: Core): Promise<void> {
  for (const device of [...core.registry.devices]) await bindDevice(core, device);
}

/** Tries the candidates that were not tried since the device was added, unbound or retried. Never rejects. */
export async function bindDevice(core: Core, device: DeviceRecord): Promise<void> {
  if (!isFree(device)) return;
  const { drivers, devios } = core.registry.usable();
  for (const verdict of match(device.view, drivers, devios)) {
    if (!core.running || core.stopping || isGoing(device)) break;
    if ('candidate' in verdict) await tryCandidate(core, device, verdict.candidate);
    if (device.binding !== undefined || device.failure !== undefined) return;
  }
  if (device.state === 'probing') device.move('unbound');
}

const isFree = ({ announced, held, state }: DeviceRecord): boolean => announced && !held && state === 'unbound';

const isGoing = ({ leaving, enumerator }: DeviceRecord): boolean =>
  leaving !== undefined || enumerator.leaving !== undefined || enumerator.owner.leaving !== undefined;

async function tryCandidate(core: Core, device: DeviceRecord, choice: Choice): Promise<void> {
  const { driver, devio: provider } = choice;
  if (driver.leaving !== undefined || provider.leaving !== undefined) return;
  if (device.attempt(driver, provider) !== undefined) return;
  if (device.hung.has(driver)) return device.record(choice, 'probe', 'an earlier probe of this device has not ended');
  if (device.state === 'unbound') device.move('probing');
  if (!(await isUsable(core, device, choice))) return;
  const devio = await open(core, device, choice);
  if (devio !== undefined) await probe(core, device, choice, devio);
}

async function isUsable(core: Core, device: DeviceRecord, choice: Choice): Promise<boolean> {
  const { devio: provider } = choice;
  try {
    const source = sourceOf.devio(provider);
    const answer: unknown = await core.call(source, 'usable', () => provider.object.usable(device.view));
    if (answer === true) return true;
    device.record(choice, 'usable', typeof answer === 'string' && answer !== '' ? answer : 'it gave no reason');
  } catch (error) {
    refuse(core, device, choice, 'usable', error);
  }
  return false;
}

async function open(core: Core, device: DeviceRecord, choice: Choice): Promise<Devio | undefined> {
  const { devio: provider } = choice;
  const source = sourceOf.devio(provider);
  try {
    const devio = await core.call(
      source,
      'open',
      () => provider.object.open(device.view),
      (result) => core.releaseLate(source, result, 'close', (late) => late.close()),
    );
    if (typeof devio?.close !== 'function') throw badResult('BAD_DEVIO', `open of ${source}`, 'return a Devio');
    return devio;
  } catch (error) {
    refuse(core, device, choice, 'open', error);
    return undefined;
  }
}

async function probe(core: Core, device: DeviceRecord, choice: Choice, devio: Devio): Promise<void> {
  const { driver, devio: provider, index } = choice;
  const source = sourceOf.driver(driver);
  try {
    const pktio = await core.call(
      source,
      'probe',
      () => driver.object.probe(device.view, devio, index),
      (result) => core.releaseLate(source, result, 'pktio.close', (late) => late.close()),
    );
    if (typeof pktio?.close !== 'function') throw badResult('BAD_PKTIO', `probe of ${source}`, 'return a Pktio');
    await conclude(core, device, choice, { driver, provider, devio, pktio, claimed: false });
  } catch (error) {
    refuse(core, device, choice, 'probe', error);
    if (isTimeout(error)) device.hung.add(driver);
    // A driver that declines leaves the device alone. One that hangs, or gives nothing, may have left it running.
    await abandon(core, device, { driver, provider, devio }, isTimeout(error) || isBadResult(error));
  }
}

/** The driver took it. Unless one of the three has gone meanwhile, that is a binding. */
async function conclude(core: Core, device: DeviceRecord, choice: Choice, binding: Binding): Promise<void> {
  const { driver, provider } = binding;
  if (isGoing(device) || core.stopping || driver.leaving !== undefined || provider.leaving !== undefined) {
    device.record(choice, 'probe', 'the device, the driver or the devio was removed while it was probed');
    return abandon(core, device, binding, false);
  }
  device.record(choice, 'bound', 'its probe took the device');
  device.binding = binding;
  device.move('bound');
  core.events.emit({ type: 'device-bound', device: device.view, driver: driver.name, devio: apiText(provider.api) });
}

function refuse(core: Core, device: DeviceRecord, choice: Choice, stage: Attempt['stage'], thrown: unknown): void {
  const error = toError(thrown);
  device.record(choice, stage, error.message === '' ? error.name : error.message);
  const source = stage === 'probe' ? sourceOf.driver(choice.driver) : sourceOf.devio(choice.devio);
  core.events.error(source, error, device.view);
}

function badResult(code: 'BAD_DEVIO' | 'BAD_PKTIO', what: string, fix: string): RegistryError {
  return new RegistryError(code, { what, why: 'what it gave has no close()', fix });
}

const isBadResult = (error: unknown): boolean => error instanceof RegistryError && error.code === 'BAD_PKTIO';
