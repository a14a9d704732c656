// One frame goes to and fro between two workers, each of which stalls at random before it sends: where a wake-up can be lost, it is.

import { makeWaited } from './run-queue.mjs';

/** Nanoseconds by which a frame is late that nobody was woken for: the longest sleep, less a little. */
const LATE_NS = 95_000_000;
const STAMP = 16;

/** A frame that came so much later found nobody awake. */
const WOKEN_NS = 3000;
/** How far the next wait may lie from the last one, and the longest: longer than anybody polls before he sleeps. */
const STEP_NS = 600;
const LONGEST_NS = 60_000;

/**
 * Waits not at all, by sleeping, or, most often, until the other is just about to sleep: longer each time that he was
 * still awake, shorter when he slept. A fence is missed where publishing meets arming, within some 20 ns: a wait at random
 * would be there once in a thousand times. A generator of its own: the same order each time.
 */
function makeStall(seed, clock, wasWoken) {
  const never = new Int32Array(new SharedArrayBuffer(4));
  let state = seed;
  let wait = 0;
  const random = () => {
    state = (Math.imul(state, 1664525) + 1013904223) | 0;
    return (state >>> 8) / 2 ** 24;
  };
  return () => {
    const kind = random();
    const step = random() * STEP_NS;
    wait = wasWoken() ? Math.max(0, wait - step) : Math.min(LONGEST_NS, wait + step);
    if (kind < 0.02) Atomics.wait(never, 0, 0, random() / 5);
    else if (kind < 0.9) for (const until = clock.now() + wait; clock.now() < until; );
  };
}

/**
 * `options.count` round trips; player 0 makes the frame. In `options.kicked` (four float64) each says when it has come back
 * from waking the other: what a busy machine delays before that is no frame that waits for anybody; and then each says
 * whether it had to be woken for the last frame.
 */
const player = ({ rx, tx: [out], frames, clock, counter, finish, options }) => {
  const me = options.player;
  const kicked = new Float64Array(options.kicked);
  const burst = frames.burst(1);
  const trips = counter('trips');
  const late = counter('late');
  const stall = makeStall(me + 1, clock, () => kicked[3 - me] !== 0);
  const waited = makeWaited();
  let before = waited();
  let left = options.count;
  let serve = me === 0;
  let kicks = false;

  function send() {
    stall();
    before = waited();
    frames.view.setFloat64(burst.offsets[0] + STAMP, clock.now());
    burst.lengths[0] = 60;
    kicks = true;
    return out.transmit(burst, 0, 1);
  }
  /** How long the frame has lain there since we were to be woken, less what we waited for a cpu, in nanoseconds. */
  function lay(sent) {
    const since = kicked[1 - me];
    return since < sent ? 0 : clock.now() - since - (waited() - before);
  }
  return () => {
    if (kicks) {
      kicked[me] = clock.now();
      kicks = false;
    }
    if (serve) {
      if (frames.allocate(burst, 0, 1) === 0) return 0;
      serve = false;
      return send();
    }
    if (rx.receive(burst) === 0) return 0;
    const sent = frames.view.getFloat64(burst.offsets[0] + STAMP);
    const under = clock.now() - sent;
    kicked[2 + me] = under > WOKEN_NS ? 1 : 0;
    if (under > LATE_NS && lay(sent) > LATE_NS) late(1);
    trips(1);
    if (--left > 0) return send();
    frames.free(burst, 0, 1);
    finish();
    return 1;
  };
};
export default player;
