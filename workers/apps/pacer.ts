/** When a generator may send: a rate without drift, and never more at once than one burst. Data half. */
import type { Clock } from '../../lib/queue.ts';

/** Says how many packets are due. */
export interface Pacer {
  /** How many may be sent now; 0 to the burst. Counts what it gives up: see `makePacer`. */
  due(): number;
  /** `n` of them were made. */
  take(n: number): void;
  /** Microseconds until the next is due, as of the last `due()`: 1 to 1,000,000. */
  wait(): number;
}

const START = 0;
const NOW = 1;
const TAKEN = 2;
const LONGEST_WAIT_US = 1_000_000;
const COUNTER_MAX = 0x7fff_ffff;

/**
 * Paces `rate` packets per second; 0 is as many as possible, without a look at the clock. Packet k is due at
 * start + k / rate, computed anew each time, so nothing adds up to a drift. After a stall all but one burst of what
 * is due is given up and told to `missed`: what a wire did not get in time it does not get later.
 */
export function makePacer(clock: Clock, rate: number, burst: number, missed: (n: number) => void): Pacer {
  if (rate === 0) return { due: () => burst, take: () => {}, wait: () => 1 };
  // Doubles in memory of their own: in variables of a closure each new value would be an allocation.
  const state = new Float64Array(3);
  state[START] = -1;
  return {
    due() {
      const now = clock.now();
      if (state[START] < 0) state[START] = now;
      state[NOW] = now;
      const due = Math.floor(((now - state[START]) * rate) / 1e9) + 1 - state[TAKEN];
      if (due <= burst) return due | 0;
      state[TAKEN] += due - burst;
      missed(Math.min(due - burst, COUNTER_MAX));
      return burst;
    },
    take(n) {
      state[TAKEN] += n;
    },
    wait() {
      const at = state[START] + (state[TAKEN] * 1e9) / rate;
      return Math.min(Math.max(Math.ceil((at - state[NOW]) / 1000), 1), LONGEST_WAIT_US);
    },
  };
}
