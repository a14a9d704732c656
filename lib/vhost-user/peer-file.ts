/** What an fd that a peer sent really is: nothing that it says about it is believed. Main thread. */
import { fstatSync, readlinkSync, statfsSync } from 'node:fs';
import { refusal } from './refusal.ts';

const PAGE = 4096;
const HUGETLBFS_MAGIC = 0x9584_58f6;
/** The largest page there is. */
const MOST_PAGE = 2 ** 30;

/** A file of the peer's that may be mapped. The fd is somebody else's. */
export interface PeerFile {
  readonly fd: number;
  readonly bytes: number;
  /** Its pages are of this size. */
  readonly page: number;
  /** The same for two fds of one file. */
  readonly identity: string;
}

/** Looks at the file behind `fd`. Throws a refusal unless it is one that has memory. */
export function peerFile(fd: number): PeerFile {
  const { dev, ino, size, mode } = fstatSync(fd, { bigint: true });
  if ((mode & 0o170000n) !== 0o100000n) throw refusal('memory', 'its fd is no file', 'VHOST_BAD_FD');
  const { type, bsize } = statfsSync(`/proc/self/fd/${fd}`);
  const huge = type === HUGETLBFS_MAGIC;
  if (huge && (bsize > MOST_PAGE || !Number.isInteger(Math.log2(bsize))))
    throw refusal('memory', `its pages have ${bsize} bytes`, 'VHOST_BAD_FD');
  return { fd, bytes: Number(size), page: huge ? bsize : PAGE, identity: `${dev}:${ino}` };
}

/** Throws a refusal unless [offset, offset + bytes) is part of the file. */
export function checkPart(file: PeerFile, offset: number, bytes: number): void {
  if (offset + bytes <= file.bytes) return;
  throw refusal('memory', `bytes ${offset} to ${offset + bytes} of a file of ${file.bytes}`, 'VHOST_SHORT_FILE');
}

/** Throws a refusal unless the fd is one that is signalled: an eventfd or a pipe. */
export function checkSignal(message: string, fd: number): void {
  if (fstatSync(fd).isFIFO()) return;
  const target = readlinkSync(`/proc/self/fd/${fd}`);
  if (target === 'anon_inode:[eventfd]') return;
  throw refusal(message, `its fd is ${target}, not an eventfd or a pipe`, 'VHOST_BAD_FD');
}

/** Throws a refusal unless the fd is a socket. */
export function checkSocket(message: string, fd: number): void {
  if (fstatSync(fd).isSocket()) return;
  throw refusal(message, 'its fd is no socket', 'VHOST_BAD_FD');
}
