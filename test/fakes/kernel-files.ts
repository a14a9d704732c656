/**
 * A kernel of the tests' own, as far as `VfioKernel` goes: files by path that objects of a test stand behind. Each has a
 * true fd. It keeps a journal of the calls, may fail any of them, and knows what is open.
 */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { constants } from 'node:os';
import { dirname } from 'node:path';
import type { VfioKernel } from '../../lib/vfio/kernel.ts';
import { loadNative, type Pointer } from '../../native/index.ts';

/** An open file. What it does not have fails with EINVAL. */
export interface KernelFile {
  /** As the journal calls it. */
  readonly name: string;
  /** A true fd of its own that it has chosen: something can be mapped of it. */
  readonly fd?: number;
  /** The request's name for the journal, and how to do it; undefined: ENOTTY. */
  request?(
    request: number,
  ): { readonly name: string; run(argument: Argument, pointers: readonly Pointer[]): number } | undefined;
  read?(bytes: Uint8Array, position: number): number;
  write?(bytes: Uint8Array, position: number): number;
  close?(): void;
}

export type Argument = Uint8Array | number;

/** The error of a failed call. */
export function errno(name: keyof typeof constants.errno, syscall = 'ioctl'): Error {
  return Object.assign(new Error(`${name} of the tests' own`), { syscall, errno: -constants.errno[name], code: name });
}

export class KernelFiles implements VfioKernel {
  readonly native = loadNative();
  /** Every call since the journal was emptied last, in order. */
  journal: string[] = [];
  /** Asked before each call: the name of the error with which it is to fail. */
  fault: (call: string, index: number) => keyof typeof constants.errno | undefined = () => undefined;
  private readonly openers = new Map<string, () => KernelFile>();
  private readonly files = new Map<number, KernelFile>();
  private calls = 0;

  /** There is a file at `path`, below a folder of the test's own: what stands behind it is made anew at each open. */
  offer(path: string, open: () => KernelFile): void {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, '');
    this.openers.set(path, () => {
      if (!existsSync(path)) throw errno('ENOENT', 'open');
      return open();
    });
  }

  /** As `offer`, of a file whose place is fixed: nothing is put there. */
  pretend(path: string, open: () => KernelFile): void {
    this.openers.set(path, open);
  }

  /** What is open, in the order of opening. */
  get opened(): string[] {
    return [...this.files.values()].map(({ name }) => name);
  }

  fds(): number[] {
    return [...this.files.keys()];
  }

  /** The open file behind `fd`. */
  at(fd: number): KernelFile | undefined {
    return this.files.get(fd);
  }

  /** Calls from now on are counted from 0, and the journal is empty. */
  restart(): void {
    this.calls = 0;
    this.journal = [];
  }

  adopt(file: KernelFile): number {
    const fd = file.fd ?? this.native.eventfd();
    this.files.set(fd, file);
    return fd;
  }

  open(path: string): number {
    this.enter(`open ${path}`, 'open');
    return this.opening(path);
  }

  openLog(path: string): number {
    this.enter(`open log ${path}`, 'open');
    return this.opening(path);
  }

  private opening(path: string): number {
    const opener = this.openers.get(path);
    if (opener === undefined) throw errno('ENOENT', 'open');
    return this.adopt(opener());
  }

  /** As Linux has it, the fd is gone even when closing fails. */
  close(fd: number): void {
    const file = this.files.get(fd);
    if (file === undefined) throw errno('EBADF', 'close');
    this.files.delete(fd);
    this.native.close(fd);
    file.close?.();
    this.enter(`close ${file.name}`, 'close');
  }

  ioctl(fd: number, request: number, argument: Argument, pointers: readonly Pointer[] = []): number {
    const file = this.files.get(fd);
    const known = file?.request?.(request);
    this.enter(`${file?.name} ${known?.name ?? `request ${request.toString(16)}`}`, 'ioctl');
    if (file === undefined) throw errno('EBADF');
    if (known === undefined) throw errno('ENOTTY');
    return known.run(argument, pointers);
  }

  read(fd: number, bytes: Uint8Array, position: number): number {
    const file = this.files.get(fd);
    this.enter(`${file?.name} read ${position}`, 'read');
    if (file?.read === undefined) throw errno('EINVAL', 'read');
    return file.read(bytes, position);
  }

  readNow(fd: number, bytes: Uint8Array): number {
    const file = this.files.get(fd);
    try {
      this.enter(`${file?.name} read on`, 'read');
      return file?.read?.(bytes, 0) ?? -constants.errno.EINVAL;
    } catch (error) {
      return (error as { errno: number }).errno;
    }
  }

  write(fd: number, bytes: Uint8Array, position: number): number {
    const file = this.files.get(fd);
    this.enter(`${file?.name} write ${position}`, 'write');
    if (file?.write === undefined) throw errno('EINVAL', 'write');
    return file.write(bytes, position);
  }

  eventfd(): number {
    this.enter('eventfd', 'eventfd');
    return this.adopt({ name: 'eventfd' });
  }

  epollCreate(): number {
    this.enter('epoll', 'epoll_create');
    return this.adopt({ name: 'epoll', fd: this.native.epollCreate() });
  }

  epollAdd(epoll: number, fd: number): void {
    this.enter('epoll add', 'epoll_ctl');
    this.native.epollAdd(epoll, fd);
  }

  /** Not in the journal: it is asked again and again. */
  epollWait(epoll: number, us: number): number {
    return this.native.epollWait(epoll, us);
  }

  private enter(call: string, syscall: string): void {
    this.journal.push(call);
    const failure = this.fault(call, this.calls++);
    if (failure !== undefined) throw errno(failure, syscall);
  }
}
