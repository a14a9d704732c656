/** The README's example, as a reader would try it. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { afterEach, beforeEach, expect, it } from 'vitest';

const root = fileURLToPath(new URL('../..', import.meta.url));
let folder = '';

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'linecard-readme-'));
  mkdirSync(join(folder, 'node_modules'));
  symlinkSync(root, join(folder, 'node_modules/linecard'));
});

afterEach(() => rmSync(folder, { recursive: true }));

it('runs the example application of the README', () => {
  const blocks = readFileSync(join(root, 'README.md'), 'utf8').matchAll(/```js\n\/\/ (\w+\.mjs)[^\n]*\n([\s\S]*?)```/g);
  const files = [...blocks].map(([, name, code]) => {
    writeFileSync(join(folder, name), code);
    return name;
  });
  expect(files).toEqual(['swap.mjs', 'run.mjs']);
  const output = execFileSync(process.execPath, ['run.mjs'], { cwd: folder, encoding: 'utf8', timeout: 15_000 });
  expect(output).toMatch(/^[1-9]\d*n packets, ledger balanced: true\n$/);
});
