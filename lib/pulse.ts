/**
 * Looks that come due together. What an idle engine takes is its wake-ups: timers of their own, one for each port, device and
 * watch, would each have this thread woken. Control half.
 */

/** After the moment, so that timers which were rounded differently are due at the same wake-up, in milliseconds. */
const SLACK_MS = 2;

/** A look that is repeated. */
export interface Pulse {
  /** Ends it. Idempotent. */
  stop(): void;
}

/**
 * Calls `look` at every multiple of `ms` of this process's clock, from the next one on. `keepsAlive`: the process does not end
 * by itself meanwhile.
 */
export function everyMs(ms: number, look: () => void, keepsAlive = false): Pulse {
  let timer: NodeJS.Timeout | undefined;
  const wait = () => {
    timer = setTimeout(beat, Math.ceil(ms - (performance.now() % ms)) + SLACK_MS);
    if (!keepsAlive) timer.unref();
  };
  function beat(): void {
    wait();
    look();
  }
  wait();
  return { stop: () => clearTimeout(timer) };
}
