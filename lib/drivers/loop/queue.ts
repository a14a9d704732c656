/** Queues of the `loop` driver: an rx queue empties the rings that its tx queues fill. Data half. */
import { makeCounters } from '../../arena/counters.ts';
import { sumLengths } from '../../arena/lengths.ts';
import { makeRingConsumer, makeRingProducer, type RingConsumer } from '../../arena/ring.ts';
import { MIN_FRAME_LENGTH, type QueueContext, type QueuePlan, type RxQueue, TX, type TxQueue } from '../../queue.ts';
import { blockBytes, MAX_RINGS, ringAt } from './layout.ts';

const { packets, bytes, completed, runt, oversize } = TX;

/**
 * Makes an rx queue over the block of rings at `data.block`: it empties ring `data.first` and every `data.step`th after
 * it, as far as tx queues use them.
 */
export function makeRxQueue(plan: QueuePlan, context: QueueContext): RxQueue {
  const { block, size, first, step, endless } = plan.data;
  const count = makeCounters(context.memory, plan.counters);
  const header = new Int32Array(context.memory, block, 1);
  const rings: RingConsumer[] = [];
  for (let ring = first; ring < MAX_RINGS; ring += step) {
    rings.push(makeRingConsumer(context.memory, ringAt(block, ring, size), size));
  }
  let next = 0;
  let open = true;

  /** How many of our rings have a tx queue now. */
  const used = (): number => {
    const n = open ? ((header[0] - first + step - 1) / step) | 0 : 0;
    return n < rings.length ? n : rings.length;
  };

  return {
    fd: plan.fd,
    patient: false,
    receive(burst) {
      const most = used();
      let n = 0;
      // Each ring is looked at once, and the one after the last that had frames comes first.
      for (let i = 0; i < most && n === 0; i = (i + 1) | 0) {
        if (next >= most) next = 0;
        n = rings[next].take(burst);
        next = (next + 1) | 0;
      }
      burst.count = n;
      if (n === 0) return 0;
      const { lengths } = burst;
      let sum = 0;
      for (let i = 0; i < n; i = (i + 1) | 0) sum = (sum + lengths[i]) | 0;
      count(packets, n);
      count(bytes, sum);
      return n;
    },
    quiesce() {
      // What a port sends to itself would go round for ever: a loop stops here. A pair is emptied.
      if (endless === 1) open = false;
    },
    arm() {
      // All of them: who sends may start to use more rings while we sleep.
      const most = used();
      let waiting = false;
      for (let i = 0; i < rings.length; i = (i + 1) | 0) {
        const has = rings[i].arm();
        if (i < most && has) waiting = true;
      }
      return waiting;
    },
    disarm() {
      for (let i = 0; i < rings.length; i = (i + 1) | 0) rings[i].disarm();
    },
  };
}

/** Makes a tx queue on the ring at `data.ring` of `data.size` descriptors. */
export function makeTxQueue(plan: QueuePlan, context: QueueContext): TxQueue {
  const { stack } = context;
  const count = makeCounters(context.memory, plan.counters);
  const ring = makeRingProducer(context.memory, plan.data.ring, plan.data.size);
  const least = MIN_FRAME_LENGTH;
  const most = plan.maxLength;
  let inFlight = ring.pending();

  /** Enqueues what has a possible length of frames [from, stop), frees the others; returns the bytes of the former. */
  function pick(offsets: Int32Array, lengths: Int32Array, from: number, stop: number): number {
    let sum = 0;
    for (let i = from; i < stop; i = (i + 1) | 0) {
      const length = lengths[i];
      if (length >= least && length <= most) {
        ring.put(offsets[i], length);
        sum = (sum + length) | 0;
        inFlight = (inFlight + 1) | 0;
      } else {
        stack.push(offsets[i]);
        count(length < least ? runt : oversize, 1);
      }
    }
    return sum;
  }

  function reclaim(): number {
    const pending = ring.pending();
    count(completed, (inFlight - pending) | 0);
    inFlight = pending;
    return pending;
  }

  return {
    transmit(burst, from, to) {
      const { offsets, lengths } = burst;
      const end = to < lengths.length ? to : lengths.length;
      const room = ring.room((end - from) | 0);
      const n = room < ((end - from) | 0) ? room : (end - from) | 0;
      if (n <= 0) return 0;
      const stop = (from + n) | 0;
      let sum = sumLengths(lengths, from, stop, least, most);
      if (sum < 0) sum = pick(offsets, lengths, from, stop);
      else {
        ring.fill(offsets, lengths, from, n);
        inFlight = (inFlight + n) | 0;
      }
      ring.publish();
      count(packets, n);
      count(bytes, sum);
      return n;
    },
    kick() {
      if (ring.wanted()) context.kick(plan.fd);
    },
    reclaim,
  };
}

const WARM_UP_ROUNDS = 1000;
const WARM_UP_RING = 64;

/** Fills and empties scratch rings: empty, partial, full, wrapping, frames of impossible lengths, armed, quiesced. */
export function warmUp(context: QueueContext): void {
  const base = { module: '', port: 'warm-up', queue: 0, counterNames: [], fd: -1, maxLength: 1518 };
  const block = context.scratch(blockBytes(WARM_UP_RING));
  const ring = ringAt(block, 0, WARM_UP_RING);
  new Int32Array(context.memory, block, 1)[0] = 1;
  const counters = context.scratch(256);
  const rings = { block, size: WARM_UP_RING, first: 0, step: 1, endless: 1 };
  const tx = makeTxQueue({ ...base, counters, direction: 'tx', data: { ring, size: WARM_UP_RING } }, context);
  const rx = makeRxQueue({ ...base, counters, direction: 'rx', data: rings }, context);
  const size = 32;
  const burst = { size, offsets: new Int32Array(size), lengths: new Int32Array(size).fill(60), count: 0 };
  for (let round = 0; round < WARM_UP_ROUNDS; round++) {
    if (round % 4 === 0) rx.arm();
    for (let i = 0; i < 4; i++) {
      const n = context.stack.take(burst.offsets, 0, 1 + ((round + i * 11) % size));
      if (n > 0 && round % 16 === 0) burst.lengths[0] = round % 32 === 0 ? 13 : 65_535;
      const sent = tx.transmit(burst, 0, n);
      context.stack.give(burst.offsets, sent, n);
      tx.kick();
      burst.lengths.fill(60);
    }
    tx.reclaim();
    rx.disarm();
    while (rx.receive(burst) > 0) context.stack.give(burst.offsets, 0, burst.count);
  }
  const quiet = makeRxQueue({ ...base, counters, direction: 'rx', data: rings }, context);
  quiet.quiesce();
  quiet.receive(burst);
}
