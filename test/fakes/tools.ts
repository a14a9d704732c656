/** Real programs that tests compare with. In CI a missing one is an error; elsewhere its tests are skipped, and say so. */
import { spawnSync } from 'node:child_process';
import { test } from 'vitest';

function installed(name: string): boolean {
  return spawnSync(name, ['--version'], { stdio: 'ignore' }).error === undefined;
}

/** As `test`, for a test that needs the program `tool`. */
export function testWith(tool: string, name: string, body: () => void | Promise<void>, timeoutMs = 20_000): void {
  if (installed(tool) || process.env.CI) test(name, body, timeoutMs);
  else test.skip(`${name} (skipped: ${tool} is not installed)`, body);
}

/** Runs a program; returns what it printed, and throws with it when it failed. */
export function run(tool: string, ...args: string[]): string {
  const { error, status, stdout, stderr } = spawnSync(tool, args, { encoding: 'utf8' });
  if (error) throw new Error(`${tool} is needed by this test: ${error.message}`);
  if (status !== 0) throw new Error(`${tool} ${args.join(' ')} ended with ${status}: ${stderr}`);
  return stdout;
}

/** Whether a test may mount a file system, in a namespace or not: root in a container may not. */
export function mayMount(): boolean {
  if (process.getuid?.() !== 0) return false;
  return spawnSync('unshare', ['-m', 'mount', '-t', 'tmpfs', 'linecard-test', '/mnt']).status === 0;
}

/** Runs `tshark` on a capture; returns one array of the named fields per packet. */
export function tsharkFields(file: string, ...fields: string[]): string[][] {
  const args = fields.flatMap((field) => ['-e', field]);
  const out = run('tshark', '-n', '-r', file, '-T', 'fields', '-E', 'separator=|', ...args);
  return out === ''
    ? []
    : out
        .trimEnd()
        .split('\n')
        .map((line) => line.split('|'));
}
