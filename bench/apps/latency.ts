/** Sends frames with the time in them at an even rate, and counts how long each was under way when it comes back. */
import type { App } from '../../lib/queue.ts';
import { BUCKETS, bucketOf } from '../histogram.ts';

/** Words that both threads see: what is wanted, what was done, and the histogram from `first` on. */
export const LATENCY = { rate: 0, sent: 1, received: 2, full: 3, late: 4, first: 16, words: 16 + BUCKETS } as const;

/** Options of `latency`. */
export interface LatencyOptions {
  /** Int32 words of `LATENCY`. `rate`: packets per second; 0 is none, below that as many as there is room for. */
  readonly shared: SharedArrayBuffer;
}

/** Bytes of a packet without FCS, and where the time is in it. */
const LENGTH = 60;
const STAMP = 16;
/** Ethertype for experiments (IEEE 802, "Local Experimental Ethertype 1"). */
const ETHER_TYPE = 0x88b5;
/** In `state`: when it was looked at last, and packets that are due since, with their fractions. */
const LAST = 0;
const DUE = 1;

/** `sent`, `received`; `full`: offered, but the ring had no room; `late`: due while we ourselves did not run, and left out. */
export const latency: App<LatencyOptions> = ({ rx, tx: [out], frames, clock, burst: most, options }) => {
  const words = new Int32Array(options.shared);
  const incoming = frames.burst(most);
  const outgoing = frames.burst(most);
  outgoing.lengths.fill(LENGTH);
  const { view } = frames;
  // Not in variables: V8 would make an object for each value.
  const state = new Float64Array(2);
  state[LAST] = clock.now();

  function receive(now: number): void {
    for (let i = 0; i < incoming.count; i = (i + 1) | 0) {
      const bucket = LATENCY.first + bucketOf(now - view.getFloat64(incoming.offsets[i]! + STAMP));
      words[bucket] = (words[bucket]! + 1) | 0;
    }
    frames.free(incoming, 0, incoming.count);
    words[LATENCY.received] = (words[LATENCY.received]! + incoming.count) | 0;
  }

  function due(now: number): number {
    const rate = words[LATENCY.rate]!;
    const wanted = rate < 0 ? most : state[DUE]! + ((now - state[LAST]!) * rate) / 1e9;
    if (wanted > most) words[LATENCY.late] = (words[LATENCY.late]! + Math.floor(wanted - most)) | 0;
    state[DUE] = Math.min(most, wanted);
    state[LAST] = now;
    return state[DUE]! | 0;
  }

  function send(now: number, wanted: number): void {
    const n = frames.allocate(outgoing, 0, wanted);
    for (let i = 0; i < n; i = (i + 1) | 0) {
      const at = outgoing.offsets[i]!;
      view.setUint16(at + 12, ETHER_TYPE);
      view.setFloat64(at + STAMP, now);
    }
    const sent = out!.transmit(outgoing, 0, n);
    if (sent < n) frames.free(outgoing, sent, n);
    state[DUE] -= wanted;
    words[LATENCY.sent] = (words[LATENCY.sent]! + sent) | 0;
    words[LATENCY.full] = (words[LATENCY.full]! + wanted - sent) | 0;
  }

  return () => {
    const n = rx!.receive(incoming);
    const now = clock.now();
    if (n > 0) receive(now);
    const wanted = due(now);
    if (wanted > 0) send(now, wanted);
    return n;
  };
};
