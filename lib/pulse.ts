/**
 * Looks that come due together. What an idle engine takes is its wake-ups: timers of their own, one for each port, device and
 * watch, would each have this thread woken, and cost as much as most looks do. Control half.
 */

/** After the moment, so that timers which were rounded differently are due at the same wake-up, in milliseconds. */
const SLACK_MS = 2;

/** A look that is repeated. */
export interface Pulse {
  /** Ends it. Idempotent. */
  stop(): void;
}

interface Look {
  readonly look: () => void;
  readonly keepsAlive: boolean;
}

/** All looks of one period, and the timer that they share. */
class Beat {
  private readonly ms: number;
  private readonly looks = new Set<Look>();
  private timer: NodeJS.Timeout | undefined;

  constructor(ms: number) {
    this.ms = ms;
  }

  add(look: Look): Pulse {
    this.looks.add(look);
    this.wait();
    return {
      stop: () => {
        if (this.looks.delete(look)) this.wait();
      },
    };
  }

  private wait(): void {
    clearTimeout(this.timer);
    if (this.looks.size === 0) return;
    const { ms } = this;
    this.timer = setTimeout(() => this.strike(), Math.ceil(ms - (performance.now() % ms)) + SLACK_MS);
    if (![...this.looks].some(({ keepsAlive }) => keepsAlive)) this.timer.unref();
  }

  private strike(): void {
    this.wait();
    for (const one of [...this.looks]) {
      if (!this.looks.has(one)) continue; // stopped by a look before it
      try {
        one.look();
      } catch (error) {
        // As if its timer were its own: the others look all the same.
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }
}

const beats = new Map<number, Beat>();

/**
 * Calls `look` at every multiple of `ms` of this process's clock, from the next one on. `keepsAlive`: the process does not end
 * by itself meanwhile.
 */
export function everyMs(ms: number, look: () => void, keepsAlive = false): Pulse {
  const beat = beats.get(ms) ?? new Beat(ms);
  beats.set(ms, beat);
  return beat.add({ look, keepsAlive });
}
