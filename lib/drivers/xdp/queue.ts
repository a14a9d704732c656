/**
 * Queues of the `xdp` driver: AF_XDP rings in the arena. Data half.
 * Ring indices are 32 bits and free-running; a descriptor's address is the arena offset less the pool's start
 * (af_xdp.rst, "Rings"). The kernel is believed about nothing that it writes: an address must be of a frame that this
 * queue gave it, which the queue's frame map tells.
 */
import { makeCounters } from '../../arena/counters.ts';
import { indexAccess, storeFence } from '../../arena/order.ts';
import {
  MIN_FRAME_LENGTH,
  MORE,
  type QueueContext,
  type QueuePlan,
  RX,
  type RxQueue,
  TX,
  type TxQueue,
} from '../../queue.ts';
import { finishChecksum } from '../../wire/partial-checksum.ts';
import { FRAME, placeOf, XDP_RX, XDP_TX } from './places.ts';
import { KICK, XDP_PKT_CONTD, XDP_RING_NEED_WAKEUP } from './regs.ts';
import { makeRxSegments } from './rx-segments.ts';
import { makeTxSegments } from './tx-segments.ts';
import { warmUpWith } from './warm-up.ts';

/** System calls per kick at most: each sends up to `budget` packets in copy mode. */
const MOST_CALLS = 32;
/** So many packets at once are a load: more will follow, and one call can send them together. */
const LOAD = 32;
// Not read off their modules where packets are: an import is a live binding.
const contd = XDP_PKT_CONTD;
const more = MORE;

/** Makes an rx queue: the rx ring, and the fill ring that feeds it. */
export function makeRxQueue(plan: QueuePlan, context: QueueContext): RxQueue {
  const { memory, stack } = context;
  const { data } = plan;
  const { load, store } = indexAccess();
  const count = makeCounters(memory, plan.counters);
  const words = new Int32Array(memory);
  const map = new Uint8Array(memory, data.map, data.frames);
  const rx = placeOf(data, 'rx');
  const fill = placeOf(data, 'fill');
  const [rxProducer, rxConsumer, rxFirst, rxMask] = [rx.producer >>> 2, rx.consumer >>> 2, rx.first >>> 2, rx.size - 1];
  const [fillProducer, fillConsumer, fillFirst] = [fill.producer >>> 2, fill.consumer >>> 2, fill.first >>> 2];
  const fillFlags = fill.flags >>> 2;
  const fillSize = fill.size;
  const fillMask = fillSize - 1;
  const { base, umemBytes, frameShift, busyPoll, fillChecksums, segments } = data;
  const halves = { i32: words, u16: new Uint16Array(memory) };
  const inFrame = (1 << frameShift) - 1;
  const frameSize = 1 << frameShift;
  const span = plan.maxLength - MIN_FRAME_LENGTH;
  const rxSize = rx.size;
  const { takePacket, taken } = makeRxSegments(plan, context);
  const spare = new Int32Array(fillSize);
  const fd = data.socket;
  const low = fillSize >>> 1;
  const { most } = data;
  // Each frame that was given comes back as one descriptor: as many are out as one index is ahead of the other, but for
  // where they began. What a worker before us gave is out still.
  let out = 0;
  for (let frame = 0; frame < map.length; frame++) if (map[frame] === FRAME.posted) out++;
  const ahead = (words[fillProducer] - words[rxConsumer] - out) | 0;

  /**
   * Gives the kernel as many frames as there is room for and we have, but no more than `most` in all: with more than the
   * rx ring has room for, an overload would only go round through more memory than the caches hold.
   */
  function refill(): void {
    const head = words[fillProducer];
    let room = (fillSize - ((head - load(words, fillConsumer)) | 0)) | 0;
    if (room > fillSize) return;
    const wanted = (most - ((head - words[rxConsumer] - ahead) | 0)) | 0;
    if (room > wanted) room = wanted;
    if (room <= 0) return;
    const n = stack.take(spare, 0, room);
    for (let i = 0; i < n; i = (i + 1) | 0) {
      const address = ((spare[i] & ~inFrame) - base) | 0;
      map[address >>> frameShift] = FRAME.posted;
      // The high half of the descriptor is 0 from the start: an arena offset has 31 bits.
      words[(fillFirst + (((head + i) & fillMask) << 1)) | 0] = address;
    }
    store(words, fillProducer, (head + n) | 0);
    if ((words[fillFlags] & XDP_RING_NEED_WAKEUP) !== 0) context.kickRx(fd);
  }

  refill();

  return {
    fd,
    // Whoever waits for a socket is woken for every packet that it sends, too: 5 to 10 % of the kernel's time.
    onlyAsleep: true,
    patient: false,
    segments: segments > 1,
    receive(burst) {
      const tail = words[rxConsumer];
      let n = (load(words, rxProducer) - tail) | 0;
      if (n <= 0) {
        burst.count = 0;
        // Without frames the kernel receives nothing, so that nothing but this would ever give it some again.
        if (((words[fillProducer] - load(words, fillConsumer)) | 0) < low) refill();
        if (busyPoll !== 0) context.kickRx(fd);
        return 0;
      }
      const { offsets, lengths, size } = burst;
      const ready = n < rxSize ? n : rxSize;
      if (n > size) n = size;
      let kept = 0;
      let extra = 0;
      let bytes = 0;
      let i = 0;
      for (; i < n; i = (i + 1) | 0) {
        const d = (rxFirst + (((tail + i) & rxMask) << 2)) | 0;
        const address = words[d];
        const high = words[(d + 1) | 0];
        const length = words[(d + 2) | 0];
        if ((words[(d + 3) | 0] & contd) !== 0) {
          const gone = takePacket(burst, kept, (tail + i) | 0, (ready - i) | 0);
          if (gone === 0) break;
          i = (i + gone - 1) | 0;
          kept = (kept + taken[0]) | 0;
          bytes = (bytes + taken[1]) | 0;
          if (taken[0] > 0) extra = (extra + taken[0] - 1) | 0;
          continue;
        }
        const frame = address >>> frameShift;
        if (high !== 0 || address >>> 0 >= umemBytes || map[frame] !== FRAME.posted) {
          count(XDP_RX.invalid, 1);
          continue;
        }
        map[frame] = FRAME.none;
        const offset = (base + address) | 0;
        const fits =
          length >>> 0 <= frameSize && (((address & inFrame) + length) | 0) <= frameSize && (offset & 3) === 0;
        if (!fits || (length - MIN_FRAME_LENGTH) >>> 0 > span) {
          stack.push(offset);
          count(length >= 0 && length < MIN_FRAME_LENGTH ? XDP_RX.runt : XDP_RX.oversize, 1);
          continue;
        }
        if (fillChecksums !== 0) finishChecksum(halves, offset, length);
        offsets[kept] = offset;
        lengths[kept] = length;
        bytes = (bytes + length) | 0;
        kept = (kept + 1) | 0;
      }
      // The descriptors were read before the index moves: the kernel may overwrite them once it sees it.
      store(words, rxConsumer, (tail + i) | 0);
      refill();
      burst.count = kept;
      count(RX.packets, (kept - extra) | 0);
      count(RX.bytes, bytes);
      if (extra > 0) count(RX.extra_frames, extra);
      return kept;
    },
    quiesce() {},
    arm: () => ((load(words, rxProducer) - words[rxConsumer]) | 0) !== 0,
    disarm() {},
  };
}

