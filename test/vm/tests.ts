/** Tests that boot a guest: they need QEMU, busybox and root (which the guest's root is read as). In CI they must run. */
import { spawnSync } from 'node:child_process';
import { test } from 'vitest';

/** Tools, and the Debian packages that have them. `.ci/packages` has what they need in turn. */
const TOOLS = {
  'qemu-system-x86_64': 'qemu-system-x86',
  busybox: 'busybox-static',
  cpio: 'cpio',
  modprobe: 'kmod',
  xz: 'xz-utils',
  python3: 'python3',
  gcc: 'gcc',
  make: 'make',
};

const missing = Object.entries(TOOLS).flatMap(([tool, name]) =>
  spawnSync(tool, ['--help'], { stdio: 'ignore' }).error === undefined ? [] : [name],
);
const reasons = [
  ...(process.getuid?.() === 0 ? [] : ['needs root']),
  ...(missing.length > 0 ? [`apt-get install ${missing.join(' ')}`] : []),
];

/** True when guests can be booted here. */
export const haveGuests = reasons.length === 0 || process.env.CI !== undefined;

/** As `test`, for a test that needs a guest. */
export function testWithGuest(name: string, body: () => Promise<void>, timeoutMs = 120_000): void {
  if (haveGuests) test(name, body, timeoutMs);
  else test.skip(`${name} (skipped: ${reasons.join(', and ')})`, body);
}
