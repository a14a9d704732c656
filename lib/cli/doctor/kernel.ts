/** Checks of kernel features. */
import { type Check, optional, required } from './check.ts';
import { atLeast, exists, names, read, type Sources } from './sources.ts';

/** Most names that a line has room for. */
const MOST_NAMES = 3;

/**
 * Explains what nobody would guess: over an interface without hardware TCP and UDP come without checksums, unless the
 * sender's offload is off. Nothing is missing, because `xdp:` ports make them.
 */
function checksums(sys: string): Check {
  const virtual = names(sys, 'devices/virtual/net').filter((name) => name !== 'lo');
  const some = [...virtual.slice(0, MOST_NAMES), ...(virtual.length > MOST_NAMES ? ['…'] : [])].join(', ');
  return optional('checksums', 'TCP and UDP over veth, bridges, TAPs: their senders leave checksums to hardware', {
    ok: true,
    found:
      virtual.length === 0
        ? 'no interfaces without hardware, whose checksums xdp: ports would fill in'
        : `no hardware behind ${some}: xdp: ports fill in checksums (unless checksum=keep)`,
    fix: '',
  });
}

/** Features by version, by what the kernel shows, and devices bound to user space. */
export function kernel({ proc, sys, dev }: Sources): Check[] {
  const release = read(proc, 'sys/kernel/osrelease').trim();
  const known = release !== '';
  const since = (version: string) => !known || atLeast(release, version);
  const found = known ? `Linux ${release}` : 'Linux of unknown version';
  const xdp = /^XDP\s/m.test(read(proc, 'net/protocols'));
  const groups = names(sys, 'kernel/iommu_groups');
  // Kernels without groups of VFIO's have a file for each device, and one for their addresses.
  const vfio = exists(dev, 'vfio/vfio') || (exists(dev, 'vfio/devices') && exists(dev, 'iommu'));
  return [
    required('memfd', 'the arena’s memory, sealed memfds', {
      ok: since('4.14'),
      found,
      fix: 'use Linux 4.14 or later',
    }),
    optional('hugetlb', '2 MiB pages for frames', {
      ok: /\bhugetlbfs$/m.test(read(proc, 'filesystems')),
      found: /\bhugetlbfs$/m.test(read(proc, 'filesystems')) ? 'hugetlb memory is supported' : 'no hugetlb memory',
      fix: 'use a kernel with CONFIG_HUGETLBFS',
    }),
    optional('epoll_pwait2', 'sleeps to the microsecond', {
      ok: since('5.11'),
      found: since('5.11') ? 'epoll_pwait2 is there' : `${found} has no epoll_pwait2: sleeps end on milliseconds`,
      fix: 'use Linux 5.11 or later',
    }),
    optional('af-xdp', 'ports over network interfaces (xdp:)', {
      ok: xdp,
      found: xdp ? 'AF_XDP sockets are supported' : 'this kernel has no AF_XDP sockets',
      fix: 'use a kernel with CONFIG_XDP_SOCKETS (Debian, Ubuntu and Fedora kernels have it)',
    }),
    checksums(sys),
    optional('xdp-link', 'XDP programs that end with the process', {
      ok: since('5.9'),
      found: since('5.9') ? 'XDP links are supported' : `${found} has no XDP links`,
      fix: 'use Linux 5.9 or later',
    }),
    optional('iommu', 'devices kept to the memory that they were given', {
      ok: groups.length > 0,
      found: groups.length > 0 ? `${groups.length} IOMMU groups` : 'no IOMMU groups',
      fix: 'enable VT-d or AMD-Vi in the firmware and boot with intel_iommu=on iommu=pt',
    }),
    optional('vfio', 'PCI devices in user space, safely', {
      ok: vfio,
      found: vfio ? 'VFIO is loaded' : 'VFIO is not loaded',
      fix: 'modprobe vfio-pci',
    }),
    optional('uio', 'PCI devices in user space without IOMMU', {
      ok: exists(sys, 'class/uio'),
      found: exists(sys, 'class/uio') ? 'UIO is loaded' : 'UIO is not loaded',
      fix: 'modprobe uio_pci_generic',
    }),
  ];
}
