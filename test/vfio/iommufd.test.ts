import { rmSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { deviceFile, Iommufd, offersIommufd } from '../../lib/vfio/iommufd.ts';
import type { Range } from '../fakes/dma-mappings.ts';
import { thrown } from '../fakes/errors.ts';
import { FakeVfio } from '../fakes/vfio.ts';
import type { FakeDeviceOptions } from '../fakes/vfio-device.ts';

const [A, B] = ['0000:01:00.0', '0000:02:00.0'] as const;

const memory = (pages: number) => new Uint8Array(new SharedArrayBuffer(pages * 4096));

/** Functions A and B, of which B may have wishes of its own. */
function world(b: FakeDeviceOptions = {}) {
  const vfio = new FakeVfio();
  vfio.add(A, 4);
  vfio.add(B, 7, b);
  vfio.iommufd.offer();
  return vfio;
}

function opened(vfio: FakeVfio): Iommufd {
  const space = new Iommufd(vfio.place);
  space.open(A);
  return space;
}

describe('iommufd', () => {
  it('is offered where there is its file, and one for the function', () => {
    const vfio = world();
    const { place } = vfio;
    expect([deviceFile(place.sysfs, A), deviceFile(place.sysfs, B), offersIommufd(place, B)]).toEqual([
      'vfio0',
      'vfio1',
      true,
    ]);
    expect(deviceFile(place.sysfs, '0000:09:00.0')).toBeUndefined();
    rmSync(place.iommu);
    expect(offersIommufd(place, A)).toMatch(/^there is no .*modprobe iommufd/);
    expect(thrown(() => new Iommufd(place)).message).toMatch(
      /iommu: open failed with ENOENT .*; load the module: modprobe iommufd$/,
    );
  });

  it('whose kernel is older, or that is not this user’s, says what to do', () => {
    const vfio = world();
    vfio.kernel.fault = (call) => (call.includes('IOAS_ALLOC') ? 'ENOTTY' : undefined);
    expect(thrown(() => new Iommufd(vfio.place)).message).toMatch(/ENOTTY .*; use Linux 6.6 or later$/);
    expect(vfio.kernel.opened).toEqual([]);
    vfio.kernel.fault = (call) => (call.startsWith('open') ? 'EACCES' : undefined);
    expect(thrown(() => new Iommufd(vfio.place)).message).toContain(`chown USER ${vfio.place.iommu}`);
  });

  it('binds a function before anything else can be done with it', () => {
    const vfio = world();
    const fd = vfio.kernel.open(`${vfio.place.dev}/devices/vfio0`);
    expect(() => vfio.kernel.ioctl(fd, 0x3b6b, new Uint8Array(16))).toThrow('EINVAL');
    expect(() => vfio.kernel.read(fd, new Uint8Array(4), 7 * 2 ** 40)).toThrow('EINVAL');
    // Somebody has its file open, which is no matter until he binds it, too.
    const space = opened(vfio);
    expect(thrown(() => new Iommufd(vfio.place).open(A)).message).toMatch(/EINVAL .* open: end that one first$/);
    space.close();
  });

  it('refuses what is in a group that is open, not alone, or whose interrupts cannot be kept apart', () => {
    const vfio = world();
    const space = new Iommufd(vfio.place);
    const group = vfio.kernel.open(`${vfio.place.dev}/4`);
    expect(thrown(() => space.open(A)).message).toMatch(/EBUSY .*or its group, open: end that one first$/);
    vfio.kernel.close(group);
    vfio.groups.get(4)!.viable = false;
    expect(thrown(() => space.open(A)).message).toMatch(
      /EPERM .*bind that to vfio-pci, too; or .*allow_unsafe_interrupts=1 of iommufd/,
    );
    expect(vfio.kernel.opened).toEqual(['iommufd']);
    vfio.groups.get(4)!.viable = true;
    space.open(A);
    expect(() => vfio.kernel.open(`${vfio.place.dev}/4`)).toThrow('EBUSY');
  });

  it('keeps a function out whose reserved addresses are in use by the others', () => {
    const vfio = world({ reserved: [[0x8_0000n, 0x8_ffffn]] });
    const space = opened(vfio);
    space.map(0x8_0000, memory(1));
    expect(thrown(() => space.open(B)).message).toMatch(/EADDRINUSE .*; .* use them in two engines$/);
    expect(vfio.kernel.opened).toEqual(['iommufd', `device ${A}`]);
    space.unmap(0x8_0000, 4096);
    space.open(B);
    expect(thrown(() => space.map(0x8_0000, memory(1))).code).toBe('ADDRESS_REFUSED');
  });

  it('tells all ranges of addresses, also when there are more than it was asked for', () => {
    const holes = Array.from(
      { length: 40 },
      (_, i): Range => [BigInt(i) * 0x10_0000n, BigInt(i) * 0x10_0000n + 0xffffn],
    );
    const vfio = world({ reserved: holes });
    const space = new Iommufd(vfio.place);
    space.open(B);
    vfio.kernel.restart();
    const ranges = space.ranges();
    expect(ranges).toHaveLength(40);
    expect([ranges[0], ranges[39]]).toEqual([
      { start: 0x1_0000n, end: 0xf_ffffn },
      { start: 39n * 0x10_0000n + 0x1_0000n, end: 0x7f_ffff_ffffn },
    ]);
    expect(vfio.kernel.journal).toHaveLength(2);
    space.map(39 * 0x10_0000 + 0x1_0000, memory(2));
  });

  it('maps and takes away whole mappings, and says why not', () => {
    const vfio = world();
    vfio.iommufd.memlock = 5 * 4096;
    const space = opened(vfio);
    const bytes = memory(4);
    space.map(0x10_0000, bytes);
    expect(vfio.mapped).toEqual([{ iova: 0x10_0000n, memory: bytes }]);
    const errnoOf = (call: () => void) => thrown(call).detail.errno;
    expect(errnoOf(() => space.map(0x10_0000, memory(1)))).toBe('EEXIST');
    expect(errnoOf(() => space.map(0x20_0800, memory(1)))).toBe('EINVAL');
    expect(errnoOf(() => space.map(0x20_0000, memory(2)))).toBe('ENOMEM');
    expect(errnoOf(() => space.unmap(0x10_0000, 4096))).toBe('ENOENT');
    expect(errnoOf(() => space.unmap(0x20_0000, 4096))).toBe('ENOENT');
    expect(thrown(() => space.unmap(0x10_0000, 8 * 4096)).message).toMatch(/the kernel took 16384/);
    expect(vfio.mapped).toEqual([]);
  });

  it('goes with its file and those of its functions', () => {
    const vfio = world();
    const space = new Iommufd(vfio.place);
    const { fd } = space.open(A);
    space.map(0x10_0000, memory(1));
    space.close();
    // Another process may have been given the function's file.
    expect(vfio.mapped).toHaveLength(1);
    vfio.kernel.close(fd);
    expect(vfio.mapped).toEqual([]);
  });
});
