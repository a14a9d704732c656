/** Queues of the `null` driver: endless frames from nowhere, and a tx queue that frees what it is sent. Data half. */
import { makeCounters } from '../../arena/counters.ts';
import { sumLengths } from '../../arena/lengths.ts';
import { makeEnds } from '../../arena/segments.ts';
import {
  MIN_FRAME_LENGTH,
  MORE,
  type QueueContext,
  type QueuePlan,
  type RxQueue,
  TX,
  type TxQueue,
} from '../../queue.ts';

// Not read off the imported object where packets are: an import is a live binding, loaded through its module.
const { packets, bytes, completed } = TX;

/**
 * Makes an rx queue: each call fills the burst, as long as there are free frames. Their bytes are what they were. A
 * packet is as long as the port's name says, or as a frame has room for.
 */
export function makeRxQueue(plan: QueuePlan, context: QueueContext): RxQueue {
  const { stack } = context;
  const count = makeCounters(context.memory, plan.counters);
  const length = Math.min(plan.data.size, stack.room);
  let most = 0x7fff_ffff;
  return {
    fd: plan.fd,
    patient: true,
    receive(burst) {
      const { offsets, lengths, size } = burst;
      const n = stack.take(offsets, 0, size < most ? size : most);
      const eights = n & ~7;
      let i = 0;
      for (; i < eights; i = (i + 8) | 0) {
        lengths[i] = length;
        lengths[(i + 1) | 0] = length;
        lengths[(i + 2) | 0] = length;
        lengths[(i + 3) | 0] = length;
        lengths[(i + 4) | 0] = length;
        lengths[(i + 5) | 0] = length;
        lengths[(i + 6) | 0] = length;
        lengths[(i + 7) | 0] = length;
      }
      for (; i < n; i = (i + 1) | 0) lengths[i] = length;
      burst.count = n;
      count(packets, n);
      count(bytes, Math.imul(n, length));
      return n;
    },
    quiesce() {
      most = 0;
    },
    arm: () => most !== 0,
    disarm() {},
  };
}

/** Makes a tx queue: accepts everything, completes it at once. */
export function makeTxQueue(plan: QueuePlan, context: QueueContext): TxQueue {
  const { stack } = context;
  const count = makeCounters(context.memory, plan.counters);
  const least = MIN_FRAME_LENGTH;
  const most = plan.maxLength < stack.room ? plan.maxLength : stack.room;
  const countEach = makeEnds(plan, stack.room, count, completed);

  return {
    transmit(burst, from, to) {
      const { offsets, lengths } = burst;
      // As an integer: what V8 knows of a view's length alone would make everything after it floating point.
      const size = lengths.length | 0;
      const stop = to < size ? to : size;
      const n = (stop - from) | 0;
      if (n <= 0) return 0;
      const sum = sumLengths(lengths, from, stop, least, most);
      stack.give(offsets, from, stop);
      if (sum >= 0) {
        count(packets, n);
        count(bytes, sum);
        count(completed, n);
      } else countEach(lengths, from, stop);
      return n;
    },
    kick() {},
    reclaim: () => 0,
  };
}

const WARM_UP_ROUNDS = 2000;
/** Too short, too long, and the first of two segments. */
const WARM_UP_FIRST = [13, 70_001, MORE + 60];

/** Receives and frees bursts of every kind: full, short of frames, with frames of impossible lengths, quiesced. */
export function warmUp(context: QueueContext): void {
  const counters = context.scratch(256);
  const plan = { module: '', port: 'warm-up', queue: 0, counters, counterNames: [], fd: -1, maxLength: 70_000 };
  const tx = makeTxQueue({ ...plan, direction: 'tx', data: {} }, context);
  const size = 32;
  const burst = { size, offsets: new Int32Array(size), lengths: new Int32Array(size), count: 0 };
  for (let round = 0; round < WARM_UP_ROUNDS; round++) {
    const rx = makeRxQueue({ ...plan, direction: 'rx', data: { size: 60 } }, context);
    for (let i = 0; i < 4; i++) {
      const n = rx.receive(burst);
      if (n > 0 && round % 16 === 0) burst.lengths[0] = WARM_UP_FIRST[(round >>> 4) % WARM_UP_FIRST.length];
      tx.transmit(burst, 0, n);
    }
    rx.quiesce();
    rx.receive(burst);
    tx.transmit(burst, 0, burst.count);
  }
}
