import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { diagnose, doctorJson, doctorLines, healthy } from '../../lib/cli/commands/doctor.ts';
import type { Check } from '../../lib/cli/doctor/check.ts';
import { atLeast, field, type Sources, softLimit } from '../../lib/cli/doctor/sources.ts';
import { SystemError } from '../../lib/errors.ts';
import { temporaryFolder } from '../fakes/folder.ts';

const folder = temporaryFolder();
let trees = 0;

/** A server on which everything is as linecard likes it. */
const SERVER: Readonly<Record<string, string>> = {
  'proc/self/status': 'Name:\tnode\nUid:\t0\t0\t0\t0\nCapEff:\t000001ffffffffff\nCpus_allowed_list:\t0-7\n',
  'proc/self/limits':
    'Limit                     Soft Limit           Hard Limit           Units     \nMax address space         unlimited            unlimited            bytes     \nMax locked memory         unlimited            unlimited            bytes     \n',
  'proc/meminfo': 'MemTotal:       65000000 kB\nMemAvailable:   60000000 kB\n',
  'proc/sys/kernel/osrelease': '6.1.0-30-amd64\n',
  'proc/net/protocols': 'protocol  size sockets\nPACKET    1600      0\nXDP       1088      0\n',
  'proc/filesystems': 'nodev\tsysfs\nnodev\thugetlbfs\n\text4\n',
  'sys/devices/system/cpu/isolated': '2-7\n',
  'sys/devices/system/cpu/cpu0/cpufreq/scaling_governor': 'performance\n',
  'sys/devices/system/cpu/cpu1/cpufreq/scaling_governor': 'performance\n',
  'sys/kernel/mm/hugepages/hugepages-2048kB/nr_hugepages': '512\n',
  'sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages': '480\n',
  'sys/kernel/iommu_groups/0/type': 'DMA\n',
  'sys/class/uio/uio0/name': 'uio_pci_generic\n',
  'dev/vfio/vfio': '',
};

