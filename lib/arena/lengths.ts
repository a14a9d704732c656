/** Lengths of a burst, checked and summed in one pass. Data half. */
import { MORE } from '../queue.ts';

const more = MORE;

/**
 * Returns the sum of `lengths` [from, to), or -1 when one of them is below `least` or above `most`. A burst is at most
 * 512 frames of at most 64 KiB: the sum fits.
 */
export function sumLengths(lengths: Int32Array, from: number, to: number, least: number, most: number): number {
  let sum = 0;
  // Negative once a length is below `least` or above `most`: no branch per frame. By eights: V8 loads the view's base
  // and length for every turn of a loop.
  let sign = 0;
  let i = from;
  for (const last = (to - 7) | 0; i < last; i = (i + 8) | 0) {
    const a = lengths[i];
    const b = lengths[(i + 1) | 0];
    const c = lengths[(i + 2) | 0];
    const d = lengths[(i + 3) | 0];
    const e = lengths[(i + 4) | 0];
    const f = lengths[(i + 5) | 0];
    const g = lengths[(i + 6) | 0];
    const h = lengths[(i + 7) | 0];
    sum = (sum + a + b + c + d + ((e + f + g + h) | 0)) | 0;
    sign |= (a - least) | (most - a) | (b - least) | (most - b) | (c - least) | (most - c) | (d - least) | (most - d);
    sign |= (e - least) | (most - e) | (f - least) | (most - f) | (g - least) | (most - g) | (h - least) | (most - h);
  }
  for (; i < to; i = (i + 1) | 0) {
    const a = lengths[i];
    sum = (sum + a) | 0;
    sign |= (a - least) | (most - a);
  }
  return sign < 0 ? -1 : sum;
}

/** Returns the sum of the first `count` lengths, or -1 when some packet of them has several segments. */
export function sumWhole(lengths: Int32Array, count: number): number {
  let sum = 0;
  let all = 0;
  let i = 0;
  for (const last = (count - 3) | 0; i < last; i = (i + 4) | 0) {
    const a = lengths[i];
    const b = lengths[(i + 1) | 0];
    const c = lengths[(i + 2) | 0];
    const d = lengths[(i + 3) | 0];
    sum = (sum + a + b + c + d) | 0;
    all |= a | b | c | d;
  }
  for (; i < count; i = (i + 1) | 0) {
    const a = lengths[i];
    sum = (sum + a) | 0;
    all |= a;
  }
  return all >= more ? -1 : sum;
}
