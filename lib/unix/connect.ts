/** Connects to a unix socket. Main thread. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Native } from '../../native/index.ts';
import { SystemError } from '../errors.ts';
import { errnoName, systemError } from '../system-error.ts';
import { AF_UNIX, SOCKET_TYPE, sockaddrUn, type UnixKind } from './address.ts';
import { UnixConnection } from './connection.ts';

const RETRY_MS = 5;

/** How to connect. */
export interface ConnectOptions {
  readonly kind?: UnixKind | undefined;
  /** How long to wait for a place in the listener's queue, in ms; 1000 if absent. */
  readonly withinMs?: number | undefined;
}

/** Connects to the socket at `path`. Throws `UNIX_PATH`, `UNIX_CONNECT`. */
export async function connectUnix(native: Native, path: string, options: ConnectOptions = {}): Promise<UnixConnection> {
  const { kind = 'stream', withinMs = 1000 } = options;
  const address = sockaddrUn(path);
  const fd = native.socket(AF_UNIX, SOCKET_TYPE[kind], 0);
  for (const end = performance.now() + withinMs; ; await sleep(RETRY_MS)) {
    try {
      native.connect(fd, address);
      break;
    } catch (cause) {
      // EAGAIN: the queue of connections that nobody has accepted yet is full.
      if (errnoName(cause) === 'EAGAIN' && performance.now() < end) continue;
      native.close(fd);
      throw systemError(SystemError, 'UNIX_CONNECT', `connecting to ${path}`, cause, {
        ENOENT: 'there is no such socket: start who listens on it first',
        ECONNREFUSED: 'nobody listens on it any more: start who did again',
        EACCES: 'this user may not: see its owner and mode with ls -l',
        EPROTOTYPE: 'it is of another type (stream, seqpacket)',
        EAGAIN: 'it accepts nobody: is who listens stuck?',
      });
    }
  }
  return new UnixConnection(native, fd, kind);
}
