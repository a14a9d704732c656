/** Checksums of packets in several parts: part i is the `lengths[i]` bytes at `offsets[i]`. Either half. */
import { fold, sum } from './checksum.ts';

/** The same memory twice. */
export interface PartViews {
  readonly i32: Int32Array;
  readonly u8: Uint8Array;
}

/** The folded sum of the bytes from byte `start` of the packet on. */
function sumFrom(i32: Int32Array, offsets: Int32Array, lengths: Int32Array, n: number, start: number): number {
  let total = 0;
  let odd = 0;
  let skip = start;
  for (let i = 0; i < n; i = (i + 1) | 0) {
    const length = (lengths[i] - skip) | 0;
    if (length <= 0) {
      skip = -length;
      continue;
    }
    const part = sum(i32, (offsets[i] + skip) | 0, length);
    // RFC 1071 §2B: what follows an odd number of bytes has its bytes the other way round.
    total = fold((total + (odd === 0 ? part : ((part & 0xff) << 8) | (part >>> 8))) | 0);
    odd ^= length & 1;
    skip = 0;
  }
  return total;
}

function put(u8: Uint8Array, offsets: Int32Array, lengths: Int32Array, at: number, value: number): void {
  let i = 0;
  for (; at >= lengths[i]; i = (i + 1) | 0) at = (at - lengths[i]) | 0;
  u8[(offsets[i] + at) | 0] = value;
}

/**
 * Stores the checksum of the bytes from `start` on at `field`, which holds the sum of the pseudo-header (virtio 1.2
 * §5.1.6.2). False when that does not lie in the packet's `total` bytes; nothing has been done then.
 */
export function completeParts(
  { i32, u8 }: PartViews,
  offsets: Int32Array,
  lengths: Int32Array,
  n: number,
  total: number,
  start: number,
  field: number,
): boolean {
  if (field + 2 > total || start > field) return false;
  const checksum = ~sumFrom(i32, offsets, lengths, n, start) & 0xffff;
  // Zero means "none" in UDP; the other zero is as good everywhere.
  const stored = checksum === 0 ? 0xffff : checksum;
  put(u8, offsets, lengths, field, stored >>> 8);
  put(u8, offsets, lengths, (field + 1) | 0, stored & 0xff);
  return true;
}
