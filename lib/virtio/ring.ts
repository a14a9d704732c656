/** Virtqueue layouts (virtio 1.2 §2.7 split, §2.8 packed): tables and sizes, nothing else. All fields little-endian. */

/** Most descriptors of a ring, §2.7 and §2.8. */
export const MAX_QUEUE_SIZE = 32_768;

/** Descriptor flags, §2.7.5 and §2.8.1. `AVAIL` and `USED` are of packed rings only. */
export const DESC_F = { NEXT: 1, WRITE: 2, INDIRECT: 4, AVAIL: 1 << 7, USED: 1 << 15 } as const;

/** Bytes of a descriptor, of either kind of ring, and of those in an indirect table. */
export const DESC_BYTES = 16;

/** Split ring descriptor, §2.7.5: le64 addr, le32 len, le16 flags, le16 next. Offsets in bytes. */
export const SPLIT_DESC = { addr: 0, addrHigh: 4, len: 8, flags: 12, next: 14 } as const;

/** Available ring, §2.7.6: le16 flags, le16 idx, le16 ring[size], le16 used_event. Offsets in bytes. */
export const AVAIL = { flags: 0, idx: 2, ring: 4 } as const;

/** Used ring, §2.7.8: le16 flags, le16 idx, {le32 id, le32 len} ring[size], le16 avail_event. Offsets in bytes. */
export const USED = { flags: 0, idx: 2, ring: 4, elemBytes: 8 } as const;

/** `flags` of the available ring: don't interrupt; of the used ring: don't notify. §2.7.7, §2.7.10. */
export const NO_INTERRUPT = 1;
export const NO_NOTIFY = 1;

/** Packed ring descriptor, §2.8.13: le64 addr, le32 len, le16 id, le16 flags. Offsets in bytes. */
export const PACKED_DESC = { addr: 0, addrHigh: 4, len: 8, id: 12, flags: 14 } as const;

/** Event suppression structure, §2.8.14: le16 desc_event_off (15 bits) and wrap (bit 15), le16 flags. */
export const EVENT = { offWrap: 0, flags: 2, bytes: 4 } as const;

/** `flags` of the event suppression structure, §2.8.10. `DESC` needs EVENT_IDX. */
export const EVENT_F = { ENABLE: 0, DISABLE: 1, DESC: 2 } as const;

/** The three areas of a virtqueue: bytes and alignment of each, §2.7 and §2.8.11. */
export interface QueueAreas {
  /** Descriptor table, or descriptor ring. */
  readonly desc: { readonly bytes: number; readonly align: number };
  /** Driver area: available ring, or driver event suppression. */
  readonly driver: { readonly bytes: number; readonly align: number };
  /** Device area: used ring, or device event suppression. */
  readonly device: { readonly bytes: number; readonly align: number };
}

/** Areas of a ring of `size` descriptors. The event words are always there: they cost nothing when they are not used. */
export function queueAreas(size: number, packed: boolean): QueueAreas {
  const desc = { bytes: size * DESC_BYTES, align: 16 };
  if (packed) return { desc, driver: { bytes: EVENT.bytes, align: 4 }, device: { bytes: EVENT.bytes, align: 4 } };
  return {
    desc,
    driver: { bytes: AVAIL.ring + size * 2 + 2, align: 2 },
    device: { bytes: USED.ring + size * USED.elemBytes + 2, align: 4 },
  };
}
