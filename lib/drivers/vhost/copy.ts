/** Copies between a peer's window and our arena. Data half. */

/**
 * Copies `length` bytes from byte `s` of one memory to byte `d` of another, of any alignment, and writes nothing else.
 * Of the source, whole words that hold one of the bytes are read. `to8` and `to32` are the same memory.
 */
export function copyBytes(
  to8: Uint8Array,
  to32: Int32Array,
  d: number,
  from8: Uint8Array,
  from32: Int32Array,
  s: number,
  length: number,
): void {
  const end = (d + length) | 0;
  // Bytes up to the first whole word of the destination.
  while (d < end && (d & 3) !== 0) {
    to8[d] = from8[s];
    d = (d + 1) | 0;
    s = (s + 1) | 0;
  }
  let t = d >>> 2;
  const last = end >>> 2;
  let f = s >>> 2;
  const shift = (s & 3) << 3;
  if (shift === 0) {
    copyWords(to32, t, from32, f, (last - t) | 0);
  } else if (t < last) {
    // Each word is made of two neighbours.
    const back = 32 - shift;
    let low = from32[f];
    for (; t < last; t = (t + 1) | 0) {
      f = (f + 1) | 0;
      const high = from32[f];
      to32[t] = (low >>> shift) | (high << back);
      low = high;
    }
  }
  const rest = last << 2 > d ? last << 2 : d;
  s = (s + rest - d) | 0;
  for (d = rest; d < end; d = (d + 1) | 0) {
    to8[d] = from8[s];
    s = (s + 1) | 0;
  }
}

/** Copies `count` words. */
export function copyWords(to: Int32Array, d: number, from: Int32Array, s: number, count: number): void {
  let i = 0;
  for (const eights = count & ~7; i < eights; i = (i + 8) | 0) {
    const t = (d + i) | 0;
    const f = (s + i) | 0;
    to[t] = from[f];
    to[(t + 1) | 0] = from[(f + 1) | 0];
    to[(t + 2) | 0] = from[(f + 2) | 0];
    to[(t + 3) | 0] = from[(f + 3) | 0];
    to[(t + 4) | 0] = from[(f + 4) | 0];
    to[(t + 5) | 0] = from[(f + 5) | 0];
    to[(t + 6) | 0] = from[(f + 6) | 0];
    to[(t + 7) | 0] = from[(f + 7) | 0];
  }
  for (; i < count; i = (i + 1) | 0) to[(d + i) | 0] = from[(s + i) | 0];
}
