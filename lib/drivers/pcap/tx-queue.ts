/** The tx queue of the `pcap` driver: frames into a ring of pcapng blocks that the main thread writes out. Data half. */
import { makeCounters } from '../../arena/counters.ts';
import { indexAccess } from '../../arena/order.ts';
import { makeEnds, makeJudge, packetEnd, RUNT, segmentsOf } from '../../arena/segments.ts';
import {
  type Burst,
  MIN_FRAME_LENGTH,
  MORE,
  type QueueContext,
  type QueuePlan,
  TX,
  type TxQueue,
} from '../../queue.ts';
import { CONTROL, CONTROL_WORDS, EPB, EPB_FLAGS, EPB_OUTBOUND, EPB_TYPE, EPB_WORDS, LONG_WORDS } from './layout.ts';

/**
 * This driver's own tx counters: frames that could not be written, frames for which there is no file, and frames that
 * ended when their bytes were joined to those of their packet's first: the record counts as that one.
 */
export const TX_IO_ERROR = TX.extra_frames + 1;
export const TX_NO_OUTPUT = TX_IO_ERROR + 1;
export const TX_JOINED = TX_NO_OUTPUT + 1;
/** Their names. */
export const TX_NAMES: readonly string[] = ['io_error', 'no_output', 'joined'];

const { producer, accepted, consumer, done, failed } = CONTROL;
/** Where the clock puts `utc`, low half first. */
const UTC_LO = 2;
const UTC_HI = 3;

