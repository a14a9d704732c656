/** What goes wrong with a gigabit controller, in words. Control half. */
import { DeviceError } from '../../errors.ts';

/** It has not done `what` in time. */
export const late = (what: string, ms: number): DeviceError =>
  new DeviceError('DEVICE_TIMEOUT', {
    what,
    why: `the device has not done it in ${ms} ms`,
    fix: 'bind it to its kernel driver and back, which resets it, or power it off and on',
  });

/** All its registers read as ones: it does not answer any more. */
export const gone = (name: string): DeviceError =>
  new DeviceError('DEVICE_LOST', {
    what: `port ${name}`,
    why: 'its registers do not answer: it was removed, or has lost power',
    fix: 'open it again when it is back',
  });

/** A multicast wish that is none. */
export const badMulticast = (name: string, text: string): DeviceError =>
  new DeviceError('BAD_WISH', {
    what: `port ${name}: multicast=${text}`,
    why: 'it is neither all, none, nor group addresses with + between them',
    fix: 'write it like multicast=01:00:5e:00:00:01+01:00:5e:00:00:02',
  });
