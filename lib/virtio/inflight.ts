/**
 * The inflight area (QEMU, docs/interop/vhost-user.rst, "Inflight I/O tracking"): in it a back end notes what it is working
 * on, so that another can go on after a crash. Tables, nothing else. Offsets in bytes, all little-endian.
 */

/** `version` of a part that is in use; 0 is one that was never used. */
export const INFLIGHT_VERSION = 1;

/** QueueRegionSplit: u64 features, u16 version, u16 desc_num, u16 last_batch_head, u16 used_idx, then DescStateSplit[]. */
export const INFLIGHT_SPLIT = { version: 8, descNum: 10, lastBatchHead: 12, usedIdx: 14, head: 16, entry: 16 } as const;

/** DescStateSplit: u8 inflight, u8 padding[5], u16 next, u64 counter. */
export const SPLIT_STATE = { inflight: 0, next: 6, counter: 8 } as const;

/**
 * QueueRegionPacked: u64 features, u16 version, u16 desc_num, u16 free_head, u16 old_free_head, u16 used_idx,
 * u16 old_used_idx, u8 used_wrap_counter, u8 old_used_wrap_counter, u8 padding[7], then DescStatePacked[], aligned to 8.
 */
export const INFLIGHT_PACKED = {
  version: 8,
  descNum: 10,
  freeHead: 12,
  oldFreeHead: 14,
  usedIdx: 16,
  oldUsedIdx: 18,
  usedWrap: 20,
  oldUsedWrap: 21,
  head: 32,
  entry: 32,
} as const;

/** DescStatePacked: u8 inflight, u8 padding, u16 next, u16 last, u16 num, u64 counter, u16 id, u16 flags, u32 len, u64 addr. */
export const PACKED_STATE = {
  inflight: 0,
  next: 2,
  last: 4,
  num: 6,
  counter: 8,
  id: 16,
  flags: 18,
  len: 20,
  addr: 24,
} as const;
