/** Pairs of unix sockets in a temporary folder: ours, and a peer that may do what it likes. */
import { closeSync, readFileSync } from 'node:fs';
import { afterEach } from 'vitest';
import { AF_UNIX, SOCKET_TYPE, sockaddrUn, type UnixKind } from '../../lib/unix/address.ts';
import { UnixConnection } from '../../lib/unix/connection.ts';
import { type Native, type NativeUnixSocket, UNIX_RECEIVE } from '../../native/index.ts';

/** The other end, without manners. */
export interface RawPeer {
  readonly socket: NativeUnixSocket;
  /** Sends bytes, all at once, with fds, which are still the caller's. */
  send(bytes: Uint8Array | string, fds?: readonly number[]): void;
}

let made = 0;

/** Makes pairs; all are closed after each test. */
export function unixPairs(native: Native, inFolder: (name: string) => string) {
  const open: { close(): void }[] = [];
  afterEach(() => {
    for (const socket of open.splice(0)) socket.close();
  });

  function sockets(kind: UnixKind): [number, number] {
    const address = sockaddrUn(inFolder(`pair-${made++}`));
    const listening = native.socket(AF_UNIX, SOCKET_TYPE[kind], 0);
    const fd = native.socket(AF_UNIX, SOCKET_TYPE[kind], 0);
    native.bind(listening, address);
    native.listen(listening, 1);
    native.connect(fd, address);
    const listener = new native.UnixSocket(listening);
    const other = listener.accept();
    listener.close();
    return [fd, other];
  }

  return {
    /** Our connection, and a raw peer. */
    withRaw(kind: UnixKind = 'stream'): { ours: UnixConnection; peer: RawPeer } {
      const [a, b] = sockets(kind);
      const ours = new UnixConnection(native, a, kind);
      const socket = new native.UnixSocket(b);
      open.push(ours, socket);
      const send: RawPeer['send'] = (bytes, fds = []) => {
        const data = typeof bytes === 'string' ? Buffer.from(bytes) : bytes;
        if (socket.send(data, Int32Array.from(fds)) !== data.length) throw new Error('the socket is full');
      };
      return { ours, peer: { socket, send } };
    },
    /** Two connections of ours. */
    both(kind: UnixKind = 'stream'): [UnixConnection, UnixConnection] {
      const pair = sockets(kind).map((fd) => new UnixConnection(native, fd, kind));
      open.push(...pair);
      return pair as [UnixConnection, UnixConnection];
    },
  };
}

/** Closes fds that the caller was given. */
export function closeAll(fds: readonly number[] | undefined): void {
  for (const fd of fds ?? []) closeSync(fd);
}

/** Whether an fd is closed by exec. */
export function closesOnExec(fd: number): boolean {
  const flags = /^flags:\s*(\d+)$/m.exec(readFileSync(`/proc/self/fdinfo/${fd}`, 'utf8'))![1];
  return (Number.parseInt(flags!, 8) & 0o2000000) !== 0;
}

/** Takes whatever is there. */
export function drain(socket: NativeUnixSocket, bytes = new Uint8Array(65_536)): number {
  const fds = new Int32Array(254);
  for (let sum = 0; ; ) {
    const n = socket.receive(bytes, fds);
    if (n === UNIX_RECEIVE.nothing || n === 0) return sum;
    sum += Math.max(0, n);
    for (let i = 0; i < fds[0]!; i++) closeSync(fds[1 + i]!);
  }
}
