/** How long to wait before something that failed is tried again. */

/** After so many milliseconds without a failure the next one counts as the first. */
const FORGET_MS = 10_000;

/** Doubles from the first wait to the last. */
export class Backoff {
  private readonly first: number;
  private readonly last: number;
  private readonly now: () => number;
  private failures = 0;
  private latest = Number.NEGATIVE_INFINITY;

  constructor([first, last]: readonly [number, number], now: () => number = () => performance.now()) {
    this.first = first;
    this.last = last;
    this.now = now;
  }

  /** Counts a failure; returns how many milliseconds to wait. */
  next(): number {
    if (this.now() - this.latest > FORGET_MS + this.last) this.failures = 0;
    this.latest = this.now();
    return Math.min(this.last, this.first * 2 ** this.failures++);
  }
}
