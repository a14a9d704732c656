/** AF_XDP sockets that can be bound to one interface only (socket(7), SO_BINDTODEVICE). */
import type { Native } from '../../native/index.ts';
import { LocalRights } from '../devios/xsk-rights.ts';
import { AF_XDP } from '../drivers/xdp/regs.ts';
import { DevioError } from '../errors.ts';
import type { Link } from '../netlink/rtnetlink.ts';
import { errnoName, systemError } from '../system-error.ts';

const SOL_SOCKET = 1;
/** SO_BINDTODEVICE by index. Without CAP_NET_RAW, nobody can set it to something else later. */
const SO_BINDTOIFINDEX = 62;
/** An interface that there is not. */
const NOWHERE = 0x7fff_ffff;

/** Privileges whose sockets are good for this interface and no other, whoever has them. */
export class ConfinedRights extends LocalRights {
  private readonly sockets: Native;
  private readonly only: number;

  constructor(native: Native, index: number, link: () => Link | undefined) {
    super(native, index, link);
    this.sockets = native;
    this.only = index;
  }

  override async openSocket(queue: number, busyPoll: boolean): Promise<number> {
    const fd = await super.openSocket(queue, busyPoll);
    try {
      this.sockets.setsockopt(fd, SOL_SOCKET, SO_BINDTOIFINDEX, new Uint8Array(Uint32Array.of(this.only).buffer));
      checkConfined(this.sockets, fd);
      return fd;
    } catch (cause) {
      this.sockets.close(fd);
      throw systemError(DevioError, 'XSK_SOCKET', 'confining an AF_XDP socket to its interface', cause);
    }
  }
}

/** Kernels before 6.5 (and their stable branches of that time) let such a socket be bound to any interface. */
function checkConfined(native: Native, fd: number): void {
  const address = new Uint8Array(16);
  const view = new DataView(address.buffer);
  view.setUint16(0, AF_XDP, true);
  view.setUint32(4, NOWHERE, true);
  try {
    native.bind(fd, address);
  } catch (error) {
    // Refused for being another interface, before it is looked for.
    if (errnoName(error) === 'EINVAL') return;
  }
  throw new DevioError('GRANT_KERNEL', {
    what: 'grant',
    why: 'this kernel lets an AF_XDP socket be bound to other interfaces than the one that it was made for',
    fix: 'use Linux 6.5 or later',
  });
}
