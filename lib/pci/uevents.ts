/** Kernel uevents of PCI functions, as they come (netlink(7) NETLINK_KOBJECT_UEVENT; Linux, lib/kobject_uevent.c). Control half. */
import type { Native } from '../../native/index.ts';
import { SystemError } from '../errors.ts';
import { errnoName, systemError } from '../system-error.ts';

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const NETLINK_KOBJECT_UEVENT = 15;
/** The kernel's own messages; group 2 is udev's, which anybody may send. */
const KERNEL_GROUP = 1;
/** UEVENT_BUFFER_SIZE is 2048; the header line comes before. */
const DATAGRAM = 8192;

/** One event. */
export interface Uevent {
  /** `add`, `remove`, `bind`, `unbind`, `change`. */
  readonly action: string;
  readonly subsystem: string;
  /** `DDDD:BB:DD.F`, empty when it is not about a PCI function. */
  readonly address: string;
}

/** Takes a message apart: `ACTION@DEVPATH`, then KEY=VALUE, each ended by NUL. Undefined when it is no such message. */
export function parseUevent(bytes: Uint8Array): Uevent | undefined {
  const [head = '', ...lines] = Buffer.from(bytes).toString('utf8').split('\0');
  if (!head.includes('@')) return undefined;
  const values = new Map(
    lines
      .filter((line) => line.includes('='))
      .map((line) => [line.slice(0, line.indexOf('=')), line.slice(line.indexOf('=') + 1)]),
  );
  const [action, subsystem, address] = ['ACTION', 'SUBSYSTEM', 'PCI_SLOT_NAME'].map((key) => values.get(key) ?? '');
  return { action: action!, subsystem: subsystem!, address: address! };
}

/** A subscription to the kernel's uevents. */
export class Uevents {
  private readonly native: Native;
  private readonly fd: number;
  private readonly buffer = new Uint8Array(DATAGRAM);
  private open = true;

  /** Throws SystemError `UEVENTS`. */
  constructor(native: Native) {
    this.native = native;
    const address = new Uint8Array(12);
    const view = new DataView(address.buffer);
    view.setUint16(0, AF_NETLINK, true);
    view.setUint32(8, KERNEL_GROUP, true);
    let fd = -1;
    try {
      fd = native.socket(AF_NETLINK, SOCK_RAW, NETLINK_KOBJECT_UEVENT);
      native.bind(fd, address);
    } catch (cause) {
      if (fd >= 0) native.close(fd);
      throw systemError(SystemError, 'UEVENTS', "subscribing to the kernel's device events", cause);
    }
    this.fd = fd;
  }

  /** Takes the events that are there. `lost`: the kernel had to throw some away, only sysfs tells how things are. */
  receive(): { readonly events: Uevent[]; readonly lost: boolean } {
    const events: Uevent[] = [];
    while (this.open) {
      let length: number;
      try {
        length = this.native.receive(this.fd, this.buffer);
      } catch (error) {
        if (errnoName(error) === 'ENOBUFS') return { events, lost: true };
        throw systemError(SystemError, 'UEVENTS', "reading the kernel's device events", error);
      }
      if (length < 0) break;
      if (length > DATAGRAM) return { events, lost: true };
      const event = parseUevent(this.buffer.subarray(0, length));
      if (event !== undefined) events.push(event);
    }
    return { events, lost: false };
  }

  close(): void {
    if (this.open) this.native.close(this.fd);
    this.open = false;
  }
}
