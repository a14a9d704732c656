/** Starts and stops everything that is registered. */
import { startClass, stopClass } from './classes.ts';
import type { Core } from './core.ts';
import { removeNow } from './devices.ts';
import { stopEnumerator } from './enumerators.ts';
import { sourceOf } from './records.ts';
import { unbindDevice } from './release.ts';

/** Starts the classes, in the order in which they were registered. */
export async function startAll(core: Core): Promise<void> {
  if (core.running) return;
  const { classes, drivers, devios } = core.registry;
  core.running = true;
  for (const record of [...drivers.values(), ...devios.values()]) record.stopped = false;
  for (const record of [...classes.values()]) await startClass(core, record);
}

/**
 * Stops everything, the last registered first. Users before what they use: a device is unbound while its driver, devio
 * and enumerator still work, and an enumerator is stopped when nobody knows a device of it any more.
 */
export async function stopAll(core: Core): Promise<void> {
  if (!core.running) return;
  const { classes, drivers, devios, devices } = core.registry;
  core.running = false;
  for (const device of [...devices].reverse()) await unbindDevice(core, device, core.limits.unbindDeadlineMs);
  for (const record of [...drivers.values()].reverse()) await core.stop(sourceOf.driver(record), record);
  for (const record of [...devios.values()].reverse()) await core.stop(sourceOf.devio(record), record);
  for (const device of [...devices].reverse()) await removeNow(core, device);
  for (const record of core.registry.enumerators().reverse()) await stopEnumerator(core, record);
  for (const record of [...classes.values()].reverse()) await stopClass(core, record);
}