/** Makes a tx queue: the tx ring, and the completion ring that gives the frames back. */
export function makeTxQueue(plan: QueuePlan, context: QueueContext): TxQueue {
  const { memory, stack } = context;
  const { data } = plan;
  const { load, store } = indexAccess();
  const count = makeCounters(memory, plan.counters);
  const words = new Int32Array(memory);
  const map = new Uint8Array(memory, data.map, data.frames);
  const tx = placeOf(data, 'tx');
  const completion = placeOf(data, 'completion');
  const [txProducer, txConsumer, txFirst, txFlags] = [
    tx.producer >>> 2,
    tx.consumer >>> 2,
    tx.first >>> 2,
    tx.flags >>> 2,
  ];
  const txSize = tx.size;
  const txMask = txSize - 1;
  const [doneProducer, doneConsumer, doneFirst] = [
    completion.producer >>> 2,
    completion.consumer >>> 2,
    completion.first >>> 2,
  ];
  const doneMask = completion.size - 1;
  const { base, umemBytes, frameShift, budget } = data;
  const refusal = data.refusal >>> 2;
  const inFrame = (1 << frameShift) - 1;
  const frameSize = 1 << frameShift;
  const span = plan.maxLength - MIN_FRAME_LENGTH;
  const { putPacket, put: given, lastTaken } = makeTxSegments(plan, context);
  const fd = plan.fd;
  // Frames since the last kick, and whether that was put off.
  let published = 0;
  let putOff = false;
  // What a worker before us left with the kernel comes back to us.
  let outstanding = 0;
  for (let frame = 0; frame < map.length; frame++) if (map[frame] === FRAME.sending) outstanding++;
  let refused = 0;

  function reclaim(): number {
    const tail = words[doneConsumer];
    let n = (load(words, doneProducer) - tail) | 0;
    if (n <= 0) return outstanding;
    if (n > doneMask + 1) n = doneMask + 1;
    let good = 0;
    for (let i = 0; i < n; i = (i + 1) | 0) {
      const d = (doneFirst + (((tail + i) & doneMask) << 1)) | 0;
      const address = words[d];
      const high = words[(d + 1) | 0];
      const frame = address >>> frameShift;
      if (high !== 0 || address >>> 0 >= umemBytes || map[frame] !== FRAME.sending) continue;
      map[frame] = FRAME.none;
      stack.push((base + address) | 0);
      good = (good + 1) | 0;
    }
    store(words, doneConsumer, (tail + n) | 0);
    outstanding = (outstanding - good) | 0;
    // What the kernel dropped it completes as well; each drop was counted when the kick told of it.
    const dropped = refused < good ? refused : good;
    refused = (refused - dropped) | 0;
    if (dropped > 0) count(XDP_TX.kernel, dropped);
    count(TX.completed, (good - dropped) | 0);
    return outstanding;
  }

  /** Has the kernel send what is in the ring. */
  function send(): void {
    for (let calls = 0; calls < MOST_CALLS && (words[txFlags] & XDP_RING_NEED_WAKEUP) !== 0; calls = (calls + 1) | 0) {
      const before = load(words, txConsumer);
      const error = context.kickTx(fd);
      const now = load(words, txConsumer);
      // Completed but not sent: the frames of the one packet that the kernel could not get rid of.
      if (error === KICK.busy) refused = (refused + lastTaken(now)) | 0;
      if (now === words[txProducer]) break;
      // No error and no progress: the interface has fewer queues by now, and the kernel says nothing about it.
      if (error === KICK.ok && now === before) break;
      if (error !== KICK.busy && error !== KICK.again && error !== KICK.ok) {
        // The control half looks at what no other call will mend (liveness.ts).
        if (error !== KICK.netDown && error !== KICK.noBuffers) words[refusal] = error;
        break;
      }
      reclaim();
    }
  }

  return {
    transmit(burst, from, to) {
      const { offsets, lengths } = burst;
      const end = to < lengths.length ? to : lengths.length;
      const head = words[txProducer];
      let room = (txSize - outstanding) | 0;
      if (room < ((end - from) | 0)) room = (txSize - reclaim()) | 0;
      const stop = room < ((end - from) | 0) ? (from + room) | 0 : end;
      if (stop <= from) return 0;
      let put = 0;
      let extra = 0;
      let bytes = 0;
      let i = from;
      for (; i < stop; i = (i + 1) | 0) {
        const offset = offsets[i];
        const length = lengths[i];
        const address = (offset - base) | 0;
        const frame = address >>> frameShift;
        if (
          address >>> 0 >= umemBytes ||
          length >>> 0 > frameSize ||
          (((address & inFrame) + length) | 0) > frameSize
        ) {
          if (length >= more) {
            const next = putPacket(burst, i, end, (head + put) | 0, (room - put) | 0);
            if (next === i) break;
            put = (put + given[0]) | 0;
            bytes = (bytes + given[1]) | 0;
            extra = (extra + next - i - 1) | 0;
            i = (next - 1) | 0;
            continue;
          }
          count(XDP_TX.invalid, 1);
          if (address >>> 0 < umemBytes && map[frame] !== FRAME.sending) stack.push(offset);
          continue;
        }
        if (map[frame] === FRAME.sending) {
          // Offered a second time: the kernel has it, and will complete it once.
          count(XDP_TX.invalid, 1);
          continue;
        }
        // One comparison for both bounds: too short wraps to a large unsigned number.
        if ((length - MIN_FRAME_LENGTH) >>> 0 > span) {
          stack.push(offset);
          count(length < MIN_FRAME_LENGTH ? TX.runt : TX.oversize, 1);
          continue;
        }
        map[frame] = FRAME.sending;
        const d = (txFirst + (((head + put) & txMask) << 2)) | 0;
        words[d] = address;
        words[(d + 1) | 0] = 0;
        words[(d + 2) | 0] = length;
        words[(d + 3) | 0] = 0;
        bytes = (bytes + length) | 0;
        put = (put + 1) | 0;
      }
      // The descriptors before the index: the kernel reads them once it sees the index move.
      store(words, txProducer, (head + put) | 0);
      outstanding = (outstanding + put) | 0;
      published = (published + put) | 0;
      const n = (i - from) | 0;
      count(TX.packets, (n - extra) | 0);
      count(TX.bytes, bytes);
      if (extra > 0) count(TX.extra_frames, extra);
      return n;
    },
    kick() {
      const waiting = (words[txProducer] - load(words, txConsumer)) | 0;
      // Under load the next round has more: one call for several bursts. If it has none, it makes the call.
      putOff = published >= LOAD && waiting < budget;
      if (published > 0) {
        published = 0;
        // The index before the flag is read, while the kernel writes the flag before it reads the index.
        storeFence(words, txProducer, words[txProducer]);
      }
      if (waiting !== 0 && !putOff) send();
    },
    reclaim() {
      // What the kernel was not asked to send it would never complete.
      if (putOff) {
        putOff = false;
        send();
      }
      return reclaim();
    },
  };
}

/** Plays the kernel on scratch rings: see `warm-up.ts`. */
export function warmUp(context: QueueContext): void {
  warmUpWith(context, makeRxQueue, makeTxQueue);
}
