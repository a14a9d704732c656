/** l2fwd over rings that feed themselves: puts frames into them, once, then is l2fwd and nothing else. */
import type { App } from '../../lib/queue.ts';
import { l2fwd } from '../../workers/apps/l2fwd.ts';

/** Options of `circulate`. */
export interface CirculateOptions {
  /** Frames that go round. */
  readonly frames: number;
}

/** Bytes of a packet without FCS: the least that Ethernet has (IEEE 802.3-2018 §3.2.8). */
const LENGTH = 60;

/** Sends `options.frames` frames, and returns l2fwd's burst function. */
export const circulate: App<CirculateOptions> = (context) => {
  const { frames, tx, options } = context;
  const burst = frames.burst(options.frames);
  burst.count = frames.allocate(burst, 0, options.frames);
  burst.lengths.fill(LENGTH);
  const sent = tx[0].transmit(burst, 0, burst.count);
  frames.free(burst, sent, burst.count);
  return l2fwd({ ...context, options: { macUpdating: true } });
};
