/** C++ programs of the bench, compiled when they are needed: `bench/native/NAME.cc`. No part of the addon. */
import { execFile } from 'node:child_process';
import { mkdirSync, renameSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { SystemError } from '../lib/errors.ts';
import { packageRoot } from './root.ts';

const COMPILE_MS = 60_000;

/** Returns the compiler's arguments for `arch`, a value of `process.arch`. */
export function compilerArguments(arch: string, source: string, binary: string): string[] {
  // The baseline that distributions compile for, and the one that facts and peers were measured with.
  const machine = arch === 'x64' ? ['-march=x86-64-v2'] : [];
  return ['-std=c++20', '-O3', ...machine, '-Wall', '-Wextra', '-Werror', source, '-o', binary];
}

const modified = (path: string): number => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

/** Compiles a program unless it is newer than its source. Returns the path of the binary. Throws SystemError `NOT_COMPILED`. */
export async function compile(
  name: string,
  root = packageRoot(),
  compiler = process.env.CXX ?? 'g++',
): Promise<string> {
  const file = `bench/native/${name}.cc`;
  const source = join(root, file);
  const binary = join(root, 'build/bench', name);
  if (modified(binary) > modified(source)) return binary;
  const unfinished = `${binary}.${process.pid}`;
  try {
    mkdirSync(dirname(binary), { recursive: true });
    await promisify(execFile)(compiler, compilerArguments(process.arch, source, unfinished), { timeout: COMPILE_MS });
    renameSync(unfinished, binary);
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code === 'ENOENT' ? `${compiler} is not installed` : String(cause);
    const fix = 'install it (Debian: apt-get install g++) or name another compiler in CXX';
    throw new SystemError('NOT_COMPILED', { what: `compiling ${file}`, why, fix }, { cause });
  }
  return binary;
}
