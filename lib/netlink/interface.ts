/** Sets what an interface is: its name, its address, and whether it is up (netdevice(7)). */
import type { Native } from '../../native/index.ts';
import { SystemError } from '../errors.ts';
import { systemError } from '../system-error.ts';
import { parseMac } from '../wire/mac.ts';

const SIOCGIFFLAGS = 0x8913;
const SIOCSIFFLAGS = 0x8914;
const SIOCSIFNAME = 0x8923;
const SIOCSIFHWADDR = 0x8924;
const ARPHRD_ETHER = 1;
const IFF_UP = 1;
const AF_INET = 2;
const SOCK_DGRAM = 2;
/** struct ifreq: the name, then a union. */
const NAME_BYTES = 16;
const IFREQ_BYTES = 40;

/** What an interface is to be. */
export interface InterfaceState {
  readonly name: string;
  readonly mac: string;
  readonly up: boolean;
}

/** Makes the interface `now` what `state` says. Its name only while it is down: it goes down for that. Throws SystemError `INTERFACE`. */
export function setInterface(native: Native, now: string, { name, mac, up }: InterfaceState): void {
  const fd = native.socket(AF_INET, SOCK_DGRAM, 0);
  const request = new Uint8Array(IFREQ_BYTES);
  const view = new DataView(request.buffer);
  const putName = (at: number, text: string) => {
    request.fill(0, at, at + NAME_BYTES);
    request.set(Buffer.from(text).subarray(0, NAME_BYTES - 1), at);
  };
  const putUp = (wanted: boolean) => {
    request.fill(0, NAME_BYTES);
    native.ioctl(fd, SIOCGIFFLAGS, request);
    const flags = view.getUint16(NAME_BYTES, true);
    view.setUint16(NAME_BYTES, wanted ? flags | IFF_UP : flags & ~IFF_UP, true);
    native.ioctl(fd, SIOCSIFFLAGS, request);
  };
  putName(0, now);
  try {
    if (name !== now) {
      putUp(false);
      putName(NAME_BYTES, name);
      native.ioctl(fd, SIOCSIFNAME, request);
      putName(0, name);
    }
    request.fill(0, NAME_BYTES);
    view.setUint16(NAME_BYTES, ARPHRD_ETHER, true);
    request.set(parseMac(mac), NAME_BYTES + 2);
    native.ioctl(fd, SIOCSIFHWADDR, request);
    putUp(up);
  } catch (cause) {
    throw systemError(SystemError, 'INTERFACE', `setting name, address and state of ${now}`, cause, {
      EPERM: 'run as root',
      ENODEV: 'it has gone',
      EEXIST: `another interface is called ${name} now: rename that one, and unbind again`,
    });
  } finally {
    native.close(fd);
  }
}
