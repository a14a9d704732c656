/** Addresses of unix sockets, and who is at the other end (unix(7)). */
import type { Native } from '../../native/index.ts';
import { SystemError } from '../errors.ts';

export const AF_UNIX = 1;
const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
/** Bytes of sockaddr_un.sun_path, its NUL among them. */
const PATH_BYTES = 108;

/** A stream of bytes, or records that keep their limits. */
export type UnixKind = 'stream' | 'seqpacket';
/** SOCK_STREAM, SOCK_SEQPACKET. */
export const SOCKET_TYPE: Readonly<Record<UnixKind, number>> = { stream: 1, seqpacket: 5 };

/** Who connected (or, seen from there, who listened), as the kernel noted it then. */
export interface Peer {
  /** 0 when it is in another pid namespace. */
  readonly pid: number;
  readonly uid: number;
  readonly gid: number;
}

/** The sockaddr_un of a path. Throws `UNIX_PATH`: empty, with a NUL, or longer than 107 bytes. */
export function sockaddrUn(path: string): Uint8Array {
  const bytes = Buffer.from(path);
  if (bytes.length === 0 || bytes.includes(0) || bytes.length >= PATH_BYTES) {
    throw new SystemError('UNIX_PATH', {
      what: `socket path ${JSON.stringify(path)}`,
      why: `it has ${bytes.length} bytes, and 1 to ${PATH_BYTES - 1} that are not NUL are possible`,
      fix: 'use a shorter path, such as /run/NAME.sock',
    });
  }
  const address = new Uint8Array(2 + bytes.length + 1);
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(bytes, 2);
  return address;
}

/** Reads SO_PEERCRED of a connected socket. */
export function peerOf(native: Native, fd: number): Peer {
  const ucred = new Uint8Array(12);
  native.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, ucred);
  const view = new DataView(ucred.buffer);
  return { pid: view.getInt32(0, true), uid: view.getUint32(4, true), gid: view.getUint32(8, true) };
}
