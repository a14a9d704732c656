/**
 * A ring of frames between one producer and one consumer, in shared memory. Data half.
 * Free-running 32-bit indices, each on a cache line of its own; a descriptor is two words: offset, length.
 */
import { type Burst, MORE } from '../queue.ts';
import { type IndexAccess, indexAccess, storeFence } from './order.ts';

/** Layout in 32-bit words: who writes what. */
export const RING = {
  /** Written by the producer: frames enqueued so far. */
  producer: 0,
  /** Written by the consumer: frames dequeued so far. */
  consumer: 32,
  /** Written by the consumer: 1 while it asks to be woken. */
  armed: 48,
  /** The first descriptor. */
  first: 64,
} as const;

/** Bytes of a ring with `size` descriptors. */
export const ringBytes = (size: number): number => (RING.first + size * 2) * 4;

/** The producer's end. */
export interface RingProducer {
  /** Free descriptors, looked up if fewer than `wanted` are known of. */
  room(wanted: number): number;
  /** Writes one descriptor; there must be room. Not visible before `publish`. */
  put(offset: number, length: number): void;
  /** As `put`, for `count` frames of a burst's arrays from index `from`. */
  fill(offsets: Int32Array, lengths: Int32Array, from: number, count: number): void;
  /** Makes what was put visible to the consumer. */
  publish(): void;
  /** True when the consumer asked to be woken since; asks the ring once per publish. */
  wanted(): boolean;
  /** Frames that the consumer has not taken yet. */
  pending(): number;
}

/** Makes the producer's end of the ring of `size` (a power of two) at arena offset `at`. */
export function makeRingProducer(
  memory: SharedArrayBuffer,
  at: number,
  size: number,
  { load, store }: IndexAccess = indexAccess(),
): RingProducer {
  const words = new Int32Array(memory, at, RING.first + size * 2);
  const mask = size - 1;
  const first = RING.first;
  // Both indices live in the ring alone: it can be emptied while we stand still, and taken over by another worker.
  let head = words[RING.producer];
  let seen = load(words, RING.consumer);
  let published = false;
  return {
    room(wanted) {
      head = words[RING.producer];
      const known = (size - ((head - seen) | 0)) | 0;
      if (known >= wanted) return known;
      seen = load(words, RING.consumer);
      return (size - ((head - seen) | 0)) | 0;
    },
    put(offset, length) {
      const d = (first + ((head & mask) << 1)) | 0;
      words[d] = offset;
      words[(d + 1) | 0] = length;
      head = (head + 1) | 0;
    },
    fill(offsets, lengths, from, count) {
      const start = head;
      const fours = count & ~3;
      let i = 0;
      for (; i < fours; i = (i + 4) | 0) {
        const at = (start + i) | 0;
        const f = (from + i) | 0;
        const a = (first + ((at & mask) << 1)) | 0;
        const b = (first + (((at + 1) & mask) << 1)) | 0;
        const c = (first + (((at + 2) & mask) << 1)) | 0;
        const d = (first + (((at + 3) & mask) << 1)) | 0;
        words[a] = offsets[f];
        words[(a + 1) | 0] = lengths[f];
        words[b] = offsets[(f + 1) | 0];
        words[(b + 1) | 0] = lengths[(f + 1) | 0];
        words[c] = offsets[(f + 2) | 0];
        words[(c + 1) | 0] = lengths[(f + 2) | 0];
        words[d] = offsets[(f + 3) | 0];
        words[(d + 1) | 0] = lengths[(f + 3) | 0];
      }
      for (; i < count; i = (i + 1) | 0) {
        const a = (first + (((start + i) & mask) << 1)) | 0;
        words[a] = offsets[(from + i) | 0];
        words[(a + 1) | 0] = lengths[(from + i) | 0];
      }
      head = (start + count) | 0;
    },
    publish() {
      // The descriptors before the index: the consumer reads them once it sees the index move.
      store(words, RING.producer, head);
      published = true;
    },
    wanted() {
      if (!published) return false;
      published = false;
      // The index before `armed` is read, while the consumer writes `armed` before it reads the index: one of us sees it.
      storeFence(words, RING.producer, head);
      return load(words, RING.armed) !== 0;
    },
    pending() {
      seen = load(words, RING.consumer);
      return (head - seen) | 0;
    },
  };
}

