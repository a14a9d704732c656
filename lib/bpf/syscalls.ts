/** bpf(2): maps, programs, links, with attributes laid out as in include/uapi/linux/bpf.h (union bpf_attr). Control half. */
import type { Native, Pointer } from '../../native/index.ts';
import { DevioError } from '../errors.ts';
import { systemError } from '../system-error.ts';

const COMMAND = { mapCreate: 0, mapUpdate: 2, mapDelete: 3, programLoad: 5, linkCreate: 28 } as const;
const MAP_TYPE_XSKMAP = 17;
const PROGRAM_TYPE_XDP = 6;
const ATTACH_TYPE_XDP = 37;
const PROGRAM_HAS_FRAGS = 1 << 5;
const LOG_BYTES = 64 * 1024;

/** Where a program runs: in the driver, or behind it on socket buffers (include/uapi/linux/if_link.h). */
export const ATTACH_MODE = { skb: 1 << 1, native: 1 << 2 } as const;

const NEEDS_BPF = 'run as root, or give node CAP_BPF and CAP_NET_ADMIN';

const attr = (bytes: number, words: Readonly<Record<number, number>>): Uint8Array => {
  const view = new DataView(new ArrayBuffer(bytes));
  for (const [at, value] of Object.entries(words)) view.setUint32(Number(at), value, true);
  return new Uint8Array(view.buffer);
};

/** Makes an XSKMAP with `size` entries; returns its fd, the caller's. */
export function createXskMap(native: Native, size: number): number {
  try {
    return native.bpf(COMMAND.mapCreate, attr(72, { 0: MAP_TYPE_XSKMAP, 4: 4, 8: 4, 12: size }));
  } catch (cause) {
    throw systemError(DevioError, 'BPF_MAP', 'creating an XSKMAP', cause, { EPERM: NEEDS_BPF });
  }
}

/** Puts socket `fd` at `key` of the map. */
export function setXskMap(native: Native, map: number, key: number, fd: number): void {
  const words = (value: number) => attr(4, { 0: value });
  const pointers: [number, Uint8Array][] = [
    [8, words(key)],
    [16, words(fd)],
  ];
  try {
    native.bpf(COMMAND.mapUpdate, attr(32, { 0: map }), pointers);
  } catch (cause) {
    throw systemError(DevioError, 'BPF_MAP', `putting a socket into the XSKMAP at ${key}`, cause, { EPERM: NEEDS_BPF });
  }
}

/** Takes the socket at `key` out again; nothing there is no error. */
export function clearXskMap(native: Native, map: number, key: number): void {
  try {
    native.bpf(COMMAND.mapDelete, attr(32, { 0: map }), [[8, attr(4, { 0: key })]]);
  } catch {
    // ENOENT: a closed socket leaves the map by itself
  }
}

/** Loads an XDP program; returns its fd, the caller's. `frags`: it takes packets of several buffers. */
export function loadXdp(native: Native, code: Uint8Array, options: { readonly frags: boolean }): number {
  try {
    return load(native, code, options.frags);
  } catch (cause) {
    const fixes = {
      EPERM: NEEDS_BPF,
      EINVAL: `the kernel says "${complaint(native, code, options.frags)}"; use Linux 5.9 or later`,
    };
    throw systemError(DevioError, 'BPF_PROGRAM', 'loading the XDP program', cause, fixes);
  }
}

function load(native: Native, code: Uint8Array, frags: boolean, log?: Uint8Array): number {
  const license = Buffer.from('Dual MIT/GPL\0');
  const bytes = attr(128, {
    0: PROGRAM_TYPE_XDP,
    4: code.length / 8,
    24: log === undefined ? 0 : 1,
    28: log?.length ?? 0,
    44: frags ? PROGRAM_HAS_FRAGS : 0,
    68: ATTACH_TYPE_XDP,
  });
  bytes.set(Buffer.from('linecard'), 48);
  const pointers: Pointer[] = [
    [8, code],
    [16, license],
  ];
  return native.bpf(COMMAND.programLoad, bytes, log === undefined ? pointers : [...pointers, [32, log]]);
}

/** The verifier's last word. Asked for only when a program was refused: a log that is too small is a refusal too. */
function complaint(native: Native, code: Uint8Array, frags: boolean): string {
  const log = new Uint8Array(LOG_BYTES);
  try {
    native.close(load(native, code, frags, log));
  } catch {
    // What it says is in the log.
  }
  const said = Buffer.from(log).toString('latin1').split('\0', 1)[0].trim().split('\n');
  return said.filter((line) => !line.startsWith('processed ')).at(-1) ?? '';
}

/** Attaches a program to an interface by a link: the kernel detaches it when the returned fd, the caller's, is closed. */
export function attachXdp(native: Native, program: number, ifindex: number, mode: number): number {
  return native.bpf(COMMAND.linkCreate, attr(48, { 0: program, 4: ifindex, 8: ATTACH_TYPE_XDP, 12: mode }));
}
