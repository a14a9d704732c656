import { describe, expect, test } from 'vitest';
import { field, machineLine, parseCpuList, place, readMachine } from '../../bench/machine.ts';

const FILES: Record<string, string> = {
  '/proc/cpuinfo': 'processor\t: 0\nmodel name\t: AMD EPYC 7763\nflags\t\t: fpu sse2 hypervisor lahf_lm\n',
  '/proc/meminfo': 'MemTotal: 1 kB\nHugePages_Total:     512\nHugePages_Free:      500\n',
  '/proc/self/status': 'Name:\tnode\nCpus_allowed_list:\t1-3,6\n',
  '/proc/loadavg': '0.25 0.1 0.0 1/100 200\n',
  '/sys/devices/system/cpu/isolated': '3\n',
};
const read = (path: string): string => FILES[path] ?? '';

test('a kernel’s list of cpus is read', () => {
  expect(parseCpuList('0-2,5\n')).toEqual([0, 1, 2, 5]);
  expect(parseCpuList('7')).toEqual([7]);
  expect(parseCpuList('\n')).toEqual([]);
});

test('a field is found by its whole name', () => {
  expect(field('model\t: 1\nmodel name\t: A: B\n', 'model name')).toBe('A: B');
  expect(field('model\t: 1\n', 'model name')).toBe('');
});

describe('readMachine', () => {
  test('says what explains numbers', () => {
    const machine = readMachine(read, 'abc123+');
    expect(machine).toMatchObject({
      cpu: 'AMD EPYC 7763',
      cpus: [1, 2, 3, 6],
      governor: 'none',
      isolated: '3',
      hypervisor: true,
      hugepages: { total: 512, free: 500 },
      load: 0.25,
      node: process.versions.node,
      commit: 'abc123+',
    });
  });

  test('works where nothing can be read', () => {
    const machine = readMachine(() => '', '');
    expect(machine.cpus.length).toBeGreaterThan(0);
    expect(machine.hugepages).toEqual({ total: 0, free: 0 });
    expect(machineLine(machine)).not.toContain('commit');
  });

  test('fits a line', () => {
    const line = machineLine(readMachine(read, 'abc123+'));
    expect(line).toContain('AMD EPYC 7763 (virtual) · cpus 1,2,3,6 · isolated 3 · governor none · hugepages 500/512');
    expect(line).not.toContain('\n');
  });
});

describe('place', () => {
  test('the loop gets the last cpu, everything else the first', () => {
    expect(place({ cpus: [0, 1, 2, 3], isolated: '' })).toEqual({ main: 0, loop: 3 });
  });

  test('the loop gets an isolated cpu if it may use one', () => {
    expect(place({ cpus: [0, 1, 2, 3], isolated: '1' })).toEqual({ main: 0, loop: 1 });
    expect(place({ cpus: [0, 1], isolated: '7' })).toEqual({ main: 0, loop: 1 });
  });

  test('one cpu has to do for both', () => {
    expect(place({ cpus: [4], isolated: '' })).toEqual({ main: 4, loop: 4 });
  });
});
