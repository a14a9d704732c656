/** Sets what an interface is: its address, and whether it is up (netdevice(7)). */
import type { Native } from '../../native/index.ts';
import { SystemError } from '../errors.ts';
import { systemError } from '../system-error.ts';
import { parseMac } from '../wire/mac.ts';

const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const SIOCSIFHWADDR = 0x8924;
const ARPHRD_ETHER = 1;
const IFF_UP = 1;
const AF_INET = 2;
const SOCK_DGRAM = 2;
/** struct ifreq: the name, then a union. */
const NAME_BYTES = 16;
const IFREQ_BYTES = 40;

/** Gives `name` the address `mac`, and takes it up or down. Throws SystemError `INTERFACE`. */
export function setInterface(
  native: Native,
  name: string,
  state: { readonly mac: string; readonly up: boolean },
): void {
  const fd = native.socket(AF_INET, SOCK_DGRAM, 0);
  const request = new Uint8Array(IFREQ_BYTES);
  const view = new DataView(request.buffer);
  request.set(Buffer.from(name).subarray(0, NAME_BYTES - 1));
  try {
    view.setUint16(NAME_BYTES, ARPHRD_ETHER, true);
    request.set(parseMac(state.mac), NAME_BYTES + 2);
    native.ioctl(fd, SIOCSIFHWADDR, request);
    request.fill(0, NAME_BYTES);
    native.ioctl(fd, SIOCGIFFLAGS, request);
    const flags = view.getUint16(NAME_BYTES, true);
    view.setUint16(NAME_BYTES, state.up ? flags | IFF_UP : flags & ~IFF_UP, true);
    native.ioctl(fd, SIOCSIFFLAGS, request);
  } catch (cause) {
    throw systemError(SystemError, 'INTERFACE', `setting address and state of ${name}`, cause, {
      EPERM: 'run as root',
      ENODEV: 'it has gone',
    });
  } finally {
    native.close(fd);
  }
}
