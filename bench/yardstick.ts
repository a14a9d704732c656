/** The same layered loop in C++ (`bench/native/yardstick.cc`): compiled when needed, run as a process of its own. */
import { execFile } from 'node:child_process';
import { mkdirSync, renameSync, statSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { promisify } from 'node:util';
import { SystemError } from '../lib/errors.ts';
import { Child, lastJson } from './child.ts';
import type { Contestant, Sample } from './contestant.ts';
import { packageRoot } from './root.ts';

const SOURCE = 'bench/native/yardstick.cc';
const BINARY = 'build/bench/yardstick';
const COMPILE_MS = 60_000;

/** Which loop to run. */
export interface YardstickOptions {
  /** `null`: frames from a stack and back to it; `loop`: a ring that receives what it is sent. */
  readonly port: 'null' | 'loop';
  readonly burst: number;
  /** Frames that circulate in a ring. */
  readonly frames: number;
  readonly cpu: number;
}

/** Returns the compiler's arguments for `arch`, a value of `process.arch`. */
export function compilerArguments(arch: string, source: string, binary: string): string[] {
  // The baseline that distributions compile for, and the one that facts and peers were measured with.
  const machine = arch === 'x64' ? ['-march=x86-64-v2'] : [];
  return ['-std=c++20', '-O3', ...machine, '-Wall', '-Wextra', '-Werror', source, '-o', binary];
}

const modified = (path: string): number => statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? 0;

/** Compiles the yardstick unless it is newer than its source. Returns the path of the binary. */
export async function buildYardstick(root = packageRoot(), compiler = process.env.CXX ?? 'g++'): Promise<string> {
  const source = join(root, SOURCE);
  const binary = join(root, BINARY);
  if (modified(binary) > modified(source)) return binary;
  const unfinished = `${binary}.${process.pid}`;
  try {
    mkdirSync(dirname(binary), { recursive: true });
    await promisify(execFile)(compiler, compilerArguments(process.arch, source, unfinished), { timeout: COMPILE_MS });
    renameSync(unfinished, binary);
  } catch (cause) {
    const why = (cause as NodeJS.ErrnoException).code === 'ENOENT' ? `${compiler} is not installed` : String(cause);
    const fix = 'install it (Debian: apt-get install g++) or name another compiler in CXX';
    throw new SystemError('YARDSTICK_NOT_BUILT', { what: `compiling ${SOURCE}`, why, fix }, { cause });
  }
  return binary;
}

/** Starts the yardstick. */
export async function openYardstick(binary: string, o: YardstickOptions): Promise<Contestant> {
  const args = [o.port, o.burst, o.frames, o.cpu].map(String);
  const child = new Child({ name: 'yardstick', command: binary, args, quit: '' });
  try {
    await child.expect(/^ready\n/m, 5000);
  } catch (error) {
    await child.close();
    throw error;
  }
  return {
    async sample(ms) {
      child.send(String(ms));
      return lastJson(await child.expect(/^\{.*\}\n/m, ms + 5000)) as Sample;
    },
    async close() {
      const rest = await child.close();
      return { faults: rest === '' ? [] : [rest] };
    },
  };
}
