import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { LinecardError } from '../../lib/errors.ts';
import { Container } from '../../lib/vfio/container.ts';
import { thrown } from '../fakes/errors.ts';
import { FakeVfio, type FakeVfioOptions } from '../fakes/vfio.ts';

const [A, B, C] = ['0000:01:00.0', '0000:02:00.0', '0000:02:00.1'] as const;

/** Memory of whole pages, at an address that is a multiple of a page. */
const memory = (pages: number) => new Uint8Array(new SharedArrayBuffer(pages * 4096));

function world(options: FakeVfioOptions = {}): FakeVfio {
  const vfio = new FakeVfio(options);
  vfio.add(A, 4);
  return vfio;
}

/** A container with function A open in it. */
function opened(vfio: FakeVfio): Container {
  const container = new Container(vfio.place, 'type1v2');
  container.open(A, 4);
  return container;
}

function refusal(vfio: FakeVfio): LinecardError {
  const error = thrown(() => new Container(vfio.place, 'type1v2'));
  expect(vfio.kernel.opened).toEqual([]);
  return error;
}

describe('A container', () => {
  it('is opened in the order that the kernel demands, and closed in the reverse order', () => {
    const vfio = world();
    const { kernel, place } = vfio;
    const container = new Container(place, 'type1v2');
    const { fd, leave } = container.open(A, 4);
    kernel.close(fd);
    leave();
    container.close();
    expect(kernel.journal).toEqual([
      `open ${place.dev}/vfio`,
      'container GET_API_VERSION',
      'container CHECK_EXTENSION',
      `open ${place.dev}/4`,
      'group 4 GET_STATUS',
      'group 4 SET_CONTAINER',
      'container SET_IOMMU',
      'group 4 GET_DEVICE_FD',
      `close device ${A}`,
      'close group 4',
      'close container',
    ]);
    expect(kernel.opened).toEqual([]);
  });

  it('is not opened where VFIO is missing, of another version, or without an IOMMU', () => {
    const missing = world();
    rmSync(join(missing.place.dev, 'vfio'));
    expect(refusal(missing).message).toMatch(/vfio: open failed with ENOENT .*; load the module: modprobe vfio-pci$/);
    expect(refusal(world({ version: 1 }))).toMatchObject({
      code: 'VFIO_VERSION',
      message: 'VFIO: the kernel has version 1; use one with 0',
    });
    const none = refusal(world({ kinds: [] }));
    expect(none.code).toBe('NO_IOMMU');
    expect(none.message).toMatch(/there is no IOMMU that it can use; switch it on .*intel_iommu=on/);
    const mixed = world({ safe: false });
    const unsafe = thrown(() => opened(mixed));
    expect(unsafe.code).toBe('NO_IOMMU');
    expect(mixed.kernel.opened).toEqual(['container']);
    expect(unsafe.message).toMatch(/EPERM .*allow_unsafe_interrupts=1 of vfio_iommu_type1/);
  });

  it('says what to do when it may not be opened', () => {
    const vfio = world();
    vfio.kernel.fault = (call) => (call === `open ${vfio.place.dev}/vfio` ? 'EACCES' : undefined);
    const { code, message } = refusal(vfio);
    expect(code).toBe('VFIO_OPEN');
    expect(message).toContain(`let this user have it: chown USER ${vfio.place.dev}/vfio, or a udev rule; or be root`);
  });

  it('without an IOMMU is of a kind of its own, and maps nothing', () => {
    const vfio = world({ kinds: [8] });
    vfio.withoutIommu(4);
    const container = new Container(vfio.place, 'noiommu');
    container.open(A, 4);
    expect(vfio.kernel.journal).toContain(`open ${vfio.place.dev}/noiommu-4`);
    expect(thrown(() => container.map(0x1_0000, memory(1))).code).toBe('VFIO_IOMMU');
    expect(thrown(() => new Container(world().place, 'noiommu')).message).toMatch(/the kernel does not allow devices/);
  });
});

describe('Functions in a container', () => {
  it('of one group share it: it goes with the last of them', () => {
    const vfio = world();
    vfio.add(B, 7);
    vfio.add(C, 7);
    const container = new Container(vfio.place, 'type1v2');
    const [a, b, c] = [container.open(A, 4), container.open(B, 7), container.open(C, 7)];
    expect(vfio.kernel.opened).toEqual([
      'container',
      'group 4',
      `device ${A}`,
      'group 7',
      `device ${B}`,
      `device ${C}`,
    ]);
    vfio.kernel.close(b.fd);
    b.leave();
    expect(vfio.kernel.opened).toContain('group 7');
    vfio.kernel.close(c.fd);
    c.leave();
    expect(vfio.kernel.opened).toEqual(['container', 'group 4', `device ${A}`]);
    // With the last group the IOMMU goes; whoever comes then chooses it anew.
    vfio.kernel.close(a.fd);
    a.leave();
    vfio.kernel.restart();
    container.open(B, 7);
    expect(vfio.kernel.journal).toContain('container SET_IOMMU');
  });

  it('whose address is in use by the others are refused', () => {
    const vfio = world();
    vfio.add(B, 7, { reserved: [[0x8_0000n, 0x8_ffffn]] });
    const container = opened(vfio);
    container.map(0x8_0000, memory(1));
    expect(thrown(() => container.open(B, 7))).toMatchObject({ code: 'VFIO_GROUP', detail: { errno: 'EINVAL' } });
    expect(vfio.kernel.opened).not.toContain('group 7');
  });

  it('that cannot be opened do not keep their group', () => {
    const vfio = world();
    const container = opened(vfio);
    vfio.add(B, 7);
    expect(thrown(() => container.open(C, 7)).code).toBe('VFIO_DEVICE');
    expect(vfio.kernel.opened).not.toContain('group 7');
    container.open(B, 7);
  });
});

