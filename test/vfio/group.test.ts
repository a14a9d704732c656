import { describe, expect, it } from 'vitest';
import { Group, othersOf, withoutIommu } from '../../lib/vfio/group.ts';
import { thrown } from '../fakes/errors.ts';
import { FakeVfio } from '../fakes/vfio.ts';

const [A, B] = ['0000:01:00.0', '0000:01:00.1'] as const;

function world(): FakeVfio {
  const vfio = new FakeVfio();
  vfio.add(A, 4);
  return vfio;
}

const open = ({ kernel, place, sysfs }: FakeVfio, number = 4) =>
  new Group(kernel, `${place.dev}/${number}`, number, sysfs.root);

describe('A group', () => {
  it('with members that kernel drivers work with is refused, and they are named', () => {
    const vfio = world();
    vfio.add(B, 4, {}, 'ixgbe');
    const error = thrown(() => open(vfio));
    expect(error.code).toBe('GROUP_NOT_VIABLE');
    expect(error.message).toBe(
      'IOMMU group 4: kernel drivers work with 0000:01:00.1 (ixgbe), which the IOMMU cannot keep apart from this device; ' +
        'bind each to vfio-pci or to no driver: linecard bind ADDRESS vfio-pci',
    );
    expect(vfio.kernel.opened).toEqual([]);
  });

  it('has no others in bridges, in members without a driver, and in those of user space', () => {
    const vfio = world();
    for (const [i, driver] of [undefined, 'pci-stub', 'mlx5_vfio_pci', 'pcieport'].entries()) {
      const address = `0000:01:01.${i}`;
      vfio.sysfs.add(address, driver === undefined ? {} : { driver });
      vfio.sysfs.link(`kernel/iommu_groups/4/devices/${address}`, `../../../../bus/pci/devices/${address}`);
    }
    vfio.sysfs.add('0000:01:02.0', { driver: 'shpchp', class: '0x060400' });
    vfio.sysfs.link('kernel/iommu_groups/4/devices/0000:01:02.0', '../../../../bus/pci/devices/0000:01:02.0');
    expect(othersOf(vfio.sysfs.root, 4)).toEqual([]);
    expect(othersOf(vfio.sysfs.root, 5)).toEqual([]);
  });

  it('is opened once, also while nothing but one of its devices is open', () => {
    const vfio = world();
    const group = open(vfio);
    const busy = thrown(() => open(vfio));
    expect(busy.message).toMatch(/EBUSY .*; another process has it open: end that one first$/);
    const container = vfio.kernel.open(`${vfio.place.dev}/vfio`);
    group.attach(container);
    vfio.kernel.ioctl(container, 0x3b66, 3);
    const device = group.device(A);
    group.close();
    expect(thrown(() => open(vfio)).detail).toMatchObject({ errno: 'EBUSY' });
    vfio.kernel.close(device);
    open(vfio);
  });

  it('has devices only in a container with an IOMMU', () => {
    const vfio = world();
    const group = open(vfio);
    expect(thrown(() => group.device(A))).toMatchObject({ code: 'VFIO_DEVICE', detail: { errno: 'EINVAL' } });
    group.attach(vfio.kernel.open(`${vfio.place.dev}/vfio`));
    expect(thrown(() => group.device(A)).detail).toMatchObject({ errno: 'EINVAL' });
    expect(thrown(() => group.device(B)).message).toMatch(/ENODEV .*; bind it: linecard bind 0000:01:00.1 vfio-pci$/);
  });

  it('is in one container', () => {
    const vfio = world();
    const group = open(vfio);
    group.attach(vfio.kernel.open(`${vfio.place.dev}/vfio`));
    const other = vfio.kernel.open(`${vfio.place.dev}/vfio`);
    expect(thrown(() => group.attach(other))).toMatchObject({ code: 'VFIO_GROUP', detail: { errno: 'EINVAL' } });
  });

  it('that is not this user’s says what to do', () => {
    const vfio = world();
    vfio.kernel.fault = () => 'EACCES';
    expect(thrown(() => open(vfio)).message).toContain(`chown USER ${vfio.place.dev}/4`);
    vfio.kernel.fault = () => undefined;
    expect(thrown(() => open(vfio, 5)).message).toMatch(/ENOENT .*modprobe vfio-pci$/);
  });

  it('of a device without an IOMMU is known by its name', () => {
    const vfio = world();
    expect(withoutIommu(vfio.sysfs.root, 4)).toBe(false);
    vfio.withoutIommu(4);
    expect(withoutIommu(vfio.sysfs.root, 4)).toBe(true);
  });
});
