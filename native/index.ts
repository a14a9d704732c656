/** The addon's typed façade. Loading it is a call, never an import's side effect. */
import { createRequire } from 'node:module';
import { SystemError } from '../lib/errors.ts';

/** What the addon does; see native/src. Offsets and lengths in bytes. Failures throw with `syscall` and `errno`. */
export interface Native {
  /** Maps a new sealed memfd over whole pages of the arena; returns its fd, which the caller owns. */
  mapMemory(arena: Uint8Array, offset: number, length: number, huge: boolean): number;
  /** Maps part of a file, ring or device region over whole pages of the arena. */
  mapFd(arena: Uint8Array, offset: number, length: number, fd: number, fdOffset: number, writable: boolean): void;
  /** Puts zeroed anonymous memory over whole pages of the arena. */
  unmap(arena: Uint8Array, offset: number, length: number): void;
  /**
   * Maps part of a peer's file over whole pages of a window, to read and write; returns a guard. Whoever may truncate the
   * file cannot end this process by it: the mapping reads zeros from then on, and `peerFaulted` says so. With `ones` it is
   * a device's registers, which read ones once the device has gone.
   */
  mapPeer(window: Uint8Array, offset: number, length: number, fd: number, fdOffset: number, ones?: boolean): number;
  /** Puts zeroed memory over what `mapPeer` mapped. Nobody may be using it any more. */
  unmapPeer(window: Uint8Array, offset: number, length: number, guard: number): void;
  /** Whether something of the mapping was missing when it was used. */
  peerFaulted(guard: number): boolean;
  /** The seals of a memfd (F_SEAL_SHRINK is 2); 0 of a file that has none. */
  fileSeals(fd: number): number;
  /** The arena's base address modulo `modulus`. */
  addressRemainder(arena: Uint8Array, modulus: number): number;
  /** A new non-blocking eventfd, owned by the caller. */
  eventfd(): number;
  /** Signals an eventfd; of `INTERRUPT_LINE` and the fd of a function's configuration space, lets its line rise again. */
  notify(fd: number): void;
  /** Takes what there is to read from a file that does not block; returns how many bytes, or a negative errno. Never throws. */
  readNow(fd: number, bytes: Uint8Array): number;
  close(fd: number): void;
  /** Two connected unix stream sockets, non-blocking and close-on-exec, owned by the caller. */
  socketPair(): [number, number];
  /** From now on `fd` means what `by` means, in one step; `by` stays as it is. */
  replaceFd(fd: number, by: number): void;
  /** For whoever else has the same open file too. */
  setNonblocking(fd: number): void;
  /** Locks a file, exclusively unless `shared`, or throws EWOULDBLOCK at once. The lock ends when the file is closed. */
  flock(fd: number, shared?: boolean): void;
  epollCreate(): number;
  /** Adds `fd`, edge-triggered. It may be an epoll set itself: what becomes ready in it wakes this one too. */
  epollAdd(epoll: number, fd: number): void;
  /** Takes `fd` out again; to be done before it is closed when others have the same open file. */
  epollRemove(epoll: number, fd: number): void;
  /** Adds `fd` as `epollAdd` does, or takes it out again. Returns 0 or an errno; never throws. */
  epollWatch(epoll: number, fd: number, on: boolean): number;
  /**
   * Waits for at most `us` microseconds (and never more than a second); returns how many fds are ready. 0 also when a
   * signal came.
   */
  epollWait(epoll: number, us: number): number;
  /** A new close-on-exec, non-blocking socket, owned by the caller. Numbers are those of the kernel's headers. */
  socket(domain: number, type: number, protocol: number): number;
  bind(fd: number, address: Uint8Array): void;
  listen(fd: number, backlog: number): void;
  connect(fd: number, address: Uint8Array): void;
  setsockopt(fd: number, level: number, name: number, value: Uint8Array, pointers?: readonly Pointer[]): void;
  /** Returns how many bytes of `value` were written. */
  getsockopt(fd: number, level: number, name: number, value: Uint8Array): number;
  /** Sends one datagram without blocking. */
  send(fd: number, bytes: Uint8Array): void;
  /** Takes one datagram; returns its length, more than `bytes` has when it did not fit, or -1 when there is none. */
  receive(fd: number, bytes: Uint8Array): number;
  /** Has the kernel send what is in an AF_XDP tx ring. Returns 0 or an errno; never throws. */
  kickTx(fd: number): number;
  /** Has the kernel fill an AF_XDP rx ring. Returns 0 or an errno; never throws. */
  kickRx(fd: number): number;
  bpf(command: number, attr: Uint8Array, pointers?: readonly Pointer[]): number;
  /** `argument`: a structure, or a number that is the argument itself. */
  ioctl(fd: number, request: number, argument: Uint8Array | number, pointers?: readonly Pointer[]): number;
  readonly UnixSocket: new (fd: number) => NativeUnixSocket;
  /** Pins the calling thread to one cpu. */
  setAffinity(cpu: number): void;
  /** Cpus that the calling thread may run on. */
  affinity(): number[];
  setTimerSlack(ns: number): void;
  tid(): number;
  /** RLIMIT_MEMLOCK in bytes; Infinity when unlimited. */
  memlockLimit(): number;
  /** Says where `clock` and `utc` of this thread put their results: four 32-bit words. */
  bindClock(words: Int32Array): void;
  /** Monotonic nanoseconds into words 0 (low) and 1 (high). */
  clock(): void;
  /** Nanoseconds since 1970 into words 2 (low) and 3 (high). */
  utc(): void;
}

