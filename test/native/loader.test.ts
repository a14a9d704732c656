import { spawnSync } from 'node:child_process';
import { copyFileSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../fakes/folder.ts';

const built = (path: string): string => fileURLToPath(new URL(`../../${path}`, import.meta.url));
const inFolder = temporaryFolder();

/** A package with what was built but the addon; `addon` stands in its place. Returns what loading it prints. */
function load(name: string, addon?: string): { code: string; message: string; cause: string } {
  const root = inFolder(name);
  for (const file of ['native/index.js', 'lib/errors.js']) {
    const to = join(root, 'dist', file);
    mkdirSync(dirname(to), { recursive: true });
    copyFileSync(built(`dist/${file}`), to);
  }
  writeFileSync(join(root, 'package.json'), '{"type":"module"}');
  if (addon !== undefined) {
    mkdirSync(join(root, 'build/Release'), { recursive: true });
    writeFileSync(join(root, 'build/Release/linecard.node'), addon);
  }
  const script = `const { loadNative } = await import(${JSON.stringify(join(root, 'dist/native/index.js'))});
    try { loadNative(); } catch ({ code, message, cause }) { console.log(JSON.stringify({ code, message, cause: cause.code })); }`;
  const { stdout, stderr } = spawnSync(process.execPath, ['--input-type=module', '-e', script], { encoding: 'utf8' });
  expect(stderr).toBe('');
  return JSON.parse(stdout);
}

describe('loading the addon', () => {
  it('says which command builds it when it is missing', () => {
    expect(load('missing')).toEqual({
      code: 'NATIVE_MISSING',
      message: 'native addon: it has not been built; run "npm run build" in the package (needs g++, make and python3)',
      cause: 'MODULE_NOT_FOUND',
    });
  });

  it('says what is wrong with one that is there', () => {
    const { code, message, cause } = load('broken', 'rubbish');
    expect(code).toBe('NATIVE_MISSING');
    expect(message).toMatch(/^native addon: .*linecard\.node: .*; run "npm run build" in the package/s);
    expect(cause).toBe('ERR_DLOPEN_FAILED');
  });
});
