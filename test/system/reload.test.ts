/** `linecard reload` as a user runs it: drivers of an engine that forwards are exchanged from outside. */
import { chmodSync, existsSync, mkdtempSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { beforeEach, describe, expect, onTestFinished, test } from 'vitest';
import { Command, linecard } from '../fakes/command.ts';

const dist = (path: string) => new URL(`../../dist/lib/${path}`, import.meta.url).href;
let folder = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'linecard-reload-'));
  chmodSync(folder, 0o755);
  onTestFinished(() => rmSync(folder, { recursive: true }));
});

/** Writes a release of one of linecard's drivers, which differs by its version; returns the module's path. */
function release(driver: string, make: string, version: string, before = ''): string {
  const path = join(folder, `${driver}-${version}.mjs`);
  writeFileSync(
    path,
    `import { ${make} } from '${dist(`drivers/${driver}/device.js`)}';
     ${before}
     export default () => ({ ...${make}(), version: '${version}' });
     export const driver = { ...${make}(), version: '${version}' };
     export const nothing = 5;
     export const broken = () => { throw new Error('not today'); };`,
  );
  return path;
}

/** An engine that forwards between its ports, and listens at `control`. */
async function engine(...ports: string[]): Promise<{ readonly command: Command; readonly socket: string }> {
  const socket = join(folder, 'control');
  const command = new Command(['l2fwd', '--control', socket, '-T', '0.2', ...ports], { deadlineMs: 60_000 });
  await command.says(/Mpps|kpps|pps/);
  return { command, socket };
}

const reload = (socket: string, ...args: string[]) => linecard(['reload', '--socket', socket, ...args]);

async function stop(command: Command) {
  command.kill('SIGINT');
  const ended = await command.ended;
  expect(ended).toMatchObject({ code: 0, signal: null });
  expect(ended.stdout).toContain('Ledger: balanced');
  return ended;
}

describe('A driver under traffic', () => {
  test('is exchanged, and the ports go on; what became of its devices is told', async () => {
    const { command, socket } = await engine('loop:a', 'null:b');
    expect(statSync(socket).mode & 0o777).toBe(0o600);
    const { code, stdout } = await reload(socket, 'null', release('null', 'nullDriver', '1.0.1'));
    expect(code).toBe(0);
    expect(stdout).toMatch(
      /^null 1\.0\.0 → 1\.0\.1: 1 device, [\d,]+ frames? lost, \d+ ms\n {2}memory\/\S+: reset, and set up anew\n$/,
    );
    // The same file, in a release of its own: it is read again.
    const path = release('loop', 'loopDriver', '1.1.0');
    expect((await reload(socket, 'loop', path, '-j')).stdout).toMatch(
      /^\{"driver":"loop","before":"1\.0\.0","version":"1\.1\.0"/,
    );
    writeFileSync(path, `export { driver as default } from ${JSON.stringify(release('loop', 'loopDriver', '1.2.0'))};`);
    expect((await reload(socket, 'loop', path)).stdout).toMatch(/^loop 1\.1\.0 → 1\.2\.0/);
    await command.says(/driver loop: 1\.1\.0 → 1\.2\.0/, 'stderr');
    await stop(command);
    expect(existsSync(socket)).toBe(false);
  });

  test('of virtio-net goes on with its rings, and loses nothing on the way under traffic', async () => {
    const vhost = join(folder, 'v');
    const { command, socket } = await engine('null:a', `vhost-user:${vhost}`, `virtio-user:${vhost}`, 'null:b');
    const times = Number(process.env.LINECARD_REPLACEMENTS ?? 5);
    for (let i = 1; i <= Math.min(times, 20); i++) {
      const { code, stdout } = await reload(
        socket,
        'virtio-net',
        release('virtio-net', 'virtioNetDriver', `1.0.${i}`),
        '-j',
      );
      expect(code).toBe(0);
      const done = JSON.parse(stdout);
      expect(done).toMatchObject({ before: `1.0.${i - 1}`, version: `1.0.${i}`, devices: [{ how: 'kept' }], lost: 0 });
    }
    await stop(command);
  }, 120_000);
});

describe('What cannot be', () => {
  test('is refused with a reason, and the engine goes on as it was', async () => {
    const { command, socket } = await engine('null:a', 'null:b');
    const refused = async (args: readonly string[]) => {
      const { code, stdout, stderr } = await reload(socket, ...args);
      expect([code, stdout]).toEqual([1, '']);
      return stderr;
    };
    const next = release('null', 'nullDriver', '2.0.0');
    expect(await refused(['nothing', next])).toMatch(
      /^linecard: reload of driver nothing: none of that name is registered; registered are: .*null.* \[NO_SUCH_DRIVER\]$/m,
    );
    expect(await refused(['null', join(folder, 'none.mjs')])).toContain('[MODULE_MISSING]');
    expect(await refused(['null', `${next}#nothing`])).toMatch(
      /exports as nothing is none; .* it exports broken, default, driver, nothing \[NO_DRIVER_IN_MODULE\]/,
    );
    expect(await refused(['null', `${next}#broken`])).toMatch(/makes none \(not today\); .*\[NO_DRIVER_IN_MODULE\]/);
    expect(await refused(['loop', next])).toMatch(/is called null; .*\[NO_DRIVER_IN_MODULE\]/);
    expect(await refused(['null', release('null', 'nullDriver', '1.0.0')])).toContain('[SAME_VERSION]');
    expect(await refused(['null', release('null', 'nullDriver', '0.9')])).toMatch(
      /0\.9, which is older than 1\.0\.0; use --older .*\[OLDER_VERSION\]/,
    );
    const hangs = release('null', 'nullDriver', '3.0.0', 'await new Promise((resolve) => setTimeout(resolve, 1500));');
    const slow = reload(socket, 'null', hangs);
    await new Promise((resolve) => setTimeout(resolve, 700));
    expect(await refused(['null', next])).toMatch(/another reload goes on; .*\[RELOAD_BUSY\]/);
    expect(await slow).toMatchObject({ code: 0 });
    expect((await reload(socket, 'null', `${release('null', 'nullDriver', '0.9')}#driver`, '--older')).stdout).toMatch(
      /^null 3\.0\.0 → 0\.9/,
    );
    await stop(command);
  }, 60_000);

  test('is asked of nobody', async () => {
    const { code, stderr } = await reload(join(folder, 'none'), 'null', 'x.mjs');
    expect(code).toBe(1);
    expect(stderr).toMatch(
      /connecting to .*none: .*; there is no such socket: start who listens on it first \[UNIX_CONNECT\]/,
    );
    expect((await linecard(['reload', 'null', 'x.mjs'])).code).toBe(2);
    expect((await reload(join(folder, 'none'), 'null', '#x')).code).toBe(2);
  });

  test.skipIf(process.getuid?.() !== 0)('is asked by another user (skipped unless root, who can be one)', async () => {
    const { command, socket } = await engine('null:a', 'null:b');
    const asNobody = () =>
      new Command(['reload', '--socket', socket, 'null', join(folder, 'x.mjs')], {
        through: ['setpriv', '--reuid', '65534', '--regid', '65534', '--clear-groups'],
      }).ended;
    expect((await asNobody()).stderr).toMatch(/this user may not.*\[UNIX_CONNECT\]/);
    chmodSync(socket, 0o666);
    expect((await asNobody()).stderr).toMatch(/another user’s, or ended just now.*\[CONTROL_LOST\]/);
    await command.says(/turned away process \d+ of uid 65534/, 'stderr');
    await stop(command);
  });
});