/** The consumer's end. */
export interface RingConsumer {
  /**
   * Takes up to `burst.size` frames into `burst` from index 0, whole packets; returns how many. Does not set
   * `burst.count`. -1 when the next packet has more segments than the burst has room for: see `discard`.
   */
  take(burst: Burst): number;
  /** Takes the next packet out, and gives the offset of each of its frames to `free`; returns how many. */
  discard(free: (offset: number) => void): number;
  /** Asks to be woken. Returns true when there are frames already. */
  arm(): boolean;
  /** Takes that back. */
  disarm(): void;
}

/** Makes the consumer's end of the ring of `size` (a power of two) at arena offset `at`. */
export function makeRingConsumer(
  memory: SharedArrayBuffer,
  at: number,
  size: number,
  { load, store }: IndexAccess = indexAccess(),
): RingConsumer {
  const words = new Int32Array(memory, at, RING.first + size * 2);
  const mask = size - 1;
  const first = RING.first;
  const more = MORE;
  let seen = load(words, RING.producer);

  /** How many of the `n` entries in `lengths`, the last of which has `MORE`, are whole packets; -1 when it is none. */
  function whole(lengths: Int32Array, n: number): number {
    let i = n;
    while (i > 0 && lengths[i - 1] >= MORE) i = (i - 1) | 0;
    return i > 0 ? i : -1;
  }

  return {
    take(burst) {
      const { offsets, lengths, size: most } = burst;
      const tail = words[RING.consumer];
      let n = (seen - tail) | 0;
      if (n < most) {
        seen = load(words, RING.producer);
        n = (seen - tail) | 0;
      }
      if (n <= 0) return 0;
      if (n > most) n = most;
      const fours = n & ~3;
      let i = 0;
      for (; i < fours; i = (i + 4) | 0) {
        const at = (tail + i) | 0;
        const a = (first + ((at & mask) << 1)) | 0;
        const b = (first + (((at + 1) & mask) << 1)) | 0;
        const c = (first + (((at + 2) & mask) << 1)) | 0;
        const d = (first + (((at + 3) & mask) << 1)) | 0;
        offsets[i] = words[a];
        lengths[i] = words[(a + 1) | 0];
        offsets[(i + 1) | 0] = words[b];
        lengths[(i + 1) | 0] = words[(b + 1) | 0];
        offsets[(i + 2) | 0] = words[c];
        lengths[(i + 2) | 0] = words[(c + 1) | 0];
        offsets[(i + 3) | 0] = words[d];
        lengths[(i + 3) | 0] = words[(d + 1) | 0];
      }
      for (; i < n; i = (i + 1) | 0) {
        const d = (first + (((tail + i) & mask) << 1)) | 0;
        offsets[i] = words[d];
        lengths[i] = words[(d + 1) | 0];
      }
      if (lengths[(n - 1) | 0] >= more) {
        n = whole(lengths, n);
        if (n < 0) return n;
      }
      // The descriptors were read before the index moves: the producer may overwrite them once it sees it.
      store(words, RING.consumer, (tail + n) | 0);
      return n;
    },
    discard(free) {
      const tail = words[RING.consumer];
      const most = (load(words, RING.producer) - tail) | 0;
      let n = 0;
      for (let goesOn = true; goesOn && n < most; n = (n + 1) | 0) {
        const d = (first + (((tail + n) & mask) << 1)) | 0;
        free(words[d]);
        goesOn = words[(d + 1) | 0] >= more;
      }
      store(words, RING.consumer, (tail + n) | 0);
      return n;
    },
    arm() {
      // `armed` before the index is read: see `wanted`.
      storeFence(words, RING.armed, 1);
      return load(words, RING.producer) !== words[RING.consumer];
    },
    disarm() {
      store(words, RING.armed, 0);
    },
  };
}

/** Offsets of the frames in a ring, for when nobody works on it. */
export function ringContents(memory: SharedArrayBuffer, at: number, size: number): number[] {
  const words = new Int32Array(memory, at, RING.first + size * 2);
  const count = (words[RING.producer] - words[RING.consumer]) | 0;
  const offset = (i: number) => words[RING.first + (((words[RING.consumer] + i) & (size - 1)) << 1)];
  return Array.from({ length: Math.min(count, size) }, (_, i) => offset(i));
}
