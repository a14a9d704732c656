/**
 * What fills a probe behind its header: bytes that follow from (flow, sequence), so that every one can be verified.
 * Words x, ~x, x + STEP, ~(x + STEP) … from a key that differs between packets. A word and its complement add up to
 * zero in an Internet checksum, so only the last few bytes (`tailSum`) change a packet's. Data half.
 */

// 2^32 / golden ratio, odd: neighbouring words, flows and sequences share no simple structure.
const STEP = 0x9e37_79b9 | 0;
const MIX = 0x85eb_ca6b | 0;

/** The two 16-bit halves of a word, added: its share in a sum. */
export const lanes = (word: number): number => (word & 0xffff) + (word >>> 16);

/** The first word of the pattern of packet (`high`, `low`) of `flow`. */
export const patternKey = (flow: number, high: number, low: number): number =>
  Math.imul(low ^ Math.imul(flow + 1, STEP), MIX) ^ Math.imul(high, STEP);

// The rest of 1 to 7 bytes behind the pairs of words: masks of its first and second word (0: there is none).
const firstMask = (rest: number): number => (rest >= 4 ? -1 : (1 << (rest << 3)) - 1);
const secondMask = (rest: number): number => (rest > 4 ? (1 << ((rest - 4) << 3)) - 1 : 0);
/** What the key has become behind the pairs. */
const tailKey = (bytes: number, key: number): number => (key + Math.imul(bytes >>> 3, STEP)) | 0;

/** Returns what a pattern of `bytes` adds to an Internet checksum, as a sum of little-endian words. */
export function tailSum(bytes: number, key: number): number {
  const rest = bytes & 7;
  if (rest === 0) return 0;
  const x = tailKey(bytes, key);
  return lanes(x & firstMask(rest)) + lanes(~x & secondMask(rest));
}

/** As `tailSum`, of the bytes that are there from word `at` on, whether they are the pattern's or not. */
export function tailSumOf(i32: Int32Array, at: number, bytes: number): number {
  const rest = bytes & 7;
  if (rest === 0) return 0;
  const tail = (at + ((bytes >>> 3) << 1)) | 0;
  const second = rest > 4 ? i32[tail + 1] & secondMask(rest) : 0;
  return lanes(i32[tail] & firstMask(rest)) + lanes(second);
}

/**
 * Writes `bytes` bytes of pattern from word `at` on, and zeros to the end of the last word. Unrolled, because where V8
 * does not know the view beforehand it loads its fields anew in each turn of a loop that stores, and on x64 those
 * loads can be taken for readers of the stores before them: 5 times slower.
 */
export function writePattern(i32: Int32Array, at: number, bytes: number, key: number): void {
  const stop = (at + ((bytes >>> 3) << 1)) | 0;
  let x = key;
  let w = at;
  for (const most = (stop - 7) | 0; w < most; w = (w + 8) | 0) {
    const b = (x + STEP) | 0;
    const c = (b + STEP) | 0;
    const d = (c + STEP) | 0;
    i32[w] = x;
    i32[w + 1] = ~x;
    i32[w + 2] = b;
    i32[w + 3] = ~b;
    i32[w + 4] = c;
    i32[w + 5] = ~c;
    i32[w + 6] = d;
    i32[w + 7] = ~d;
    x = (d + STEP) | 0;
  }
  for (; w < stop; w = (w + 2) | 0) {
    i32[w] = x;
    i32[w + 1] = ~x;
    x = (x + STEP) | 0;
  }
  const rest = bytes & 7;
  if (rest !== 0) i32[stop] = x & firstMask(rest);
  if (rest > 4) i32[stop + 1] = ~x & secondMask(rest);
}

/** True when the `bytes` bytes from word `at` on are the pattern. What follows in the last word is not looked at. */
export function checkPattern(i32: Int32Array, at: number, bytes: number, key: number): boolean {
  const stop = (at + ((bytes >>> 3) << 1)) | 0;
  let x = key;
  let differences = 0;
  for (let w = at; w < stop; w = (w + 2) | 0) {
    differences |= (i32[w] ^ x) | (i32[w + 1] ^ ~x);
    x = (x + STEP) | 0;
  }
  const rest = bytes & 7;
  if (rest !== 0) differences |= (i32[stop] ^ x) & firstMask(rest);
  if (rest > 4) differences |= (i32[stop + 1] ^ ~x) & secondMask(rest);
  return differences === 0;
}
