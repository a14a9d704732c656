/** Sequence numbers of many flows: what is missing, what came late, what came twice. Data half. */

/** How far behind its flow's highest a number can be and still be told from a duplicate. A power of two. */
export const WINDOW = 1024;

/** What `Tracker` returns for a number below the highest: it was missing until now. */
export const LATE = -1;
/** It was there before. */
export const DUPLICATE = -2;
/** It is so far behind that nobody knows: more than `WINDOW`. */
export const STALE = -3;

/** Notes that number (`high`, `low`) of `flow` came. Returns how many were passed over (0: in order), or one of the above. */
export type Tracker = (flow: number, high: number, low: number) => number;

const WORDS = WINDOW >>> 5;
const MASK = WINDOW - 1;
const TWO_32 = 0x1_0000_0000;

/** Makes a tracker of `flows` flows, all of which start at 0. Numbers are below 2^53. */
export function makeTracker(flows: number): Tracker {
  // The number that each flow should have next, and for the WINDOW numbers before it a bit each: it came.
  const nextLow = new Int32Array(flows);
  const nextHigh = new Int32Array(flows);
  const came = new Int32Array(flows * WORDS);
  const wordOf = (flow: number, low: number): number => (flow * WORDS + ((low & MASK) >>> 5)) | 0;

  function forget(flow: number, low: number, count: number): void {
    if (count >= WINDOW) {
      const base = (flow * WORDS) | 0;
      for (let i = 0; i < WORDS; i = (i + 1) | 0) came[base + i] = 0;
      return;
    }
    for (let i = 0; i < count; i = (i + 1) | 0) came[wordOf(flow, (low + i) | 0)] &= ~(1 << ((low + i) & 31));
  }
  function advance(flow: number, high: number, low: number): void {
    came[wordOf(flow, low)] |= 1 << (low & 31);
    nextLow[flow] = (low + 1) | 0;
    nextHigh[flow] = low === -1 ? (high + 1) | 0 : high;
  }
  function behind(flow: number, low: number, distance: number): number {
    if (distance > WINDOW) return STALE;
    const w = wordOf(flow, low);
    const bit = 1 << (low & 31);
    if ((came[w] & bit) !== 0) return DUPLICATE;
    came[w] |= bit;
    return LATE;
  }
  return (flow, high, low) => {
    const wantLow = nextLow[flow];
    const wantHigh = nextHigh[flow];
    if (low === wantLow && high === wantHigh) {
      advance(flow, high, low);
      return 0;
    }
    const ahead = (high - wantHigh) * TWO_32 + ((low >>> 0) - (wantLow >>> 0));
    if (ahead < 0) return behind(flow, low, -ahead);
    forget(flow, wantLow, Math.min(ahead, WINDOW) | 0);
    advance(flow, high, low);
    return ahead;
  };
}
