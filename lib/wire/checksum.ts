/**
 * The Internet checksum: RFC 1071 (computing), RFC 1624 (updating). Either half.
 *
 * Sums here are ones' complement sums of 16-bit big-endian words, checksums are their complements, both as numbers
 * 0..0xffff as `DataView.getUint16` would read them. Offsets are bytes from the first byte of the view.
 */

/** The same memory twice, as `Frames` has it: fields through the view, sums over words. */
export interface Views {
  readonly i32: Int32Array;
  readonly view: DataView;
}

/** Folds carries back in (RFC 1071 §2): a sum below 2^32 becomes 0..0xffff. 0 only comes of 0. */
export const fold = (sum: number): number => {
  const once = (sum & 0xffff) + (sum >>> 16);
  return ((once & 0xffff) + (once >>> 16)) | 0;
};

/**
 * Returns the folded sum of the `length` bytes at `at`, of any alignment, up to 65,535 bytes.
 * Words are added as the host (little-endian on all that we run on) reads them, which only swaps the bytes of the
 * result (RFC 1071 §2B); an odd start swaps them once more.
 */
export function sum(i32: Int32Array, at: number, length: number): number {
  if (length <= 0) return 0;
  const end = (at + length) | 0;
  const last = (end - 1) >>> 2;
  // Bytes of the first and last word that lie outside of the range count as zero.
  const tail = -1 >>> ((-end & 3) << 3);
  let i = at >>> 2;
  let word = i32[i] & (-1 << ((at & 3) << 3));
  if (i === last) return order(at, word & tail);
  let low = word & 0xffff;
  let high = word >>> 16;
  word = i32[last] & tail;
  low = (low + (word & 0xffff)) | 0;
  high = (high + (word >>> 16)) | 0;
  i = (i + 1) | 0;
  for (const stop = (last - 3) | 0; i < stop; i = (i + 4) | 0) {
    const a = i32[i];
    const b = i32[i + 1];
    const c = i32[i + 2];
    const d = i32[i + 3];
    low = (low + (a & 0xffff) + (b & 0xffff) + (c & 0xffff) + (d & 0xffff)) | 0;
    high = (high + (a >>> 16) + (b >>> 16) + (c >>> 16) + (d >>> 16)) | 0;
  }
  for (; i < last; i = (i + 1) | 0) {
    const a = i32[i];
    low = (low + (a & 0xffff)) | 0;
    high = (high + (a >>> 16)) | 0;
  }
  return order(at, fold(low) + fold(high));
}

/** The big-endian sum, of a sum of little-endian words that began at `at`. */
const order = (at: number, words: number): number => {
  const folded = fold(words);
  return (at & 1) === 0 ? ((folded & 0xff) << 8) | (folded >>> 8) : folded;
};

/**
 * Returns the checksum of the `length` bytes at `at` and of whatever was summed up before (a pseudo-header's sum).
 * To make one, the checksum field must hold zero.
 */
export const checksum = (i32: Int32Array, at: number, length: number, before: number): number =>
  ~fold((sum(i32, at, length) + before) | 0) & 0xffff;

/** True when the `length` bytes at `at`, checksum field included, and the sum `before` are consistent. */
export const checksumOk = (i32: Int32Array, at: number, length: number, before: number): boolean =>
  fold((sum(i32, at, length) + before) | 0) === 0xffff;

/** Returns the checksum after a 16-bit word went from `from` to `to` (RFC 1624 §3, equation 3). */
export const update16 = (check: number, from: number, to: number): number =>
  ~fold((~check & 0xffff) + (~from & 0xffff) + (to & 0xffff)) & 0xffff;

/** As `update16`, for a 32-bit field (an address, a sequence number) that starts at an even offset. */
export const update32 = (check: number, from: number, to: number): number =>
  update16(update16(check, from >>> 16, to >>> 16), from, to);
