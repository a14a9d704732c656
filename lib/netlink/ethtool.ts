/** What only ethtool's ioctl says of an interface: its driver and its queues (include/uapi/linux/ethtool.h). */
import type { Native } from '../../native/index.ts';

const SIOCETHTOOL = 0x8946;
const COMMAND = { driverInfo: 0x3, channels: 0x3c } as const;
const AF_INET = 2;
const SOCK_DGRAM = 2;
const NAME_BYTES = 16;
/** struct ifreq: the name, then a pointer to the command's own struct. */
const IFREQ_BYTES = 40;

/** Queues in use. A combined queue is one of both kinds. */
export interface Channels {
  readonly rx: number;
  readonly tx: number;
  readonly combined: number;
}

function ethtool(native: Native, name: string, argument: Uint8Array): boolean {
  const request = new Uint8Array(IFREQ_BYTES);
  request.set(Buffer.from(name).subarray(0, NAME_BYTES - 1));
  const fd = native.socket(AF_INET, SOCK_DGRAM, 0);
  try {
    native.ioctl(fd, SIOCETHTOOL, request, [[NAME_BYTES, argument]]);
    return true;
  } catch {
    return false; // EOPNOTSUPP: the driver does not say; ENODEV: it has just gone
  } finally {
    native.close(fd);
  }
}

/** The interface's driver, or the empty string. */
export function driverOf(native: Native, name: string): string {
  const info = new Uint8Array(196);
  new DataView(info.buffer).setUint32(0, COMMAND.driverInfo, true);
  if (!ethtool(native, name, info)) return '';
  return Buffer.from(info.subarray(4, 36)).toString('latin1').split('\0', 1)[0];
}

/** The interface's queues in use, or undefined when its driver does not say. */
export function channelsOf(native: Native, name: string): Channels | undefined {
  const info = new Uint8Array(36);
  const view = new DataView(info.buffer);
  view.setUint32(0, COMMAND.channels, true);
  if (!ethtool(native, name, info)) return undefined;
  return { rx: view.getUint32(20, true), tx: view.getUint32(24, true), combined: view.getUint32(32, true) };
}

/** How many rx queues packets are spread over. */
export const rxQueueCount = (channels: Channels | undefined, made: number): number =>
  channels === undefined ? made : Math.max(1, channels.rx + channels.combined);
