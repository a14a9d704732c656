/** An application's view of its worker's frames, and the ledger of what it did with them. Data half. */
import type { Adder } from '../lib/arena/counters.ts';
import { type Burst, DROP, type FrameStack, type Frames, type RxQueue, type TxQueue } from '../lib/queue.ts';
import { LEDGER } from './control.ts';

/** Reasons from here on are the engine's: how many frames have no holder any more is told from their counters. */
const REASONS = DROP.app_died;

const { delivered, accepted } = LEDGER;

/** Makes a burst of up to `size` frames. */
export function makeBurst(size: number): Burst {
  return { size, offsets: new Int32Array(size), lengths: new Int32Array(size), count: 0 };
}

/** Makes the frames that a job sees: the worker's stack, with every frame counted where it goes. */
export function makeFrames(memory: SharedArrayBuffer, stack: FrameStack, count: Adder): Frames {
  return {
    u8: new Uint8Array(memory),
    i32: new Int32Array(memory),
    view: new DataView(memory),
    room: stack.room,
    burst: makeBurst,
    allocate(burst, at, wanted) {
      const free = (burst.size - at) | 0;
      const n = stack.take(burst.offsets, at, Math.min(wanted, free));
      count(LEDGER.allocated, n);
      return n;
    },
    free(burst, from, to) {
      if (to <= from) return;
      stack.give(burst.offsets, from, to);
      count(LEDGER.consumed, (to - from) | 0);
    },
    drop(burst, from, to, reason) {
      if (to <= from) return;
      stack.give(burst.offsets, from, to);
      const index = reason >>> 0;
      const known = index === reason && index < REASONS ? index : DROP.filter;
      count((LEDGER.dropped + known) | 0, (to - from) | 0);
    },
  };
}

/** The job's rx queue: what it delivers is counted for the job. */
export function countRx(rx: RxQueue, count: Adder): RxQueue {
  // A constant: from the second of its kind on, an object with a getter is a dictionary to V8, which does not inline what it
  // finds there (docs/adr/0008-inlining.md).
  const { receive } = rx;
  return {
    fd: rx.fd,
    patient: rx.patient,
    segments: rx.segments,
    receive(burst) {
      const n = receive(burst);
      if (n > 0) count(delivered, n);
      return n;
    },
    quiesce: () => rx.quiesce(),
    arm: () => rx.arm(),
    disarm: () => rx.disarm(),
  };
}

/** A tx queue as a job sees it: what is accepted is counted for the job. */
export function countTx(tx: TxQueue, count: Adder): TxQueue {
  const { transmit } = tx;
  return {
    transmit(burst, from, to) {
      const n = transmit(burst, from, to);
      if (n > 0) count(accepted, n);
      return n;
    },
    kick: () => tx.kick(),
    reclaim: () => tx.reclaim(),
  };
}

/** The rx queue of a job that has none: always empty. */
export const noRx: RxQueue = {
  fd: -1,
  patient: true,
  receive(burst) {
    burst.count = 0;
    return 0;
  },
  quiesce() {},
  arm: () => false,
  disarm() {},
};
