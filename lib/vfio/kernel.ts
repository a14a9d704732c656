/** What VFIO needs of the kernel: files and their requests. One place, so that tests can stand in for it. Control half. */
import { constants, openSync, readSync, writeSync } from 'node:fs';
import type { Native } from '../../native/index.ts';
import { doAll } from '../do-all.ts';

/** The kernel, as far as VFIO goes. Everything throws with `syscall` and `errno`. */
export interface VfioKernel {
  /** Opens a file to read and write; the caller owns the fd. */
  open(path: string): number;
  /** Opens a file to read what is there, without waiting for more. */
  openLog(path: string): number;
  close(fd: number): void;
  ioctl: Native['ioctl'];
  /** Reads at `position`; returns how many bytes. */
  read(fd: number, bytes: Uint8Array, position: number): number;
  readNow: Native['readNow'];
  write(fd: number, bytes: Uint8Array, position: number): number;
  eventfd(): number;
  epollCreate(): number;
  epollAdd(epoll: number, fd: number): void;
  epollWait(epoll: number, us: number): number;
}

/** Closes all of `fds`, whatever becomes of the others, then throws the first error if there was one. */
export const closeAll = (kernel: Pick<VfioKernel, 'close'>, fds: readonly number[]): void =>
  doAll(fds.map((fd) => () => kernel.close(fd)));

/** The kernel that runs. */
export function vfioKernel(native: Native): VfioKernel {
  return {
    open: (path) => openSync(path, 'r+'),
    openLog: (path) => openSync(path, constants.O_RDONLY | constants.O_NONBLOCK),
    close: (fd) => native.close(fd),
    ioctl: (fd, request, argument, pointers) => native.ioctl(fd, request, argument, pointers),
    read: (fd, bytes, position) => readSync(fd, bytes, 0, bytes.length, position),
    readNow: (fd, bytes) => native.readNow(fd, bytes),
    write: (fd, bytes, position) => writeSync(fd, bytes, 0, bytes.length, position),
    eventfd: () => native.eventfd(),
    epollCreate: () => native.epollCreate(),
    epollAdd: (epoll, fd) => native.epollAdd(epoll, fd),
    epollWait: (epoll, us) => native.epollWait(epoll, us),
  };
}
