/** Requests, structures and numbers of VFIO (Linux, include/uapi/linux/vfio.h). Offsets in bytes; structures begin with their size. */

/** `_IO(';', 100 + n)`: nothing in the number says how long the argument is. */
const request = (n: number): number => (0x3b << 8) | (100 + n);

/** On the container: API, IOMMU, mappings. On a group: its container and devices. On a device: the rest. */
export const REQUEST = {
  getApiVersion: request(0),
  checkExtension: request(1),
  setIommu: request(2),
  groupGetStatus: request(3),
  groupSetContainer: request(4),
  groupGetDeviceFd: request(6),
  deviceGetInfo: request(7),
  deviceGetRegionInfo: request(8),
  deviceGetIrqInfo: request(9),
  deviceSetIrqs: request(10),
  deviceReset: request(11),
  iommuGetInfo: request(12),
  iommuMapDma: request(13),
  iommuUnmapDma: request(14),
} as const;

/** VFIO_API_VERSION */
export const API_VERSION = 0;

/** Kinds of IOMMU, which are extensions too. */
export const IOMMU = { type1v2: 3, noiommu: 8 } as const;

/** struct vfio_info_cap_header */
export const CAP_HEADER = { bytes: 8, id: 0, version: 2, next: 4 } as const;

/** struct vfio_group_status */
export const GROUP_STATUS = { bytes: 8, flags: 4 } as const;
export const GROUP_FLAGS = { viable: 1 << 0, containerSet: 1 << 1 } as const;

/** struct vfio_device_info, up to and without `cap_offset` */
export const DEVICE_INFO = { bytes: 16, flags: 4, regions: 8, irqs: 12 } as const;
export const DEVICE_FLAGS = { reset: 1 << 0, pci: 1 << 1 } as const;

/** struct vfio_region_info */
export const REGION_INFO = { bytes: 32, flags: 4, index: 8, capOffset: 12, size: 16, offset: 24 } as const;
export const REGION_FLAGS = { read: 1 << 0, write: 1 << 1, mmap: 1 << 2, caps: 1 << 3 } as const;
/** struct vfio_region_info_cap_sparse_mmap, and an area of it */
export const REGION_CAP_SPARSE_MMAP = 1;
export const SPARSE_MMAP = { areas: 8, first: 16 } as const;
export const SPARSE_AREA = { bytes: 16, offset: 0, size: 8 } as const;

/** Regions of a PCI device: BARs are 0 to 5. */
export const PCI_REGION = { bars: 6, config: 7 } as const;

/** struct vfio_irq_info */
export const IRQ_INFO = { bytes: 16, flags: 4, index: 8, count: 12 } as const;
export const IRQ_FLAGS = { eventfd: 1 << 0 } as const;
/** struct vfio_irq_set; its data are eventfds, 32 bits each */
export const IRQ_SET = { flags: 4, index: 8, start: 12, count: 16, data: 20 } as const;
export const IRQ_SET_FLAGS = { dataNone: 1 << 0, dataEventfd: 1 << 2, unmask: 1 << 4, trigger: 1 << 5 } as const;

/** Interrupts of a PCI device: its own, an error that it reported, and the kernel asking for it back. */
export const PCI_IRQ = { intx: 0, msi: 1, msix: 2, error: 3, request: 4 } as const;

/** struct vfio_iommu_type1_info */
export const IOMMU_INFO = { bytes: 24, flags: 4, pageSizes: 8, capOffset: 16 } as const;
export const IOMMU_FLAGS = { pageSizes: 1 << 0, caps: 1 << 1 } as const;
/** struct vfio_iommu_type1_info_cap_iova_range, and a range of it: first and last address */
export const IOMMU_CAP_IOVA_RANGE = 1;
export const IOVA_RANGES = { count: 8, first: 16 } as const;
export const IOVA_RANGE = { bytes: 16, start: 0, end: 8 } as const;

/** struct vfio_iommu_type1_dma_map */
export const DMA_MAP = { bytes: 32, flags: 4, vaddr: 8, iova: 16, size: 24 } as const;
export const DMA_MAP_FLAGS = { read: 1 << 0, write: 1 << 1 } as const;
/** struct vfio_iommu_type1_dma_unmap */
export const DMA_UNMAP = { bytes: 24, flags: 4, iova: 8, size: 16 } as const;
