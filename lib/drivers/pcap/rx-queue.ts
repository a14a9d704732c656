/** The rx queue of the `pcap` driver: frames from a ring of records that the main thread fills. Data half. */
import { makeCounters } from '../../arena/counters.ts';
import { indexAccess } from '../../arena/order.ts';
import { segmentsOf } from '../../arena/segments.ts';
import {
  type Burst,
  MIN_FRAME_LENGTH,
  MORE,
  type QueueContext,
  type QueuePlan,
  RX,
  type RxQueue,
} from '../../queue.ts';
import { CONTROL, CONTROL_WORDS, LONG_WORDS, RECORD } from './layout.ts';

/** This driver's own rx counters, after those that every queue has: packets of the file that are no frames. */
export const RX_RUNT = RX.extra_frames + 1;
export const RX_OVERSIZE = RX_RUNT + 1;
/** Their names. */
export const RX_NAMES: readonly string[] = ['runt', 'oversize'];

const { producer, consumer } = CONTROL;
const TWO32 = 0x1_0000_0000;

/** Makes the rx queue over the ring at `data.ring` of `data.words`; `data.timed`: frames are due, not just there. */
export function makeRxQueue(plan: QueuePlan, context: QueueContext): RxQueue {
  const { ring, words: size, timed } = plan.data;
  if (size === 0) return emptyQueue(plan);
  const { stack, clock, memory } = context;
  const words = new Int32Array(memory);
  const control = new Int32Array(memory, ring, CONTROL_WORDS);
  const start = new Float64Array(memory, ring + CONTROL.start * 4, 1);
  const { load, store } = indexAccess();
  const count = makeCounters(memory, plan.counters);
  const mask = size - 1;
  const first = (ring >>> 2) + CONTROL_WORDS;
  const { room } = stack;
  const segments = segmentsOf(plan.maxLength, room);
  const most = Math.min(plan.maxLength, room * segments);
  let tail = control[consumer];
  let quiet = false;

  /** Whether the record at `at` (a word of the arena) may go now. */
  function due(at: number, now: number): boolean {
    const hi = words[at + RECORD.dueHi];
    const lo = words[at + RECORD.dueLo] >>> 0;
    return start[0] + hi * TWO32 + lo <= now;
  }

  /** Copies `length` bytes from word `from` of the ring to the frame at `offset`. */
  function copy(from: number, offset: number, length: number): void {
    const n = (length + 3) >>> 2;
    const straight = (size - (from & mask)) | 0;
    const head = Math.min(n, straight);
    const source = (first + (from & mask)) | 0;
    const target = offset >>> 2;
    if (head > LONG_WORDS && ((target ^ source) & 1) === 0) words.copyWithin(target, source, source + head);
    else for (let i = 0; i < head; i = (i + 1) | 0) words[(target + i) | 0] = words[(source + i) | 0];
    for (let i = head; i < n; i = (i + 1) | 0) words[(target + i) | 0] = words[(first + i - head) | 0];
  }

  /**
   * Puts the record of `length` bytes at word `from` into `burst` from `at` on, in as many frames as it takes. Returns how
   * many; 0 when there are not enough free ones.
   */
  function cut({ offsets, lengths }: Burst, at: number, from: number, length: number): number {
    const wanted = ((length + room - 1) / room) | 0;
    const had = stack.take(offsets, at, wanted);
    if (had < wanted) {
      stack.give(offsets, at, (at + had) | 0);
      return 0;
    }
    for (let i = 0; i < wanted; i = (i + 1) | 0) {
      const done = Math.imul(i, room);
      const left = (length - done) | 0;
      const part = left < room ? left : room;
      copy((from + (done >>> 2)) | 0, offsets[(at + i) | 0], part);
      lengths[(at + i) | 0] = left > room ? part + MORE : part;
    }
    return wanted;
  }

  function begin(): number {
    const now = clock.now();
    if (start[0] === 0) start[0] = now;
    return now;
  }

  function receive(burst: Burst): number {
    burst.count = 0;
    if (quiet) return 0;
    let c = tail;
    let left = (load(control, producer) - c) | 0;
    if (left === 0) return 0;
    const now = timed === 1 ? begin() : 0;
    const { offsets, lengths, size: free } = burst;
    let n = 0;
    let extra = 0;
    let bytes = 0;
    let runt = 0;
    let oversize = 0;
    // Twice the burst: records that are no frames cost time too, and a call must end.
    for (let step = free << 1; step > 0 && left > 0 && n < free; step = (step - 1) | 0) {
      const at = (first + (c & mask)) | 0;
      const stored = words[(at + RECORD.stored) | 0];
      const length = words[(at + RECORD.length) | 0];
      if (timed === 1 && !due(at, now)) break;
      if (length < MIN_FRAME_LENGTH) runt = (runt + 1) | 0;
      else if (length > most || stored < length || length > Math.imul(free, room)) oversize = (oversize + 1) | 0;
      else if (length > room) {
        if (length > Math.imul((free - n) | 0, room)) break;
        const frames = cut(burst, n, (c + RECORD.bytes) | 0, length);
        if (frames === 0) break;
        bytes = (bytes + length) | 0;
        extra = (extra + frames - 1) | 0;
        n = (n + frames) | 0;
      } else {
        const offset = stack.pop();
        // No free frame: the record stays, and is delivered when there is one.
        if (offset === 0) break;
        copy((c + RECORD.bytes) | 0, offset, length);
        offsets[n] = offset;
        lengths[n] = length;
        bytes = (bytes + length) | 0;
        n = (n + 1) | 0;
      }
      const used = (RECORD.bytes + ((stored + 3) >>> 2) + 3) & ~3;
      c = (c + used) | 0;
      left = (left - used) | 0;
    }
    tail = c;
    // The records were copied before the index moves: the producer may overwrite them once it sees it.
    store(control, consumer, c);
    burst.count = n;
    count(RX.packets, (n - extra) | 0);
    count(RX.bytes, bytes);
    if (extra !== 0) count(RX.extra_frames, extra);
    if (runt !== 0) count(RX_RUNT, runt);
    if (oversize !== 0) count(RX_OVERSIZE, oversize);
    return n;
  }

  return {
    fd: plan.fd,
    patient: true,
    segments: segments > 1,
    receive,
    quiesce() {
      quiet = true;
    },
    arm() {
      if (quiet || load(control, producer) === tail) return false;
      return timed !== 1 || due((first + (tail & mask)) | 0, begin());
    },
    disarm() {},
  };
}

/** The rx queue of a port without input: always empty. */
function emptyQueue(plan: QueuePlan): RxQueue {
  return {
    fd: plan.fd,
    patient: true,
    receive(burst) {
      burst.count = 0;
      return 0;
    },
    quiesce() {},
    arm: () => false,
    disarm() {},
  };
}