/** A machine that differs from the server in `changes`; an empty path is left out. */
function machine(changes: Readonly<Record<string, string | undefined>> = {}, more: Partial<Sources> = {}): Sources {
  const root = folder(`machine-${trees++}`);
  for (const [path, content] of Object.entries({ ...SERVER, ...changes })) {
    if (content === undefined) continue;
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  const at = (name: string) => join(root, name);
  return {
    proc: at('proc'),
    sys: at('sys'),
    dev: at('dev'),
    nodeVersion: '22.5.0',
    execPath: '/usr/bin/node',
    loadNative: () => ({}),
    ...more,
  };
}

const checksOf = (sources: Sources): Check[] => diagnose(sources).flatMap(({ checks }) => [...checks]);
const check = (sources: Sources, name: string): Check => checksOf(sources).find((c) => c.name === name) as Check;

describe('the doctor', () => {
  test('finds nothing missing on a server that has everything', () => {
    expect(checksOf(machine()).filter(({ ok }) => !ok)).toEqual([]);
    expect(doctorLines(diagnose(machine()), (_, text) => text).at(-1)).toBe('linecard works here; nothing is missing.');
  });

  test('has no command for what is there, and one for everything that is not', () => {
    for (const { ok, fix } of [...checksOf(machine()), ...checksOf(emptyMachine())]) expect(fix === undefined).toBe(ok);
  });

  const emptyMachine = () => ({
    ...machine(),
    proc: folder('nowhere'),
    sys: folder('nowhere'),
    dev: folder('nowhere'),
  });

  test('survives a machine that shows nothing', () => {
    expect(checksOf(emptyMachine()).length).toBe(checksOf(machine()).length);
  });

  test('what is optional and missing is –, and linecard works', () => {
    const sections = diagnose(machine({ 'dev/vfio/vfio': undefined }));
    const lines = doctorLines(sections, (_, text) => text);
    expect(lines).toContain('  – VFIO is not loaded  (for: PCI devices in user space, safely)');
    expect(lines[lines.indexOf('  – VFIO is not loaded  (for: PCI devices in user space, safely)') + 1]).toBe(
      '      fix: modprobe vfio-pci',
    );
    expect(lines.at(-1)).toBe('linecard works here; 1 optional thing is missing (–).');
    expect(healthy(sections)).toBe(true);
  });

  test('what is required and missing is ✗, and linecard does not', () => {
    const sections = diagnose(machine({}, { nodeVersion: '18.20.4' }));
    const lines = doctorLines(sections, (_, text) => text);
    expect(lines).toContain('  ✗ Node.js 18.20.4  (for: everything)');
    expect(lines.at(-1)).toBe('linecard does not work here: 1 required thing is missing (✗).');
    expect(healthy(sections)).toBe(false);
  });

  test('is one JSON object for programs', () => {
    const { ok, checks } = JSON.parse(doctorJson(diagnose(machine({ 'dev/vfio/vfio': undefined }))));
    expect(ok).toBe(true);
    expect(checks.find((c: Check) => c.name === 'vfio')).toEqual({
      section: 'For network interfaces and devices: kernel',
      name: 'vfio',
      ok: false,
      required: false,
      found: 'VFIO is not loaded',
      purpose: 'PCI devices in user space, safely',
      fix: 'modprobe vfio-pci',
    });
  });
});

describe('what it looks at', () => {
  test.each([
    ['20.19.0', true],
    ['20.18.3', false],
    ['26.10.0', true],
  ])('Node.js %s: %s', (nodeVersion, ok) => {
    expect(check(machine({}, { nodeVersion }), 'node').ok).toBe(ok);
  });

  test('an addon that does not load says why, and what builds it', () => {
    const loadNative = () => {
      throw new SystemError('NATIVE_MISSING', {
        what: 'native addon',
        why: 'it has not been built',
        fix: 'run "npm run build"',
      });
    };
    expect(check(machine({}, { loadNative }), 'addon')).toMatchObject({
      ok: false,
      required: true,
      found: expect.stringContaining('it has not been built'),
      fix: 'npm run build',
    });
  });

  test('memory that is available, not only there', () => {
    expect(
      check(machine({ 'proc/meminfo': 'MemTotal: 65000000 kB\nMemAvailable: 100000 kB\n' }), 'memory'),
    ).toMatchObject({ ok: false, required: true });
  });

  test('a limit of the address space that an arena does not fit into', () => {
    const limited = { 'proc/self/limits': SERVER['proc/self/limits'].replace('unlimited  ', '2147483648 ') };
    expect(check(machine(limited), 'address-space')).toMatchObject({
      ok: false,
      found: 'address space: limited to 2 GiB',
      fix: 'ulimit -v unlimited',
    });
  });

  test('cpus that the process may use, and those of them that are isolated', () => {
    const one = { 'proc/self/status': SERVER['proc/self/status'].replace('0-7', '1') };
    expect(check(machine(one), 'cpus')).toMatchObject({ ok: false, found: 'only cpu 1 is allowed' });
    expect(check(machine(one), 'isolated-cpus')).toMatchObject({
      ok: false,
      found: 'no cpu is isolated',
      fix: expect.stringContaining('isolcpus=1 '),
    });
    expect(check(machine(), 'isolated-cpus').found).toBe('cpus 2-7 are isolated');
  });

  test('every cpu’s frequency governor; a machine without frequencies is as good', () => {
    const mixed = { 'sys/devices/system/cpu/cpu1/cpufreq/scaling_governor': 'powersave\n' };
    expect(check(machine(mixed), 'governor')).toMatchObject({
      ok: false,
      found: 'frequency governor performance, powersave',
    });
    const none = Object.fromEntries(
      Object.keys(SERVER)
        .filter((path) => path.includes('cpufreq'))
        .map((path) => [path, undefined]),
    );
    expect(check(machine(none), 'governor').ok).toBe(true);
  });

  test('huge pages that are free, not only there', () => {
    const used = { 'sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages': '0\n' };
    expect(check(machine(used), 'hugepages')).toMatchObject({
      ok: false,
      found: '2 MiB pages: 0 free of 512',
      fix: 'sysctl -w vm.nr_hugepages=64',
    });
    expect(check(machine(), 'hugepages').found).toBe('2 MiB pages: 480 free of 512');
  });

  // Bits from include/uapi/linux/capability.h, as masks.
  test.each([
    ['CAP_NET_ADMIN', 0x1000n],
    ['CAP_NET_RAW', 0x2000n],
    ['CAP_IPC_LOCK', 0x4000n],
    ['CAP_SYS_RAWIO', 0x20000n],
    ['CAP_SYS_ADMIN', 0x200000n],
    ['CAP_BPF', 0x8000000000n],
  ])('%s by its bit', (name, mask) => {
    const status = (effective: bigint) => ({
      'proc/self/status': `Uid:\t1000\t1000\t1000\t1000\nCapEff:\t${effective.toString(16).padStart(16, '0')}\nCpus_allowed_list:\t0-1\n`,
    });
    expect(check(machine(status(mask)), name)).toMatchObject({ ok: true, found: `${name} held` });
    const without = check(machine(status(0x1ffffdfffffn & ~mask)), name);
    expect(without).toMatchObject({
      ok: false,
      required: false,
      fix: expect.stringContaining(`setcap ${name.toLowerCase()}+ep /usr/bin/node`),
    });
  });

  test('what linecard grant makes unnecessary', () => {
    const none = { 'proc/self/status': 'Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n' };
    const named = (name: string) =>
      check(machine(none), name).fix!.includes('sudo linecard grant xdp:INTERFACE --to $USER');
    expect(['CAP_NET_RAW', 'CAP_NET_ADMIN', 'CAP_BPF', 'CAP_IPC_LOCK', 'CAP_SYS_RAWIO'].map(named)).toEqual([
      true,
      true,
      true,
      false,
      false,
    ]);
  });

  test('CAP_SYS_ADMIN is CAP_BPF too', () => {
    const status = { 'proc/self/status': 'Uid:\t0\t0\t0\t0\nCapEff:\t0000000000200000\n' };
    expect(check(machine(status), 'CAP_BPF').ok).toBe(true);
  });

  test('a root without capabilities is told who took them', () => {
    const status = { 'proc/self/status': 'Uid:\t0\t0\t0\t0\nCapEff:\t0000000000000000\n' };
    expect(check(machine(status), 'CAP_NET_RAW')).toMatchObject({
      found: expect.stringContaining('although root'),
      fix: expect.stringContaining('--cap-add NET_RAW'),
    });
  });

  test('the limit of locked memory, which CAP_IPC_LOCK overrides', () => {
    const limits = {
      'proc/self/limits': 'Max locked memory         8388608              8388608              bytes     \n',
    };
    const user = { ...limits, 'proc/self/status': 'Uid:\t1000\t1000\t1000\t1000\nCapEff:\t0000000000000000\n' };
    expect(check(machine(limits), 'locked-memory')).toMatchObject({
      ok: true,
      found: 'locked memory limited to 8 MiB, which CAP_IPC_LOCK overrides',
    });
    expect(check(machine(user), 'locked-memory')).toMatchObject({ ok: false, found: 'locked memory limited to 8 MiB' });
  });

  test.each([
    ['4.9.0', ['memfd', 'epoll_pwait2', 'xdp-link']],
    ['5.4.0-42-generic', ['epoll_pwait2', 'xdp-link']],
    ['5.10.0', ['epoll_pwait2']],
    ['5.11.0', []],
    ['10.0.0', []],
  ])('what Linux %s lacks: %j', (release, lacks) => {
    const missing = checksOf(machine({ 'proc/sys/kernel/osrelease': `${release}\n` })).filter(({ ok }) => !ok);
    expect(missing.map(({ name }) => name)).toEqual(lacks);
  });

  test.each([
    ['af-xdp', 'proc/net/protocols'],
    ['hugetlb', 'proc/filesystems'],
    ['iommu', 'sys/kernel/iommu_groups/0/type'],
    ['uio', 'sys/class/uio/uio0/name'],
    ['vfio', 'dev/vfio/vfio'],
  ])('%s by %s', (name, path) => {
    expect(check(machine({ [path]: undefined }), name)).toMatchObject({ ok: false, required: false });
  });
});

test('VFIO is there in either of its forms', () => {
  const files = { 'dev/vfio/vfio': undefined, 'dev/vfio/devices/vfio0': '' };
  expect(check(machine({ ...files, 'dev/iommu': '' }), 'vfio')).toMatchObject({ ok: true, found: 'VFIO is loaded' });
  expect(check(machine(files), 'vfio').ok).toBe(false);
});

describe('reading', () => {
  test('versions compare by number, part by part', () => {
    expect([
      atLeast('5.11', '5.9'),
      atLeast('5.9', '5.11'),
      atLeast('6.0.1', '5.11'),
      atLeast('5.11.0-rc1', '5.11'),
      atLeast('6', '6.1'),
    ]).toEqual([true, false, true, true, false]);
  });

  test('fields and limits that are not there', () => {
    expect(field('a:\t1\n', 'b')).toBe('');
    expect(softLimit('', 'Max locked memory')).toBe(Number.POSITIVE_INFINITY);
  });

  test('explains who makes the checksums where there is no hardware', () => {
    expect(check(machine(), 'checksums').found).toMatch(/^no interfaces without hardware/);
    const names = ['lo', 'veth0', 'veth1', 'br0', 'tap0'];
    const virtual = Object.fromEntries(names.map((name) => [`sys/devices/virtual/net/${name}/mtu`, '1500\n']));
    const { ok, found, purpose } = check(machine(virtual), 'checksums');
    expect([ok, found]).toEqual([
      true,
      'no hardware behind br0, tap0, veth0, …: xdp: ports fill in checksums (unless checksum=keep)',
    ]);
    expect(purpose).toContain('leave checksums to hardware');
  });
});
