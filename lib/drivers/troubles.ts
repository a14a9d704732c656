/** What a port tells of its device when that fails, whoever made it. Control half. */
import { DeviceError, PortError } from '../errors.ts';

/** The device has failed, and is being brought back. */
export const deviceFault = (name: string, reason: string): DeviceError =>
  new DeviceError('DEVICE_FAULT', { what: `port ${name}`, why: reason, fix: 'nothing: it is reset and goes on' });

/** The device has gone and will not come back to this port. */
export const portLost = (name: string, reason: string): PortError =>
  new PortError('PORT_LOST', {
    what: `port ${name}`,
    why: `its device has gone: ${reason}`,
    fix: 'open it again when it is back',
  });
