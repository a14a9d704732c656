// Applications that do what they should: forward, swap what they say about themselves, hold back, count.
import { DROP } from 'linecard/queue';
import { makeWaited } from './run-queue.mjs';

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
 * As `forward`, and counts how often it was not called for `options.ms` milliseconds although its thread could have run:
 * what the kernel gave to other programs meanwhile does not count, nor when it kept the main thread from letting us go on,
 * for which we stood still while it looked for lost frames.
 */
export const watching = ({ clock, counter, options, ...context }) => {
  const gaps = counter('gaps');
  const poll = forward(context);
  const [ours, mains] = [makeWaited(), makeWaited('self')];
  const waited = () => ours() + mains();
  let last = clock.now();
  let lastWaited = waited();
  let looked = last;
  return () => {
    const now = clock.now();
    if (now - last > options.ms * 1e6 || now - looked > 5e6) {
      const nowWaited = waited();
      if (now - last - (nowWaited - lastWaited) > options.ms * 1e6) gaps(1);
      lastWaited = nowWaited;
      looked = now;
    }
    last = now;
    return poll();
  };
};