describe('Addresses', () => {
  it('are mapped and taken away whole, around what is reserved', () => {
    const vfio = world();
    const container = opened(vfio);
    expect(container.ranges()).toEqual([
      { start: 0n, end: 0xfedf_ffffn },
      { start: 0xfef0_0000n, end: 0x7f_ffff_ffffn },
    ]);
    const bytes = memory(4);
    container.map(0x10_0000, bytes);
    expect(vfio.mapped).toEqual([{ iova: 0x10_0000n, memory: bytes }]);
    const error = thrown(() => container.map(0xfede_f000, memory(32)));
    expect(error.code).toBe('ADDRESS_REFUSED');
    expect(error.message).toBe(
      '131072 bytes at 0xfedef000 for devices: the IOMMU has 0x0 to 0xfedfffff, 0xfef00000 to 0x7fffffffff; ' +
        'what is between is reserved; ask for fewer or smaller frames, which may lie elsewhere',
    );
    container.unmap(0x10_0000, 4 * 4096);
    expect(vfio.mapped).toEqual([]);
  });

  it('are left to the kernel to refuse when it does not tell them', () => {
    for (const ranges of [false, [{ id: 3, body: new Uint8Array(8) }]] as const) {
      const vfio = world({ ranges });
      const container = opened(vfio);
      expect(container.ranges()).toBeUndefined();
      container.map(0x10_0000, memory(1));
      expect(thrown(() => container.map(0xfee0_0000, memory(1)))).toMatchObject({
        code: 'DMA_MAP',
        detail: { errno: 'EINVAL' },
      });
    }
  });

  it('are not believed from a list that does not end, or goes on behind its end', () => {
    const body = new Uint8Array(8 + 16);
    new DataView(body.buffer).setUint32(0, 0xffff_ffff, true);
    new DataView(body.buffer).setBigUint64(16, 0xffffn, true);
    const lists = [
      {
        ranges: [
          { id: 2, body: new Uint8Array(8), next: 24 },
          { id: 1, body },
        ],
        expected: undefined,
      },
      {
        ranges: [
          { id: 2, body: new Uint8Array(8), next: 8 },
          { id: 1, body },
        ],
        expected: undefined,
      },
      {
        ranges: [
          { id: 2, body: new Uint8Array(8), next: 0xffff_fff0 },
          { id: 1, body },
        ],
        expected: undefined,
      },
      // More ranges than there is room for: those that are there.
      { ranges: [{ id: 1, body }], expected: [{ start: 0n, end: 0xffffn }] },
      { ranges: [{ id: 1, body: new Uint8Array(0) }], expected: undefined },
    ];
    for (const { ranges, expected } of lists) expect(opened(world({ ranges })).ranges()).toEqual(expected);
  });

  it('say why they cannot be mapped', () => {
    const container = opened(world({ memlock: 2 * 4096 }));
    container.map(0x10_0000, memory(1));
    expect(thrown(() => container.map(0x10_0000, memory(1)))).toMatchObject({
      code: 'DMA_MAP',
      detail: { errno: 'EEXIST' },
    });
    const tooMuch = thrown(() => container.map(0x20_0000, memory(2)));
    expect(tooMuch.code).toBe('DMA_MAP');
    expect(tooMuch.message).toMatch(/ENOMEM .* this process may lock 8192 bytes: raise it \(ulimit -l unlimited/);
    expect(thrown(() => container.map(0x20_0800, memory(1))).detail).toMatchObject({ errno: 'EINVAL' });
    const vfio = world();
    const full = opened(vfio);
    vfio.containers[0]!.mappings.entries = 0;
    expect(thrown(() => full.map(0x10_0000, memory(1))).message).toMatch(/ENOSPC .*dma_entry_limit/);
  });

  it('that the kernel does not take away, or not all of them, are an error', () => {
    const vfio = world();
    const container = opened(vfio);
    container.map(0x10_0000, memory(4));
    expect(thrown(() => container.unmap(0x10_0000, 4096))).toMatchObject({
      code: 'DMA_UNMAP',
      detail: { errno: 'EINVAL' },
    });
    // Nothing there, or less than was asked: the kernel calls that a success.
    expect(thrown(() => container.unmap(0x20_0000, 4096)).message).toMatch(
      /the kernel took 0; the memory stays theirs/,
    );
    expect(thrown(() => container.unmap(0x10_0000, 8 * 4096)).message).toMatch(/the kernel took 16384/);
  });
});
