import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { readMachine } from '../../bench/machine.ts';
import { packageRoot } from '../../bench/root.ts';
import { buildYardstick, compilerArguments, openYardstick } from '../../bench/yardstick.ts';

test('the instruction set is named on x64 only', () => {
  expect(compilerArguments('x64', 'a.cc', 'a')).toContain('-march=x86-64-v2');
  expect(compilerArguments('arm64', 'a.cc', 'a').join(' ')).not.toContain('-march');
});

describe('a compiler that is not there', () => {
  let root: string;
  beforeEach(() => {
    root = mkdtempSync(join(tmpdir(), 'yardstick-'));
  });
  afterEach(() => rmSync(root, { recursive: true }));

  test('is an error that says what to install', async () => {
    await expect(buildYardstick(root, '/nonexistent/c++')).rejects.toMatchObject({ code: 'YARDSTICK_NOT_BUILT' });
  });
});

describe('the C++ loop', () => {
  const [cpu] = readMachine().cpus as [number];

  test.each(['null', 'loop'] as const)(
    'forwards over %s when asked, and loses nothing',
    { timeout: 60_000 },
    async (port) => {
      const yardstick = await openYardstick(await buildYardstick(packageRoot()), { port, burst: 32, frames: 512, cpu });
      const sample = await yardstick.sample(20);
      expect(sample.ns).toBeGreaterThanOrEqual(20e6);
      expect(sample.packets).toBeGreaterThan(0);
      expect(await yardstick.close()).toEqual({ faults: [] });
    },
  );

  test('refuses what it cannot do', { timeout: 60_000 }, async () => {
    const binary = await buildYardstick(packageRoot());
    await expect(openYardstick(binary, { port: 'null', burst: 0, frames: 0, cpu: 0 })).rejects.toThrow(/usage/);
  });
});
