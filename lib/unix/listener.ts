/** Listens on a unix socket that only those whom it is for can reach. Main thread. */
import { fchmodSync, lchownSync, lstatSync, unlinkSync } from 'node:fs';
import { type Native, type NativeUnixSocket, UNIX_EVENT } from '../../native/index.ts';
import { SystemError } from '../errors.ts';
import { errnoName, systemError } from '../system-error.ts';
import { AF_UNIX, type Peer, SOCKET_TYPE, sockaddrUn, type UnixKind } from './address.ts';
import { UnixConnection } from './connection.ts';

const BACKLOG = 16;
/** Accepted at one go, so that others get their turn. */
const AT_ONCE = 64;
/** How long to leave it when this process can open no more. */
const PAUSE_MS = 100;

/** How to listen, and who is told. */
export interface ListenOptions {
  readonly path: string;
  readonly kind?: UnixKind | undefined;
  /** Mode of the socket's file, of which the umask is taken away; 0600 if absent. */
  readonly mode?: number | undefined;
  /** Uid whom the file is given to; this process's if absent. */
  readonly owner?: number | undefined;
  /** Uids that may connect; if absent, whom the file's mode lets. */
  readonly uids?: readonly number[] | undefined;
  /** How many connections there may be at a time; 16 if absent. */
  readonly most?: number | undefined;
  /** Somebody connected; the connection is the callee's. */
  connected(connection: UnixConnection): void;
  /** Somebody was turned away. */
  refused?(peer: Peer, why: string): void;
  /** Somebody could not be accepted; it is tried again. */
  failed?(error: Error): void;
}

interface Identity {
  readonly dev: bigint;
  readonly ino: bigint;
}

const identity = (path: string): Identity | undefined => lstatSync(path, { bigint: true, throwIfNoEntry: false });
const same = (a: Identity | undefined, b: Identity | undefined): boolean =>
  a !== undefined && b !== undefined && a.dev === b.dev && a.ino === b.ino;

/** Whether somebody listens at `address`. Who may not ask takes it for yes. */
function answers(native: Native, address: Uint8Array, kind: UnixKind): boolean {
  const fd = native.socket(AF_UNIX, SOCKET_TYPE[kind], 0);
  try {
    native.connect(fd, address);
    return true;
  } catch (error) {
    return !['ECONNREFUSED', 'ENOENT'].includes(errnoName(error) ?? '');
  } finally {
    native.close(fd);
  }
}

/** Removes what a listener that died has left at `path`; throws `UNIX_PATH_TAKEN` when it is something else. */
function removeStale(native: Native, path: string, address: Uint8Array, kind: UnixKind): void {
  const what = `listening on ${path}`;
  const found = lstatSync(path, { bigint: true, throwIfNoEntry: false });
  if (found === undefined) return;
  if (!found.isSocket()) {
    const why = found.isSymbolicLink() ? 'a symbolic link is there' : 'something that is not a socket is there';
    throw new SystemError('UNIX_PATH_TAKEN', { what, why, fix: 'remove it, or use another path' });
  }
  if (answers(native, address, kind)) {
    throw new SystemError('UNIX_PATH_TAKEN', {
      what,
      why: 'somebody listens there',
      fix: 'end it, or use another path',
    });
  }
  if (same(found, identity(path))) unlinkSync(path);
}

/** Makes the socket's file, with its mode and owner before anybody can connect: until it listens, nobody can. */
function bindFile(native: Native, fd: number, kind: UnixKind, options: ListenOptions): void {
  const { path, mode = 0o600, owner } = options;
  const address = sockaddrUn(path);
  // Linux makes the file with the mode of the socket's own inode, less the umask.
  fchmodSync(fd, mode);
  try {
    native.bind(fd, address);
  } catch (error) {
    if (errnoName(error) !== 'EADDRINUSE') throw error;
    removeStale(native, path, address, kind);
    native.bind(fd, address);
  }
  if (owner !== undefined) lchownSync(path, owner, -1);
}

/** A listening socket. Belongs to whoever opened it, until `close`. */
export class UnixListener {
  readonly path: string;
  private readonly native: Native;
  private readonly options: ListenOptions;
  private readonly kind: UnixKind;
  private readonly socket: NativeUnixSocket;
  private readonly file: Identity | undefined;
  private open = true;
  private connections = 0;
  private pause: NodeJS.Timeout | undefined;

  /** Throws `UNIX_PATH`, `UNIX_PATH_TAKEN`, `UNIX_LISTEN`. */
  constructor(native: Native, options: ListenOptions) {
    this.native = native;
    this.options = options;
    this.path = options.path;
    this.kind = options.kind ?? 'stream';
    sockaddrUn(this.path);
    let fd = -1;
    let file: Identity | undefined;
    try {
      fd = native.socket(AF_UNIX, SOCKET_TYPE[this.kind], 0);
      bindFile(native, fd, this.kind, options);
      file = identity(this.path);
      native.listen(fd, BACKLOG);
      if (!same(file, identity(this.path))) throw taken(this.path);
      this.socket = new native.UnixSocket(fd);
    } catch (cause) {
      if (fd >= 0) native.close(fd);
      if (file !== undefined && same(file, identity(this.path))) unlinkSync(this.path);
      throw systemError(SystemError, 'UNIX_LISTEN', `listening on ${this.path}`, cause, {
        ENOENT: 'make its folder first',
        EACCES: 'this user may not write to its folder: use another path',
        EPERM: 'run as root, or leave the owner out',
        EADDRINUSE: 'somebody else took it this moment: try again',
      });
    }
    this.file = file;
    this.watch();
  }

  private watch(): void {
    this.pause = undefined;
    if (this.open) this.socket.watch(UNIX_EVENT.readable, () => this.accept());
  }

  private accept(): void {
    for (let i = 0; i < AT_ONCE && this.open; i++) {
      try {
        const fd = this.socket.accept();
        if (fd < 0) return;
        this.admit(new UnixConnection(this.native, fd, this.kind, () => this.connections--));
      } catch (cause) {
        // EMFILE: it would be readable all the time, and accepting it would fail all the time.
        if (this.open) this.socket.watch(0);
        this.pause ??= setTimeout(() => this.watch(), PAUSE_MS);
        const error = systemError(SystemError, 'UNIX_LISTEN', `accepting on ${this.path}`, cause, {
          EMFILE: 'raise the limit of open files: ulimit -n',
        });
        this.options.failed?.(error);
        return;
      }
    }
  }

  private admit(connection: UnixConnection): void {
    const { uids, most = 16 } = this.options;
    const { peer } = connection;
    this.connections++;
    const stranger = uids !== undefined && !uids.includes(peer.uid);
    if (stranger || this.connections > most) {
      connection.close();
      this.options.refused?.(peer, stranger ? `uid ${peer.uid} may not connect` : `${most} are connected`);
    } else this.options.connected(connection);
  }

  /** Ends listening; who is connected stays so. The file is removed if it is still ours. Idempotent. */
  close(): void {
    if (!this.open) return;
    this.open = false;
    clearTimeout(this.pause);
    this.socket.close();
    if (same(this.file, identity(this.path))) unlinkSync(this.path);
  }
}

function taken(path: string): SystemError {
  const fix = 'start only one at a time';
  return new SystemError('UNIX_PATH_TAKEN', { what: `listening on ${path}`, why: 'somebody replaced the file', fix });
}
