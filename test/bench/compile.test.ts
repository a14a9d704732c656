import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { compile, compilerArguments } from '../../bench/compile.ts';

test('the instruction set is named on x64 only', () => {
  expect(compilerArguments('x64', 'a.cc', 'a')).toContain('-march=x86-64-v2');
  expect(compilerArguments('arm64', 'a.cc', 'a').join(' ')).not.toContain('-march');
});

describe('a compiler that is not there', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'compile-'));
  });
  afterEach(() => rmSync(root, { recursive: true }));

  test('is an error that says what to install', async () => {
    await expect(compile('yardstick', root, '/nonexistent/c++')).rejects.toMatchObject({ code: 'NOT_COMPILED' });
  });
});
