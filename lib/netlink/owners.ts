/** Who has what we want: the processes behind an AF_XDP socket, and behind an XDP program. For error messages. */
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import type { Native } from '../../native/index.ts';
import { decodeAttributes, type Message } from './message.ts';
import { NetlinkSocket } from './socket.ts';

const NETLINK_SOCK_DIAG = 4;
const SOCK_DIAG_BY_FAMILY = 20;
const AF_XDP = 44;
/** struct xdp_diag_req: family, protocol, padding, inode, show, cookie (include/uapi/linux/xdp_diag.h). */
const REQUEST = { family: 0, show: 8, size: 20 } as const;
const SHOW_INFO = 1;
/** struct xdp_diag_msg, and its attribute struct xdp_diag_info: interface, queue. */
const MESSAGE = { inode: 4, size: 16 } as const;
const INFO = 1;

/** An AF_XDP socket of this network namespace. */
export interface XdpSocket {
  readonly inode: number;
  readonly index: number;
  readonly queue: number;
}

/** Reads one answer of the kernel; undefined when the socket is not bound, or the answer is malformed. */
export function decodeXdpSocket({ payload }: Message): XdpSocket | undefined {
  if (payload.length < MESSAGE.size) return undefined;
  const info = decodeAttributes(payload, MESSAGE.size).get(INFO);
  if (info === undefined || info.length < 8) return undefined;
  const at = new DataView(info.buffer, info.byteOffset, info.length);
  const inode = new DataView(payload.buffer, payload.byteOffset, payload.length).getUint32(MESSAGE.inode, true);
  return { inode, index: at.getUint32(0, true), queue: at.getUint32(4, true) };
}

async function xdpSockets(native: Native): Promise<XdpSocket[]> {
  const request = new Uint8Array(REQUEST.size);
  request[REQUEST.family] = AF_XDP;
  request[REQUEST.show] = SHOW_INFO;
  const socket = new NetlinkSocket(native, 0, NETLINK_SOCK_DIAG);
  try {
    return (await socket.dump(SOCK_DIAG_BY_FAMILY, request)).map(decodeXdpSocket).filter((s) => s !== undefined);
  } finally {
    socket.close();
  }
}

/** Calls `look` for each fd of each process that we may look into; returns the first process that it says yes to. */
function findProcess(look: (pid: string, fd: string) => boolean): string | undefined {
  for (const pid of readdirSync('/proc').filter((name) => /^\d+$/.test(name))) {
    try {
      if (readdirSync(`/proc/${pid}/fd`).some((fd) => look(pid, fd))) return pid;
    } catch {
      // It has ended, or is not ours to look into.
    }
  }
  return undefined;
}

function processText(pid: string | undefined): string {
  if (pid === undefined) return '';
  return ` (process ${pid}, ${readFileSync(`/proc/${pid}/comm`, 'utf8').trim()})`;
}

const quiet = <T>(action: () => T, otherwise: T): T => {
  try {
    return action();
  } catch {
    return otherwise;
  }
};

/** Says which process has the AF_XDP socket of a queue: ` (process 812, suricata)`, or nothing when it cannot be found. */
export async function queueHolder(native: Native, index: number, queue: number): Promise<string> {
  const sockets = await xdpSockets(native).catch(() => []); // without CONFIG_XDP_SOCKETS_DIAG nobody knows
  const socket = sockets.find((s) => s.index === index && s.queue === queue);
  if (socket === undefined) return '';
  const target = `socket:[${socket.inode}]`;
  const pid = findProcess((p, fd) => quiet(() => readlinkSync(`/proc/${p}/fd/${fd}`) === target, false));
  return quiet(() => processText(pid), '');
}

/** Says which process has the XDP program with that id attached, as `queueHolder` does. */
export function programHolder(program: number): string {
  if (program === 0) return '';
  const line = new RegExp(`^prog_id:\\t${program}$`, 'm');
  const pid = findProcess((p, fd) =>
    quiet(
      () =>
        readlinkSync(`/proc/${p}/fd/${fd}`).includes('bpf') &&
        line.test(readFileSync(`/proc/${p}/fdinfo/${fd}`, 'utf8')),
      false,
    ),
  );
  // By a link that is pinned, by `ip link`, or by a process of another user or pid namespace.
  const nobody = `program ${program}, which no process here has open; perhaps it is pinned: bpftool link show, ls /sys/fs/bpf`;
  return quiet(() => processText(pid), '') || ` (${nobody})`;
}
