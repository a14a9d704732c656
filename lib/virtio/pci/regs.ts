/** Virtio over PCI (virtio 1.2 §4.1.4): capabilities and the common configuration. Tables, nothing else. */
import { layout, ro8, ro16, ro32, rw8, rw16, rw32, rw64, wo16, wo32 } from '../../layout.ts';

/** Vendor of every virtio device, and what the device id of a modern one is counted from, §4.1.2. */
export const VIRTIO_VENDOR = 0x1af4;
export const MODERN_DEVICE_ID = 0x1040;
/** Transitional device id of a network device, §4.1.2.1. */
export const TRANSITIONAL_NET = 0x1000;

/** `cfg_type`: which structure a capability tells of, §4.1.4. All others are reserved or of no use here. */
export const CFG_TYPE = { common: 1, notify: 2, isr: 3, device: 4, pciCfg: 5 } as const;

/** struct virtio_pci_cap, §4.1.4, with what follows it for `notify` and `pciCfg`. Offsets in bytes. */
export const CAP = {
  len: 2,
  cfgType: 3,
  bar: 4,
  offset: 8,
  length: 12,
  notifyOffMultiplier: 16,
  pciCfgData: 16,
} as const;
/** Bytes of a capability, and of one with something behind it. */
export const CAP_BYTES = 16;
export const LONG_CAP_BYTES = 20;

/** struct virtio_pci_common_cfg, §4.1.4.3. */
export const COMMON = layout('virtio_pci_common_cfg', 60, {
  deviceFeatureSelect: rw32(0),
  deviceFeature: ro32(4),
  driverFeatureSelect: rw32(8),
  driverFeature: rw32(12),
  configMsixVector: rw16(16),
  numQueues: ro16(18),
  deviceStatus: rw8(20),
  configGeneration: ro8(21),
  queueSelect: rw16(22),
  queueSize: rw16(24),
  queueMsixVector: rw16(26),
  queueEnable: rw16(28),
  queueNotifyOff: ro16(30),
  queueDesc: rw64(32),
  queueDriver: rw64(40),
  queueDevice: rw64(48),
  // There with NOTIF_CONFIG_DATA, and with RING_RESET.
  queueNotifyData: ro16(56),
  queueReset: rw16(58),
});
/** Bytes that every device has, and up to the end of `queueNotifyData` and `queueReset`. */
export const COMMON_BYTES = { least: 56, notifyData: 58, reset: 60 } as const;

/** The ISR status, §4.1.4.5: one byte, cleared by reading it. */
export const ISR = layout('ISR status', 1, { status: ro8(0) });

/** A queue's notification register, §4.1.5.2: what is written depends on the features. */
export const NOTIFY = layout('queue notify', 2, { index: wo16(0) });
export const NOTIFY_DATA = layout('queue notify with data', 4, { data: wo32(0) });

/** "Not mapped", of a vector; what a mapping that failed reads as. §4.1.5.1.2. */
export const NO_VECTOR = 0xffff;

/** The MSI-X capability (PCI Local Bus 3.0 §6.8.2): control, table and pending bits, each with its BAR in the low bits. */
export const MSIX_CAP = {
  control: 2,
  table: 4,
  pending: 8,
  bytes: 12,
  sizeMask: 0x7ff,
  barMask: 7,
  entryBytes: 16,
} as const;
