/** Checks of what only ports over sockets and devices need: capabilities and limits. */
import { byteCount } from '../text.ts';
import { type Check, optional } from './check.ts';
import { field, read, type Sources, softLimit } from './sources.ts';

/** It has what CAP_BPF has, too. */
const CAP_SYS_ADMIN = 21;
/** Bit numbers, include/uapi/linux/capability.h, and what each is for. */
const CAPABILITIES: readonly (readonly [name: string, bit: number, purpose: string])[] = [
  ['CAP_NET_RAW', 13, 'packet and AF_XDP sockets'],
  ['CAP_NET_ADMIN', 12, 'attaching XDP programs, promiscuous mode, TAP'],
  ['CAP_BPF', 39, 'loading XDP programs'],
  ['CAP_IPC_LOCK', 14, 'locked memory beyond the limit'],
  ['CAP_SYS_RAWIO', 17, 'PCI devices without an IOMMU: registers'],
  ['CAP_SYS_ADMIN', CAP_SYS_ADMIN, 'PCI devices without an IOMMU: physical addresses (/proc/self/pagemap)'],
];
/** What `linecard grant` has in the place of who runs engines. */
const GRANTED = ['CAP_NET_RAW', 'CAP_NET_ADMIN', 'CAP_BPF'];
/** Frames of the default pool, twice: a umem and a DMA mapping. */
const LOCKED_BYTES = 64 * 2 ** 20;

/** One check per capability, then the limit of locked memory. */
export function privileges({ proc, execPath }: Sources): Check[] {
  const status = read(proc, 'self/status');
  const root = field(status, 'Uid').split(/\s+/)[1] === '0';
  const effective = BigInt(`0x${field(status, 'CapEff') || '0'}`);
  const has = (bit: number) => (effective & (1n << BigInt(bit))) !== 0n;
  const checks = CAPABILITIES.map(([name, bit, purpose]) => {
    const held = has(bit) || (name === 'CAP_BPF' && has(CAP_SYS_ADMIN));
    const without = root ? 'not held, although root: the container or service drops it' : 'not held';
    return optional(name, purpose, {
      ok: held,
      found: `${name} ${held ? 'held' : without}`,
      fix: fixFor(name, root, execPath),
    });
  });
  return [...checks, lockedMemory(proc, has(14))];
}

function fixFor(name: string, root: boolean, execPath: string): string {
  const short = name.toLowerCase();
  if (root) return `docker run --cap-add ${name.slice('CAP_'.length)}, or AmbientCapabilities=${name} in systemd`;
  const all = `run as root, or: sudo setcap ${short}+ep ${execPath} (that is for every script which this Node.js runs)`;
  return GRANTED.includes(name)
    ? `${all}; for AF_XDP ports none is needed with: sudo linecard grant xdp:INTERFACE --to $USER`
    : all;
}

function lockedMemory(proc: string, unlimited: boolean): Check {
  const limit = softLimit(read(proc, 'self/limits'), 'Max locked memory');
  const text = Number.isFinite(limit) ? `limited to ${byteCount(limit)}` : 'not limited';
  return optional('locked-memory', 'DMA and AF_XDP memory', {
    ok: unlimited || limit >= LOCKED_BYTES,
    found: `locked memory ${text}${unlimited && Number.isFinite(limit) ? ', which CAP_IPC_LOCK overrides' : ''}`,
    fix: 'ulimit -l unlimited (as root; /etc/security/limits.conf, or LimitMEMLOCK=infinity in systemd)',
  });
}
