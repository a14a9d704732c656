/** When a generator may send: a rate without drift, and never more at once than one burst. Data half. */
import type { Clock } from '../../lib/queue.ts';

/** Says how many packets are due. */
export interface Pacer {
  /** How many may be sent now; 0 to the burst. Counts what it gives up: see `makePacer`. */
  due(): number;
  /** `n` of them were made. */
  take(n: number): void;
  /** Microseconds until the next may be sent, as of the last `due()`: 1 to 1,000,000. */
  wait(): number;
}

// Places in the pacer's state: doubles in memory, since in variables of a closure each new value is an allocation.
const START = 0;
const NOW = 1;
const TAKEN = 2;
const TOKENS = 3;
const STATE = 4;

/** How much faster than the rate it may be while it is behind. */
const CATCH_UP = 2;
/** What is later than that, in seconds, is given up. */
const BACKLOG = 0.1;
const LONGEST_WAIT_US = 1_000_000;
const COUNTER_MAX = 0x7fff_ffff;

/**
 * Paces `rate` packets per second; 0 is as many as possible, without a look at the clock. Packet k is due at
 * start + k / rate, computed anew each time, so nothing adds up to a drift. After a stall it sends one burst and then
 * catches up at twice the rate: in a time t it never sends more than burst + 2 * rate * t. More than a tenth of a
 * second's packets (or a burst, if that is more) are not made up for, but told to `missed`.
 */
export function makePacer(clock: Clock, rate: number, burst: number, missed: (n: number) => void): Pacer {
  if (rate === 0) return { due: () => burst, take: () => {}, wait: () => 1 };
  const state = new Float64Array(STATE);
  const backlog = Math.max(burst, Math.floor(rate * BACKLOG));
  state[START] = -1;
  state[TOKENS] = burst;
  return {
    due() {
      const now = clock.now();
      if (state[START] < 0) {
        state[START] = now;
        state[NOW] = now;
      }
      const refill = ((now - state[NOW]) * rate * CATCH_UP) / 1e9;
      state[TOKENS] = Math.min(state[TOKENS] + refill, burst);
      state[NOW] = now;
      let owed = Math.floor(((now - state[START]) * rate) / 1e9) + 1 - state[TAKEN];
      if (owed > backlog) {
        missed(Math.min(owed - backlog, COUNTER_MAX));
        state[TAKEN] += owed - backlog;
        owed = backlog;
      }
      return Math.min(owed, state[TOKENS]) | 0;
    },
    take(n) {
      state[TAKEN] += n;
      state[TOKENS] -= n;
    },
    wait() {
      const scheduled = state[START] + (state[TAKEN] * 1e9) / rate;
      const allowed = state[NOW] + ((1 - state[TOKENS]) * 1e9) / (rate * CATCH_UP);
      const us = Math.ceil((Math.max(scheduled, allowed) - state[NOW]) / 1000);
      return Math.min(Math.max(us, 1), LONGEST_WAIT_US);
    },
  };
}
