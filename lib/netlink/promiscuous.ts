/**
 * Promiscuous mode that ends with its owner: a packet socket's membership (packet(7), PACKET_ADD_MEMBERSHIP). The kernel
 * counts who wants it, and takes ours back when the socket is closed, also by SIGKILL.
 */
import type { Native } from '../../native/index.ts';
import { DevioError } from '../errors.ts';
import { systemError } from '../system-error.ts';

const AF_PACKET = 17;
const SOCK_RAW = 3;
const SOL_PACKET = 263;
const PACKET_ADD_MEMBERSHIP = 1;
const PACKET_MR_PROMISC = 1;
/** struct packet_mreq. */
const MREQ_BYTES = 16;

/** Makes interface `index` promiscuous until the returned fd, the caller's, is closed. Throws `PROMISCUOUS`. */
export function joinPromiscuous(native: Native, index: number, name: string): number {
  let fd = -1;
  try {
    // Protocol 0: the socket itself receives nothing.
    fd = native.socket(AF_PACKET, SOCK_RAW, 0);
    const request = new Uint8Array(MREQ_BYTES);
    const view = new DataView(request.buffer);
    view.setInt32(0, index, true);
    view.setUint16(4, PACKET_MR_PROMISC, true);
    native.setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, request);
    return fd;
  } catch (cause) {
    if (fd >= 0) native.close(fd);
    throw systemError(DevioError, 'PROMISCUOUS', `making ${name} promiscuous`, cause, {
      EPERM: 'run as root, or give node CAP_NET_RAW',
      ENODEV: 'it has gone',
    });
  }
}
