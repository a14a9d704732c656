/**
 * Counters: u64 in the arena, one writer each, readable from any thread at any time.
 * Two 32-bit halves, low first. JavaScript has no cheap 64-bit integer, so the writer touches only the low half until
 * it wraps (once in 4 billion); while it carries, bit 31 of the high half tells readers so. A count is below 2^63.
 */

/** Bytes that `count` counters occupy. */
export const counterBytes = (count: number): number => count * 8;

const CARRYING = 0x8000_0000 | 0;
const READ_ATTEMPTS = 1000;

function carry(words: Int32Array, at: number, low: number): void {
  const high = words[at + 1];
  // Mark, low, high: in this order, so that a reader who sees the new low half sees the mark or the new high half.
  Atomics.store(words, at + 1, high | CARRYING);
  Atomics.store(words, at, low);
  Atomics.store(words, at + 1, (high + 1) & ~CARRYING);
}

/** Adds `n` (0 ≤ n < 2^31) to the counter `index`. */
export type Adder = (index: number, n: number) => void;

/** Returns the adder of `count` counters at `offset` (a multiple of 4). Data half. */
export function makeCounters(memory: SharedArrayBuffer, offset: number, count = 32): Adder {
  const words = new Int32Array(memory, offset, count * 2);
  return (index, n) => {
    const at = index << 1;
    const low = words[at];
    const sum = (low + n) | 0;
    if (sum >>> 0 < low >>> 0) carry(words, at, sum);
    else words[at] = sum;
  };
}

/** Reads one counter, from any thread. */
export function readCounter(memory: SharedArrayBuffer, offset: number, index: number): bigint {
  const words = new Int32Array(memory, offset + index * 8, 2);
  let high = 0;
  let low = 0;
  // The low half belongs to the high half if that is the same before and after. It changes three times in 4 billion.
  for (let attempt = 0; attempt < READ_ATTEMPTS; attempt++) {
    high = Atomics.load(words, 1);
    low = Atomics.load(words, 0);
    if (Atomics.load(words, 1) === high) break;
  }
  return (BigInt(highHalf(high, low)) << 32n) | BigInt(low >>> 0);
}

/** The high half without its mark, when `low` was read with it. */
function highHalf(high: number, low: number): number {
  if ((high & CARRYING) === 0) return high;
  // In the middle of a carry. A low half that has wrapped is less than one addition, so below 2^31; one that has not
  // yet is above.
  return (high & ~CARRYING) + (low >= 0 ? 1 : 0);
}

/** Reads the counters `names` stand for, in their order. */
export function readCounters(
  memory: SharedArrayBuffer,
  offset: number,
  names: readonly string[],
): Record<string, bigint> {
  return Object.fromEntries(names.map((name, i) => [name, readCounter(memory, offset, i)]));
}

/**
 * Brings counters in order whose writer's thread was ended: in the middle of a carry it left the mark, which says
 * something else once the low half goes on. The caller is their writer from now on.
 */
export function mendCounters(memory: SharedArrayBuffer, offset: number, count: number): void {
  const words = new Int32Array(memory, offset, count * 2);
  for (let at = 0; at < words.length; at += 2) {
    const high = words[at + 1];
    if ((high & CARRYING) !== 0) Atomics.store(words, at + 1, highHalf(high, words[at]));
  }
}
