// Applications that do what they should: forward, swap what they say about themselves, hold back, count.
import { DROP } from 'linecard/queue';
import { makeRan, makeWaited, RAN_NS } from './run-queue.mjs';

/** What comes in leaves by the first tx port; what does not fit is dropped. */
export const forward = ({ rx, tx: [out], frames, burst: size }) => {
  const burst = frames.burst(size);
  return () => {
    const n = rx.receive(burst);
    const sent = out.transmit(burst, 0, n);
    frames.drop(burst, sent, n, DROP.tx_full);
    return n;
  };
};
export default forward;

/** What comes in is freed. */
export const consume = ({ rx, frames, burst: size }) => {
  const burst = frames.burst(size);
  return () => {
    const n = rx.receive(burst);
    frames.free(burst, 0, n);
    return n;
  };
};

/** As `forward`, counting bursts under the name in `options.counter`. */
export const counting = ({ counter, options, ...context }) => {
  const count = counter(options.counter);
  const poll = forward(context);
  return () => {
    count(1);
    return poll();
  };
};

/** Receives up to `options.hold` frames and keeps them for ever, then forwards. */
export const hoarding = ({ options: { hold }, ...context }) => {
  const { rx, frames } = context;
  const kept = frames.burst(hold);
  const one = frames.burst(1);
  const poll = forward(context);
  let n = 0;
  return () => {
    if (n === hold) return poll();
    const got = rx.receive(one);
    if (got === 1) kept.offsets[n++] = one.offsets[0];
    return got;
  };
};

/** Sends `options.lengths` as frames, one after the other, then is finished. */
export const lengths = ({ tx: [out], frames, finish, options, counter }) => {
  const burst = frames.burst(1);
  const accepted = counter('accepted');
  let next = 0;
  return () => {
    if (next === options.lengths.length) {
      finish();
      return 0;
    }
    if (frames.allocate(burst, 0, 1) === 0) return 0;
    burst.lengths[0] = options.lengths[next++];
    const sent = out.transmit(burst, 0, 1);
    accepted(sent);
    frames.drop(burst, sent, 1, DROP.tx_full);
    return sent;
  };
};

/**
 * As `forward`, and counts how often it was not called for `options.ms` milliseconds although its thread could have run.
 * What the kernel gave to other programs meanwhile does not count, nor when it kept the main thread from letting us go on,
 * for which we stood still while it looked for lost frames; nor that the whole machine stood still.
 */
export const watching = ({ clock, counter, options, ...context }) => {
  const gaps = counter('gaps');
  const poll = forward(context);
  const [ours, mains, ran] = [makeWaited(), makeWaited('self'), makeRan()];
  const waited = () => ours() + mains();
  const most = options.ms * 1e6;
  let last = 0; // of the first call: what is between that and now is the start of the others
  let lastWaited = 0;
  let lastRan = 0;
  let looked = 0;
  const look = (now) => {
    lastWaited = waited();
    lastRan = ran();
    looked = now;
  };
  return () => {
    const now = clock.now();
    if (last === 0) look(now);
    else if (now - last > most) {
      const [before, ranBefore] = [lastWaited, lastRan];
      look(now);
      const gap = Math.min(now - last, lastRan - ranBefore + RAN_NS);
      if (gap - (lastWaited - before) > most) gaps(1);
    } else if (now - looked > 5e6) look(now);
    last = now;
    return poll();
  };
};
