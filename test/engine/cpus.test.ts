import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, it } from 'vitest';
import { parseCpuList, readCpus } from '../../lib/engine/cpus.ts';
import { ranges } from '../../lib/engine/plan.ts';
import type { Native } from '../../native/index.ts';

let sys: string;
beforeEach(() => {
  sys = mkdtempSync(join(tmpdir(), 'linecard-sys-'));
});
afterEach(() => rmSync(sys, { recursive: true }));

const native = { affinity: () => [0, 2] } as Native;
function write(path: string, text: string): void {
  const file = join(sys, 'devices/system', path);
  mkdirSync(join(file, '..'), { recursive: true });
  writeFileSync(file, text);
}

it.each<[string, number[]]>([
  ['', []],
  ['\n', []],
  ['3\n', [3]],
  ['0-3\n', [0, 1, 2, 3]],
  ['0-1,4,6-7\n', [0, 1, 4, 6, 7]],
])('reads the kernel list %j', (text, cpus) => {
  expect(parseCpuList(text)).toEqual(cpus);
  expect(parseCpuList(ranges(cpus))).toEqual(cpus);
});

it('reads what exists, what is isolated, and which node each cpu is of', () => {
  write('cpu/online', '0-3\n');
  write('cpu/isolated', '2-3\n');
  write('node/node0/cpulist', '0-1\n');
  write('node/node1/cpulist', '2-3\n');
  write('node/possible', '0-1\n');
  expect(readCpus(native, undefined, sys)).toEqual({
    ...{ present: [0, 1, 2, 3], allowed: [0, 2], isolated: [2, 3], chosen: undefined },
    nodes: new Map([
      [0, 0],
      [1, 0],
      [2, 1],
      [3, 1],
    ]),
  });
});

it('makes do with a kernel that says nothing: what is allowed exists', () => {
  expect(readCpus(native, [2], sys)).toEqual({
    present: [0, 2],
    allowed: [0, 2],
    isolated: [],
    chosen: [2],
    nodes: new Map(),
  });
});
