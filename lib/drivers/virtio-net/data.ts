/** What the two halves of the driver say to each other: a queue's `QueuePlan.data`. */
import { RX, TX } from '../../queue.ts';

/** Numbers of a queue: arena offsets, sizes, and switches that are 0 or 1. */
export type VirtioQueueData = Readonly<{
  /** The virtqueue: descriptors, and arena offsets of its three areas. */
  size: number;
  desc: number;
  driver: number;
  device: number;
  /** Its private block, see `BLOCK`. */
  block: number;
  /** Negotiated features. */
  eventIdx: number;
  inOrder: number;
  /** rx: packets may come in several buffers (MRG_RXBUF), or without their checksum (GUEST_CSUM). */
  mergeable: number;
  checksum: number;
  /** tx: arena offset of tables for packets of several frames, `MAX_SEGMENTS` descriptors per id, or 0. */
  tables: number;
  /** tx: the device's address of an announcement, header and all. It is no frame, and none of the counters knows it. */
  announceLow: number;
  announceHigh: number;
  /** Table of the frames' addresses, or 0: see `VirtioDevio.frameAddresses`. */
  frameAddresses: number;
  /** How to notify the device: see `Notifier`; `position` says that the queue's position goes with it (NOTIFICATION_DATA). */
  kickFd: number;
  kickRegister: number;
  kickValue: number;
  kickWidth: number;
  position: number;
  /** rx, of an interrupt line: the ISR status to read, and the eventfd that unmasks the line. See `Interrupt`. */
  isr: number;
  unmask: number;
}>;

/** Counters of an rx queue beyond the common ones. */
export const VIRTIO_RX_NAMES = ['runt', 'oversize', 'invalid', 'lost'] as const;

const rx = Object.keys(RX).length;
/** `invalid`: a length or header that cannot be. `lost`: used, but not taken before the device was reset. */
export const VIRTIO_RX = { runt: rx, oversize: rx + 1, invalid: rx + 2, lost: rx + 3 } as const;

/** Counters of a tx queue beyond the common ones. */
export const VIRTIO_TX_NAMES = ['lost', 'invalid'] as const;

const tx = Object.keys(TX).length;
/** `lost`: in flight when the device was reset. `invalid`: no room for the header before it, or not in one frame. */
export const VIRTIO_TX = { lost: tx, invalid: tx + 1 } as const;
