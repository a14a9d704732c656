/** Queues of the `null` driver: endless frames from nowhere, and a tx queue that frees what it is sent. Data half. */
import { makeCounters } from '../../arena/counters.ts';
import {
  MIN_FRAME_LENGTH,
  type QueueContext,
  type QueuePlan,
  RX,
  type RxQueue,
  TX,
  type TxQueue,
} from '../../queue.ts';

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
      for (let i = 0; i < n; i = (i + 1) | 0) lengths[i] = length;
      burst.count = n;
      count(RX.packets, n);
      count(RX.bytes, Math.imul(n, length));
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
  const span = plan.maxLength - MIN_FRAME_LENGTH;
  return {
    transmit(burst, from, to) {
      const { offsets, lengths } = burst;
      const end = to < lengths.length ? to : lengths.length;
      const n = (end - from) | 0;
      if (n <= 0) return 0;
      let bytes = 0;
      let runt = 0;
      let oversize = 0;
      for (let i = from; i < end; i = (i + 1) | 0) {
        const length = lengths[i];
        // One comparison for both bounds: too short wraps to a large unsigned number.
        if ((length - MIN_FRAME_LENGTH) >>> 0 <= span) bytes = (bytes + length) | 0;
        else if (length < MIN_FRAME_LENGTH) runt = (runt + 1) | 0;
        else oversize = (oversize + 1) | 0;
      }
      stack.give(offsets, from, end);
      count(TX.packets, n);
      count(TX.bytes, bytes);
      count(TX.completed, (n - runt - oversize) | 0);
      if (runt !== 0) count(TX.runt, runt);
      if (oversize !== 0) count(TX.oversize, oversize);
      return n;
    },
    kick() {},
    reclaim: () => 0,
  };
}

const WARM_UP_ROUNDS = 2000;

/** Receives and frees bursts of every kind: full, short of frames, with frames of impossible lengths, quiesced. */
export function warmUp(context: QueueContext): void {
  const counters = context.scratch(256);
  const plan = { module: '', port: 'warm-up', queue: 0, counters, counterNames: [], fd: -1, maxLength: 1518 };
  const tx = makeTxQueue({ ...plan, direction: 'tx', data: {} }, context);
  const size = 32;
  const burst = { size, offsets: new Int32Array(size), lengths: new Int32Array(size), count: 0 };
  for (let round = 0; round < WARM_UP_ROUNDS; round++) {
    const rx = makeRxQueue({ ...plan, direction: 'rx', data: { size: 60 } }, context);
    for (let i = 0; i < 4; i++) {
      const n = rx.receive(burst);
      if (round % 16 === 0) burst.lengths[0] = round % 32 === 0 ? 13 : 65_535;
      tx.transmit(burst, 0, n);
    }
    rx.quiesce();
    rx.receive(burst);
    tx.transmit(burst, 0, burst.count);
  }
}
