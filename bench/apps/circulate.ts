/** l2fwd over rings that feed themselves: puts frames into them, once, then is l2fwd and nothing else. */
import type { App } from '../../lib/queue.ts';
import type { l2fwd as L2fwd } from '../../workers/apps/l2fwd.ts';

// An instance for each job, as the engine gives one to each job of l2fwd's own (docs/adr/0007-job-instances.md).
const instance = new URL(`../../workers/apps/l2fwd.js${new URL(import.meta.url).search}`, import.meta.url);
const { l2fwd } = (await import(instance.href)) as { l2fwd: typeof L2fwd };

/** Options of `circulate`. */
export interface CirculateOptions {
  /** Frames that go round. */
  readonly frames: number;
  /** Milliseconds until they are sent: a card's link takes its time to come up. At once if absent. */
  readonly afterMs?: number;
}

/** Bytes of a packet without FCS: the least that Ethernet has (IEEE 802.3-2018 §3.2.8). */
const LENGTH = 60;

/** Sends `options.frames` frames, and returns l2fwd's burst function. */
export const circulate: App<CirculateOptions> = (context) => {
  const { frames, tx, options, clock } = context;
  const { afterMs = 0 } = options;
  const burst = frames.burst(options.frames);

  function send(): void {
    burst.count = frames.allocate(burst, 0, options.frames);
    burst.lengths.fill(LENGTH);
    const sent = tx[0].transmit(burst, 0, burst.count);
    frames.free(burst, sent, burst.count);
  }

  const forward = l2fwd({ ...context, options: { macUpdating: true } });
  if (afterMs === 0) {
    send();
    return forward;
  }
  const due = clock.now() + afterMs * 1e6;
  let waiting = true;
  return () => {
    if (waiting && clock.now() >= due) {
      waiting = false;
      send();
    }
    return forward();
  };
};
