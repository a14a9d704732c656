/**
 * Requests, structures and numbers of iommufd (Linux, include/uapi/linux/iommufd.h), and those of VFIO's that go with it
 * (include/uapi/linux/vfio.h of Linux 6.6). Offsets in bytes; structures begin with their size.
 */

/** `_IO(';', 0x80 + n)` on `/dev/iommu`. */
const request = (n: number): number => (0x3b << 8) | (0x80 + n);

export const IOMMUFD_REQUEST = {
  ioasAlloc: request(1),
  ioasIovaRanges: request(4),
  ioasMap: request(5),
  ioasUnmap: request(6),
} as const;

/** struct iommu_ioas_alloc */
export const IOAS_ALLOC = { bytes: 12, outIoasId: 8 } as const;
/** struct iommu_ioas_iova_ranges, and struct iommu_iova_range: first and last address */
export const IOAS_IOVA_RANGES = { bytes: 32, ioasId: 4, count: 8, ranges: 16 } as const;
export const IOVA = { bytes: 16, start: 0, last: 8 } as const;
/** struct iommu_ioas_map */
export const IOAS_MAP = { bytes: 40, flags: 4, ioasId: 8, userVa: 16, length: 24, iova: 32 } as const;
export const IOAS_MAP_FLAGS = { fixedIova: 1 << 0, writeable: 1 << 1, readable: 1 << 2 } as const;
/** struct iommu_ioas_unmap */
export const IOAS_UNMAP = { bytes: 24, ioasId: 4, iova: 8, length: 16 } as const;

/** `_IO(';', 100 + n)` on a device. */
export const DEVICE_REQUEST = { bindIommufd: (0x3b << 8) | 118, attachIommufdPt: (0x3b << 8) | 119 } as const;
/** struct vfio_device_bind_iommufd */
export const BIND_IOMMUFD = { bytes: 16, iommufd: 8 } as const;
/** struct vfio_device_attach_iommufd_pt, up to and without `pasid` */
export const ATTACH_IOMMUFD_PT = { bytes: 12, ptId: 8 } as const;
