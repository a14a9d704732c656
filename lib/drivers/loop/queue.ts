/** Queues of the `loop` driver: an rx queue empties the rings that its tx queues fill. Data half. */
import { makeCounters } from '../../arena/counters.ts';
import { sumLengths, sumWhole } from '../../arena/lengths.ts';
import { makeRingConsumer, makeRingProducer, type RingConsumer } from '../../arena/ring.ts';
import { makeJudge, packetEnd, RUNT, segmentsOf } from '../../arena/segments.ts';
import {
  type Burst,
  MIN_FRAME_LENGTH,
  MORE,
  type QueueContext,
  type QueuePlan,
  RX,
  type RxQueue,
  TX,
  type TxQueue,
} from '../../queue.ts';
import { blockBytes, MAX_RINGS, RX_OVERSIZE, ringAt } from './layout.ts';

const { packets, bytes, completed, runt, oversize } = TX;

/**
 * Makes an rx queue over the block of rings at `data.block`: it empties ring `data.first` and every `data.step`th after
 * it, as far as tx queues use them.
 */
export function makeRxQueue(plan: QueuePlan, context: QueueContext): RxQueue {
  const { block, size, first, step, endless } = plan.data;
  const { stack } = context;
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

  const segments = plan.maxLength > stack.room;

  /** Counts the `n` entries of `burst`, some of which are parts of a packet. Drops those if this end does not take any. */
  function countSegments(burst: Burst, n: number): number {
    const { offsets, lengths } = burst;
    let sum = 0;
    let extra = 0;
    let kept = 0;
    for (let i = 0; i < n; ) {
      const stop = packetEnd(lengths, i, n);
      if (stop - i > 1 && !segments) {
        stack.give(offsets, i, stop);
        count(RX_OVERSIZE, (stop - i) | 0);
        i = stop;
        continue;
      }
      extra = (extra + stop - i - 1) | 0;
      for (; i < stop; i = (i + 1) | 0) {
        offsets[kept] = offsets[i];
        lengths[kept] = lengths[i];
        sum = (sum + (lengths[i] & ~MORE)) | 0;
        kept = (kept + 1) | 0;
      }
    }
    burst.count = kept;
    count(packets, (kept - extra) | 0);
    count(bytes, sum);
    count(RX.extra_frames, extra);
    return kept;
  }

  return {
    fd: plan.fd,
    patient: false,
    segments,
    receive(burst) {
      const most = used();
      let n = 0;
      // Each ring is looked at once, and the one after the last that had frames comes first.
      for (let i = 0; i < most && n === 0; i = (i + 1) | 0) {
        if (next >= most) next = 0;
        n = rings[next].take(burst);
        if (n < 0) count(RX_OVERSIZE, rings[next].discard(stack.push));
        next = (next + 1) | 0;
      }
      if (n < 0) n = 0;
      burst.count = n;
      if (n === 0) return 0;
      const sum = sumWhole(burst.lengths, n);
      if (sum < 0) return countSegments(burst, n);
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
  const most = plan.maxLength < stack.room ? plan.maxLength : stack.room;
  const judge = makeJudge(plan.maxLength, stack.room, segmentsOf(plan.maxLength, stack.room));
  let inFlight = ring.pending();

  /**
   * Takes frames [from, end) packet by packet: enqueues those of possible lengths while `room` lasts, frees the others.
   * Counts them; returns how many frames that were.
   */
  function pick({ offsets, lengths }: Burst, from: number, end: number, room: number): number {
    let sum = 0;
    let put = 0;
    let whole = 0;
    let i = from;
    while (i < end) {
      const stop = packetEnd(lengths, i, end);
      const n = (stop - i) | 0;
      const length = judge(lengths, i, stop);
      // What may not pass needs no room, and must not wait for more than there can be.
      if (((stop - from) | 0) > room && (length >= 0 || i > from)) break;
      if (length >= 0) {
        ring.fill(offsets, lengths, i, n);
        sum = (sum + length) | 0;
        put = (put + n) | 0;
      } else {
        stack.give(offsets, i, stop);
        count(length === RUNT ? runt : oversize, n);
      }
      whole = (whole + 1) | 0;
      i = stop;
    }
    inFlight = (inFlight + put) | 0;
    count(packets, whole);
    count(bytes, sum);
    count(TX.extra_frames, (i - from - whole) | 0);
    return (i - from) | 0;
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
      const sum = sumLengths(lengths, from, (from + n) | 0, least, most);
      if (sum < 0) {
        const picked = pick(burst, from, end, room);
        ring.publish();
        return picked;
      }
      ring.fill(offsets, lengths, from, n);
      inFlight = (inFlight + n) | 0;
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
/** Too short, too long, and the first of two segments. */
const WARM_UP_FIRST = [13, 70_001, MORE + 60];

/** Fills and empties scratch rings: empty, partial, full, wrapping, frames of impossible lengths, armed, quiesced. */
export function warmUp(context: QueueContext): void {
  // Longer than a frame: packets of several segments pass.
  const base = { module: '', port: 'warm-up', queue: 0, counterNames: [], fd: -1, maxLength: 70_000 };
  const block = context.scratch(blockBytes(WARM_UP_RING));
  const ring = ringAt(block, 0, WARM_UP_RING);
  new Int32Array(context.memory, block, 1)[0] = 1;
  const counters = context.scratch(256);
  const rings = { block, size: WARM_UP_RING, first: 0, step: 1, endless: 1 };
  const tx = makeTxQueue({ ...base, counters, direction: 'tx', data: { ring, size: WARM_UP_RING } }, context);
  const rx = makeRxQueue({ ...base, counters, direction: 'rx', data: rings }, context);
  const size = 32;
  const burst = { size, offsets: new Int32Array(size), lengths: new Int32Array(size).fill(60), count: 0 };
  // Too small for packets of two segments.
  const small = { size: 1, offsets: new Int32Array(1), lengths: new Int32Array(1), count: 0 };
  for (let round = 0; round < WARM_UP_ROUNDS; round++) {
    if (round % 4 === 0) rx.arm();
    for (let i = 0; i < 4; i++) {
      const n = context.stack.take(burst.offsets, 0, 1 + ((round + i * 11) % size));
      if (n > 0 && round % 16 === 0) burst.lengths[0] = WARM_UP_FIRST[(round >>> 4) % WARM_UP_FIRST.length];
      const sent = tx.transmit(burst, 0, n);
      context.stack.give(burst.offsets, sent, n);
      tx.kick();
      burst.lengths.fill(60);
    }
    tx.reclaim();
    rx.disarm();
    const into = round % 48 === 32 ? small : burst;
    while (rx.receive(into) > 0) context.stack.give(into.offsets, 0, into.count);
  }
  const quiet = makeRxQueue({ ...base, counters, direction: 'rx', data: rings }, context);
  quiet.quiesce();
  quiet.receive(burst);
}
