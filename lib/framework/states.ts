/** The states of a device and the ways between them. Pure. */
import { DeviceError } from '../errors.ts';
import type { DeviceState } from './types.ts';

const NEXT: Readonly<Record<DeviceState, readonly DeviceState[]>> = {
  unbound: ['probing', 'removed'],
  probing: ['unbound', 'bound', 'failed'],
  bound: ['unbinding'],
  unbinding: ['unbound', 'failed'],
  // Back to `unbound` only by request: what failed to let go of the device may still hold it.
  failed: ['unbound', 'removed'],
  removed: [],
};

/** Tells whether a device may go from one state to another. */
export function mayMove(from: DeviceState, to: DeviceState): boolean {
  return NEXT[from].includes(to);
}

/** Returns `to`. Throws `ILLEGAL_TRANSITION` when there is no way from `from`: a mistake in the framework itself. */
export function nextState(device: string, from: DeviceState, to: DeviceState): DeviceState {
  if (mayMove(from, to)) return to;
  throw new DeviceError('ILLEGAL_TRANSITION', {
    what: `device ${device}`,
    why: `a device that is ${from} cannot become ${to}`,
    fix: 'please report this: the framework contradicts itself',
  });
}