/** Makes the tx queue on the ring at `data.ring` of `data.words`; without words there is no file. */
export function makeTxQueue(plan: QueuePlan, context: QueueContext): TxQueue {
  const { ring, words: size } = plan.data;
  if (size === 0) return discardingQueue(plan, context);
  const { stack, clock, memory } = context;
  const words = new Int32Array(memory);
  const u8 = new Uint8Array(memory);
  const control = new Int32Array(memory, ring, CONTROL_WORDS);
  const { load, store } = indexAccess();
  const count = makeCounters(memory, plan.counters);
  const mask = size - 1;
  const byteMask = size * 4 - 1;
  const first = (ring >>> 2) + CONTROL_WORDS;
  const { room } = stack;
  const span = Math.min(plan.maxLength, room) - MIN_FRAME_LENGTH;
  const judge = makeJudge(plan.maxLength, room, segmentsOf(plan.maxLength, room));
  let head = control[producer];
  let seen = load(control, consumer);
  let total = control[accepted];

  /** Writes one block at word `h` of the ring: all of the file's bytes for this frame. */
  function write(h: number, offset: number, length: number, timeHi: number, timeLo: number): void {
    copy(offset >>> 2, (h + EPB.data) | 0, (length + 3) >>> 2);
    frame(h, length, timeHi, timeLo);
  }

  /** As `write`, for the packet of several segments in entries [from, stop). */
  function join({ offsets, lengths }: Burst, from: number, stop: number, h: number): void {
    let done = 0;
    for (let i = from; i < stop; i = (i + 1) | 0) {
      const length = lengths[i] & ~MORE;
      const to = (((h + EPB.data) << 2) + done) | 0;
      if ((done & 3) === 0) copy(offsets[i] >>> 2, to >>> 2, (length + 3) >>> 2);
      else for (let b = 0; b < length; b = (b + 1) | 0) u8[(first << 2) + ((to + b) & byteMask)] = u8[offsets[i] + b];
      done = (done + length) | 0;
    }
  }

  /** Writes what a block has around its `length` bytes of data. */
  function frame(h: number, length: number, timeHi: number, timeLo: number): void {
    const n = (length + 3) >>> 2;
    const blockLength = (EPB_WORDS + n) << 2;
    words[(first + (h & mask)) | 0] = EPB_TYPE;
    words[(first + ((h + EPB.length) & mask)) | 0] = blockLength;
    words[(first + ((h + EPB.interface) & mask)) | 0] = 0;
    words[(first + ((h + EPB.timeHi) & mask)) | 0] = timeHi;
    words[(first + ((h + EPB.timeLo) & mask)) | 0] = timeLo;
    words[(first + ((h + EPB.captured) & mask)) | 0] = length;
    words[(first + ((h + EPB.original) & mask)) | 0] = length;
    const data = (h + EPB.data) | 0;
    // Padding is zero (§3.6.2); a frame's last word may hold anything behind the packet.
    const rest = length & 3;
    const last = (first + ((data + n - 1) & mask)) | 0;
    if (rest !== 0) words[last] = words[last] & ((1 << (rest << 3)) - 1);
    const options = (data + n) | 0;
    words[(first + (options & mask)) | 0] = EPB_FLAGS;
    words[(first + ((options + 1) & mask)) | 0] = EPB_OUTBOUND;
    words[(first + ((options + 2) & mask)) | 0] = 0;
    words[(first + ((options + 3) & mask)) | 0] = blockLength;
  }

  /** Copies `n` words of the arena from `source` to word `to` of the ring. */
  function copy(source: number, to: number, n: number): void {
    const straight = (size - (to & mask)) | 0;
    const before = Math.min(n, straight);
    const target = (first + (to & mask)) | 0;
    if (before > LONG_WORDS && ((target ^ source) & 1) === 0) words.copyWithin(target, source, source + before);
    else for (let i = 0; i < before; i = (i + 1) | 0) words[(target + i) | 0] = words[(source + i) | 0];
    for (let i = before; i < n; i = (i + 1) | 0) words[(first + i - before) | 0] = words[(source + i) | 0];
  }

  /** True when `need` words fit behind `h`. */
  function fits(h: number, need: number): boolean {
    if (((h - seen + need) | 0) <= size) return true;
    seen = load(control, consumer);
    return ((h - seen + need) | 0) <= size;
  }

  return {
    transmit(burst, from, to) {
      const { offsets, lengths } = burst;
      const end = Math.min(to, lengths.length);
      if (end <= from || load(control, failed) !== 0) return 0;
      clock.utc();
      const timeLo = clock.words[UTC_LO];
      const timeHi = clock.words[UTC_HI];
      let h = head;
      let bytes = 0;
      let runt = 0;
      let oversize = 0;
      let extra = 0;
      let joined = 0;
      let i = from;
      for (; i < end; i = (i + 1) | 0) {
        const length = lengths[i];
        if (length >= MORE) {
          const stop = packetEnd(lengths, i, end);
          const n = (stop - i) | 0;
          const sum = judge(lengths, i, stop);
          if (sum >= 0) {
            const need = (EPB_WORDS + ((sum + 3) >>> 2)) | 0;
            if (!fits(h, need)) break;
            join(burst, i, stop, h);
            frame(h, sum, timeHi, timeLo);
            h = (h + need) | 0;
            bytes = (bytes + sum) | 0;
            joined = (joined + n - 1) | 0;
          } else if (sum === RUNT) runt = (runt + n) | 0;
          else oversize = (oversize + n) | 0;
          extra = (extra + n - 1) | 0;
          i = (stop - 1) | 0;
          continue;
        }
        // One comparison for both bounds: too short wraps to a large unsigned number.
        if ((length - MIN_FRAME_LENGTH) >>> 0 <= span) {
          const need = (EPB_WORDS + ((length + 3) >>> 2)) | 0;
          if (!fits(h, need)) break;
          write(h, offsets[i], length, timeHi, timeLo);
          h = (h + need) | 0;
          bytes = (bytes + length) | 0;
        } else if (length < MIN_FRAME_LENGTH) runt = (runt + 1) | 0;
        else oversize = (oversize + 1) | 0;
      }
      const taken = (i - from) | 0;
      if (taken === 0) return 0;
      // Copied: the frames are free again.
      stack.give(offsets, from, i);
      head = h;
      total = (total + taken - runt - oversize - joined) | 0;
      store(control, accepted, total);
      // The blocks before the index: the writer reads them once it sees the index move.
      store(control, producer, h);
      count(TX.packets, (taken - extra) | 0);
      count(TX.bytes, bytes);
      if (extra !== 0) count(TX.extra_frames, extra);
      if (joined !== 0) count(TX_JOINED, joined);
      if (runt !== 0) count(TX.runt, runt);
      if (oversize !== 0) count(TX.oversize, oversize);
      return taken;
    },
    // The writer looks by itself: it has a file to wait for anyway.
    kick() {},
    reclaim: () => (total - load(control, done)) | 0,
  };
}

/** The tx queue of a port without output: every frame is accepted, and counted as what became of it. */
function discardingQueue(plan: QueuePlan, { stack, memory }: QueueContext): TxQueue {
  const ends = makeEnds(plan, stack.room, makeCounters(memory, plan.counters), TX_NO_OUTPUT);
  return {
    transmit({ offsets, lengths }, from, to) {
      const end = Math.min(to, lengths.length);
      if (end <= from) return 0;
      stack.give(offsets, from, end);
      ends(lengths, from, end);
      return (end - from) | 0;
    },
    kick() {},
    reclaim: () => 0,
  };
}
