import { describe, expect, it } from 'vitest';
import { changeCommand, isGone } from '../../lib/pci/config-space.ts';
import { VfioDevice } from '../../lib/vfio/device.ts';
import { around, tableOf } from '../../lib/vfio/msix.ts';
import { thrown } from '../fakes/errors.ts';
import { FakeVfio } from '../fakes/vfio.ts';
import { type FakeDeviceOptions, type FakeVfioDevice, sparse } from '../fakes/vfio-device.ts';

const ADDRESS = '0000:01:00.0';
const REGION = 2 ** 40;

interface World {
  readonly vfio: FakeVfio;
  readonly fake: FakeVfioDevice;
  readonly fd: number;
}

function world(options: FakeDeviceOptions = {}): World {
  const vfio = new FakeVfio();
  const fake = vfio.add(ADDRESS, 4, options);
  const fd = vfio.kernel.adopt({ ...fake.file(`device ${ADDRESS}`, () => {}), fd: fake.regions() });
  return { vfio, fake, fd };
}

const deviceOf = ({ vfio, fd }: World): VfioDevice => new VfioDevice(vfio.kernel, fd, ADDRESS);

/** What may be mapped of a BAR of 64 KiB with such capabilities. */
function areas(...capabilities: ReturnType<typeof sparse>[]) {
  const device = deviceOf(world({ bars: { 2: { bytes: 0x1_0000, mmap: true, capabilities } } }));
  return device.region(2).areas;
}

describe('A device', () => {
  it('has its configuration space, and regions that may be mapped or not', () => {
    const bars = { 0: { bytes: 0x2_0000, mmap: true }, 1: { bytes: 4096 } };
    const made = world({ bars });
    const device = deviceOf(made);
    expect(device).toMatchObject({ address: ADDRESS, resettable: true });
    expect([device.config.size, device.config.read(0, 32), device.config.read(2, 16)]).toEqual([
      4096, 0x10d3_8086, 0x10d3,
    ]);
    changeCommand(device.config, 2, 4);
    expect(made.fake.command).toBe(2);
    const { fd } = made;
    expect(device.region(0)).toEqual({
      fd,
      bytes: 0x2_0000,
      offset: 0,
      areas: [{ at: 0, length: 0x2_0000, fdOffset: 0 }],
    });
    expect(device.region(1)).toEqual({ fd, bytes: 4096, offset: REGION, areas: [] });
    expect(device.region(5)).toEqual({ fd, bytes: 0, offset: 5 * REGION, areas: [] });
    expect(thrown(() => device.region(9))).toMatchObject({ code: 'VFIO_DEVICE', detail: { errno: 'EINVAL' } });
  });

  it('that is no PCI function is refused', () => {
    const made = world({ pci: false });
    expect(thrown(() => deviceOf(made)).message).toMatch(/it is no PCI function/);
    expect(made.vfio.kernel.opened).toEqual([`device ${ADDRESS}`]);
  });

  it('is reset when the kernel has a way', () => {
    const made = world();
    const device = deviceOf(made);
    device.reset();
    expect(made.fake.resets).toBe(1);
    made.vfio.kernel.fault = (call) => (call.endsWith('RESET') ? 'EAGAIN' : undefined);
    expect(thrown(() => device.reset()).message).toMatch(/EAGAIN .*its bus is in use: try again$/);
    const stiff = deviceOf(world({ resettable: false }));
    expect(thrown(() => stiff.reset()).code).toBe('NO_RESET');
  });

  it('that has gone reads ones, whatever the kernel says, and its errors tell to look at the slot', () => {
    for (const gone of ['ones', 'EIO', 'ENODEV'] as const) {
      const made = world();
      const device = deviceOf(made);
      made.fake.gone = gone;
      expect(isGone(device.config)).toBe(true);
      expect(device.config.read(8, 32)).toBe(0xffff_ffff);
      device.config.write(4, 16, 6);
      expect(made.fake.command).toBe(0);
      if (gone === 'ENODEV') {
        expect(thrown(() => device.reset()).message).toMatch(/the device has gone: check the card and its slot$/);
        expect(thrown(() => deviceOf(made)).code).toBe('VFIO_DEVICE');
      }
    }
  });

  it('has no interrupts that the kernel does not know, and tells other failures from that', () => {
    const device = deviceOf(world({ msix: 0, pcie: false }));
    expect([0, 1, 2, 3, 4].map((kind) => device.count(kind))).toEqual([1, 1, 0, 0, 1]);
    const made = world();
    const failing = deviceOf(made);
    made.vfio.kernel.fault = () => 'EIO';
    expect(thrown(() => failing.count(2))).toMatchObject({ code: 'VFIO_DEVICE', detail: { errno: 'EIO' } });
  });
});

describe('Sparse regions', () => {
  it('are mapped where the kernel says', () => {
    const found = areas(
      sparse([
        [0, 0x4000],
        [0x5000, 0],
        [0x6000, 0xa000],
      ]),
    );
    expect(found).toEqual([
      { at: 0, length: 0x4000, fdOffset: 2 * REGION },
      { at: 0x6000, length: 0xa000, fdOffset: 2 * REGION + 0x6000 },
    ]);
  });

  it('with another capability alone are mapped whole', () => {
    expect(areas({ id: 2, body: new Uint8Array(8) })).toEqual([{ at: 0, length: 0x1_0000, fdOffset: 2 * REGION }]);
    expect(areas()).toEqual([{ at: 0, length: 0x1_0000, fdOffset: 2 * REGION }]);
  });

  it('whose list turns back, or leaves the answer, is not followed', () => {
    const whole = [{ at: 0, length: 0x1_0000, fdOffset: 2 * REGION }];
    const other = { id: 2, body: new Uint8Array(8) };
    const wanted = sparse([[0, 0x1000]]);
    for (const next of [32, 8, 1, 0xffff_fff8]) expect(areas({ ...other, next }, wanted)).toEqual(whole);
    // A count that the answer has no room for.
    expect(areas(sparse([[0, 0x1000]], 0xffff_ffff))).toEqual([{ at: 0, length: 0x1000, fdOffset: 2 * REGION }]);
  });
});

describe('The table of MSI-X vectors', () => {
  it('is found, and left out of what is mapped', () => {
    const made = world();
    const device = deviceOf(made);
    expect(tableOf(device.config)).toBeUndefined();
    made.fake.putMsix(5, 3, 0x2000);
    expect(tableOf(device.config)).toEqual({ bar: 3, start: 0x2000, end: 0x3000 });
    made.fake.putMsix(2048, 3, 0x1800);
    const table = tableOf(device.config)!;
    expect(table).toEqual({ bar: 3, start: 0x1000, end: 0xa000 });
    const part = (at: number, length: number) => ({ at, length, fdOffset: 0x100_0000 + at });
    expect(around([part(0, 0x1_0000)], table)).toEqual([part(0, 0x1000), part(0xa000, 0x6000)]);
    expect(around([part(0, 0x1000), part(0xa000, 0x1000)], table)).toEqual([part(0, 0x1000), part(0xa000, 0x1000)]);
    expect(around([part(0x1000, 0x9000)], table)).toEqual([]);
    expect(around([part(0x2000, 0x9000)], table)).toEqual([part(0xa000, 0x1000)]);
    expect(around([part(0, 0x3000)], table)).toEqual([part(0, 0x1000)]);
  });
});
