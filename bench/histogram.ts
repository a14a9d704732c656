/** A histogram of nanoseconds: 32 buckets for each doubling, so that what it says is at most 3 % too high. Pure. */

/** Buckets for 0 ns to 2^31 - 1 ns. */
export const BUCKETS = 864;
const LONGEST = 0x7fff_ffff;

/** Returns the bucket of `ns`; from two seconds on the last one. */
export function bucketOf(ns: number): number {
  const value = ns < LONGEST ? ns | 0 : LONGEST;
  const shift = value < 64 ? 0 : 26 - Math.clz32(value);
  return (shift << 5) + (value >>> shift);
}

/** Returns the longest time in `bucket`, in nanoseconds. */
export function longestIn(bucket: number): number {
  if (bucket < 64) return bucket;
  const shift = (bucket >>> 5) - 1;
  return ((bucket & 31) + 33) * 2 ** shift - 1;
}

/** Returns the time that the share `q` (0 to 1) of what was counted did not exceed; NaN when nothing was. */
export function timeAt(counts: readonly number[], q: number): number {
  const total = counts.reduce((sum, count) => sum + count, 0);
  let left = Math.max(1, Math.ceil(total * q));
  for (const [bucket, count] of counts.entries()) {
    left -= count;
    if (left <= 0) return longestIn(bucket);
  }
  return Number.NaN;
}
