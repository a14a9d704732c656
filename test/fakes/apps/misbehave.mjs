// Applications that fail, each in its own way. All of them forward until they do.
import { execSync } from 'node:child_process';
import { forward } from './forward.mjs';

/** Forwards `options.after` bursts with packets (0 if absent), then calls `misdeed` at every burst. */
const then = (misdeed) => (context) => {
  const poll = forward(context);
  let left = context.options.after ?? 0;
  return () => {
    if (left <= 0) return misdeed(context);
    const n = poll();
    if (n > 0) left--;
    return n;
  };
};

/** Receives a burst that it will not give back. */
const grab = ({ rx, frames, burst }) => rx.receive(frames.burst(burst));

/** Throws at every call, or as often as the shared word `options.times` says, over all restarts. */
export const throwing = then((context) => {
  const { times } = context.options;
  if (times !== undefined && Atomics.sub(new Int32Array(times), 0, 1) <= 0) return 0;
  grab(context);
  throw new Error('the application is broken');
});

/** Throws at every `options.every`th burst, with that burst in its hands. */
export const sometimes = (context) => {
  const poll = forward(context);
  let calls = 0;
  return () => {
    if (++calls % context.options.every === 0 && grab(context) > 0) throw new Error('now and then');
    return poll();
  };
};

export const hanging = then((context) => {
  grab(context);
  for (;;);
});

/** Hangs, but keeps moving frames: it is ended in the middle of that. */
export const busy = then(({ rx, tx: [out], frames, burst: size }) => {
  const burst = frames.burst(size);
  for (;;) {
    const n = rx.receive(burst);
    const sent = out.transmit(burst, 0, n >>> 1);
    frames.free(burst, sent, n);
    const made = frames.allocate(burst, 0, 3);
    frames.free(burst, 0, made);
  }
});

/**
 * Takes a burst, and then keeps something at each call. Not all in one call: from a loop without an end that calls nothing
 * but built-in functions V8 may take the check for an interrupt, and nobody could end it (README).
 */
export const hoarding = (context) => {
  const all = [];
  return then(() => {
    if (all.length === 0) grab(context);
    all.push(new Array(500).fill(0.5));
    return 1;
  })(context);
};

/** Runs out of memory little by little, `options.every` calls for each piece, forwarding meanwhile. */
export const leaking = (context) => {
  const { every } = context.options;
  const poll = forward(context);
  const all = [];
  let calls = 0;
  return () => {
    if (++calls % every === 0) all.push(new Array(500).fill(0.5));
    return poll();
  };
};

export const exiting = then((context) => {
  grab(context);
  process.exit(3);
});

/** Rejects a promise that nobody waits for, and throws, so that the thread comes to notice it. */
export const rejecting = then((context) => {
  grab(context);
  Promise.reject(new Error('nobody waits for this'));
  throw new Error('the application is broken');
});

/** Waits in a system call, where it cannot be ended; if `options.waited` is a shared word, once. */
export const waiting = then((context) => {
  const { waited } = context.options;
  if (waited !== undefined && Atomics.exchange(new Int32Array(waited), 0, 1) === 1) return 0;
  grab(context);
  execSync(`sleep ${context.options.seconds}`);
  return 0;
});

/** Has taken the lock of the frame pool's depot (`options.lock`, an arena offset), and hangs. */
export const locking = then(({ frames, worker, options }) => {
  Atomics.store(frames.i32, options.lock >>> 2, worker + 1);
  for (;;);
});

export const factoryThrows = () => {
  throw new Error('no application today');
};
/** Has taken `options.take` frames by then. */
export const factoryThrowsWithFrames = ({ frames, options: { take } }) => {
  frames.allocate(frames.burst(take), 0, take);
  throw new Error('no application today');
};
export const factoryReturnsNothing = () => {};
export const asyncFactory = async () => () => 0;
export const notAFunction = 5;
export const factoryHangs = () => {
  for (;;);
};
export const factoryExits = () => process.exit(4);
export const factoryRejects = () => {
  Promise.reject(new Error('nobody waits for this'));
  return () => 0;
};
export const seventeenCounters = ({ counter }) => {
  for (let i = 0; i < 17; i++) counter(`c${i}`);
  return () => 0;
};
export const sameCounterTwice = ({ counter }) => {
  counter('c');
  counter('c');
  return () => 0;
};

export const freesTwice = then(({ rx, frames, burst: size }) => {
  const burst = frames.burst(size);
  const n = rx.receive(burst);
  frames.free(burst, 0, n);
  frames.free(burst, 0, n);
  return n;
});
export const sendsTwice = then(({ rx, tx: [out], frames, burst: size }) => {
  const burst = frames.burst(size);
  const n = rx.receive(burst);
  const sent = out.transmit(burst, 0, n);
  out.transmit(burst, 0, sent);
  return n;
});
export const freesSent = then(({ rx, tx: [out], frames, burst: size }) => {
  const burst = frames.burst(size);
  const n = rx.receive(burst);
  const sent = out.transmit(burst, 0, n);
  frames.free(burst, 0, sent);
  return n;
});
export const dropsFreed = then(({ rx, frames, burst: size }) => {
  const burst = frames.burst(size);
  const n = rx.receive(burst);
  frames.free(burst, 0, n);
  frames.drop(burst, 0, n, 1);
  return n;
});
export const freesNonsense = then(({ rx, frames, burst: size }) => {
  const burst = frames.burst(size);
  const n = rx.receive(burst);
  if (n === 0) return 0;
  frames.free(burst, 0, n);
  burst.offsets[0] = 12;
  frames.free(burst, 0, 1);
  return n;
});
