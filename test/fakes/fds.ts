/** What this process has open. */
import { readdirSync, readlinkSync } from 'node:fs';

/** File descriptors by number, and what they are: `anon_inode:[eventfd]`, `/memfd:linecard (deleted)`, a path … */
export function openFds(): Map<number, string> {
  const fds = new Map<number, string>();
  for (const name of readdirSync('/proc/self/fd')) {
    try {
      fds.set(Number(name), readlinkSync(`/proc/self/fd/${name}`));
    } catch {
      // The descriptor by which the directory itself was read: gone by now.
    }
  }
  return fds;
}

/** How many descriptors are open whose target contains `part`. */
export const countFds = (part: string): number =>
  [...openFds().values()].filter((target) => target.includes(part)).length;
