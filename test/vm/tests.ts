/** Tests that boot a guest: they need QEMU, busybox and root (which the guest's root is read as). In CI they must run. */
import { spawnSync } from 'node:child_process';
import { test } from 'vitest';

const missing = ['qemu-system-x86_64', 'busybox', 'cpio', 'modprobe'].filter(
  (tool) => spawnSync(tool, ['--help'], { stdio: 'ignore' }).error !== undefined,
);
const reason =
  process.getuid?.() !== 0 ? 'needs root' : missing.length > 0 ? `${missing.join(', ')} not installed` : '';

/** True when guests can be booted here. */
export const haveGuests = reason === '' || (process.env.CI !== undefined && process.getuid?.() === 0);

/** As `test`, for a test that needs a guest. */
export function testWithGuest(name: string, body: () => Promise<void>, timeoutMs = 120_000): void {
  if (haveGuests) test(name, body, timeoutMs);
  else test.skip(`${name} (skipped: ${reason})`, body);
}