/**
 * A unix socket that carries file descriptors. The constructor takes the fd over (RangeError: it is no unix socket; then
 * the fd is still the caller's) and makes it close-on-exec and non-blocking. See native/src/unix-socket.cc.
 */
export interface NativeUnixSocket {
  /** Takes the next connection; returns its fd, the caller's, or -1 when there is none. */
  accept(): number;
  /** Returns how many bytes went, or -1 when none can now. The fds stay the caller's, and go with the first byte. */
  send(bytes: Uint8Array, fds: Int32Array): number;
  /**
   * Returns how many bytes came, 0 at the end of the stream, or one of `UNIX_RECEIVE`. `fds[0]` becomes the number of fds
   * that came with them, and `fds[1]…` are they: close-on-exec, the caller's. There may be one fewer than `fds` is long.
   */
  receive(bytes: Uint8Array, fds: Int32Array): number;
  /** Has the event loop call `callback` whenever one of `events` (`UNIX_EVENT`) holds, until it is told otherwise. */
  watch(events: number, callback?: (events: number) => void): void;
  /** Closes the fd. Nothing is called after it; closing again does nothing. */
  close(): void;
}

/** What `NativeUnixSocket.watch` looks for: libuv's numbers. */
export const UNIX_EVENT = { readable: 1, writable: 2, disconnect: 4 } as const;
/** What `NativeUnixSocket.receive` says: nothing now; fds were lost; a record was longer. All fds that came are closed. */
export const UNIX_RECEIVE = { nothing: -1, fdsLost: -2, recordCut: -3 } as const;

/**
 * Added to the fd of a PCI function's configuration space: `notify` clears bit Interrupt Disable of the command register
 * there (PCI Local Bus 3.0 §6.2.2), which the kernel sets at each interrupt.
 */
export const INTERRUPT_LINE = 2 ** 30;

/** Where in a struct to put the address of which bytes, for the length of a call. */
export type Pointer = readonly [offset: number, bytes: Uint8Array];

// This file runs from native/ (tests) and from dist/native/ (the package).
const PLACES = ['../build/Release/linecard.node', '../../build/Release/linecard.node'];

/** Loads the addon. Throws `NATIVE_MISSING` when it was not built, with the command that builds it. */
export function loadNative(): Native {
  const require = createRequire(import.meta.url);
  const causes: unknown[] = [];
  for (const place of PLACES) {
    try {
      return require(place) as Native;
    } catch (error) {
      causes.push(error);
    }
  }
  const broken = causes.find((e) => (e as NodeJS.ErrnoException).code !== 'MODULE_NOT_FOUND');
  throw new SystemError(
    'NATIVE_MISSING',
    {
      what: 'native addon',
      why: broken === undefined ? 'it has not been built' : (broken as Error).message,
      fix: 'run "npm run build" in the package (needs g++, make and python3)',
    },
    { cause: broken ?? causes[0] },
  );
}

/** The system call that failed and its error number (negative, as libuv has it), or undefined when `error` is something else. */
export function syscallOf(error: unknown): { syscall: string; errno: number } | undefined {
  const { syscall, errno } = error as { syscall?: unknown; errno?: unknown };
  return typeof syscall === 'string' && typeof errno === 'number' ? { syscall, errno } : undefined;
}
