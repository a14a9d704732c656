/** Packets of several segments: where one ends, and whether it may pass. Data half; off the path of ordinary packets. */
import { MAX_SEGMENTS, MIN_FRAME_LENGTH, MORE, type QueuePlan, TX } from '../queue.ts';
import type { Adder } from './counters.ts';

/** What `Judge` returns instead of bytes. */
export const RUNT = -1;
export const OVERSIZE = -2;

/**
 * Returns the bytes of the packet in entries [from, stop) of a burst's `lengths`; `RUNT` when its first segment has no
 * Ethernet header or another has no byte, `OVERSIZE` when it is too long, has too many segments, or no last one.
 */
export type Judge = (lengths: Int32Array, from: number, stop: number) => number;

/** How many segments a packet may have on a port of packets up to `maxLength` bytes, in frames with `room` bytes each. */
export const segmentsOf = (maxLength: number, room: number, most = MAX_SEGMENTS): number =>
  maxLength > room ? most : 1;

/** Returns the index behind the packet that begins at `at`; `end` when it goes on beyond that. */
export function packetEnd(lengths: Int32Array, at: number, end: number): number {
  let i = at;
  while (i < end && lengths[i] >= MORE) i = (i + 1) | 0;
  return i < end ? (i + 1) | 0 : end;
}

/** Makes the judge of packets of up to `maxLength` bytes, in up to `segments` segments of up to `room` bytes. */
export function makeJudge(maxLength: number, room: number, segments: number): Judge {
  return (lengths, from, stop) => {
    if (((stop - from) | 0) > segments || lengths[(stop - 1) | 0] >= MORE) return OVERSIZE;
    if ((lengths[from] & ~MORE) < MIN_FRAME_LENGTH) return RUNT;
    let sum = 0;
    for (let i = from; i < stop; i = (i + 1) | 0) {
      const length = lengths[i] & ~MORE;
      if (length <= 0) return RUNT;
      if (length > room) return OVERSIZE;
      sum = (sum + length) | 0;
    }
    return sum > maxLength ? OVERSIZE : sum;
  };
}

/**
 * For a tx queue of frames with `room` bytes that keeps none: returns what counts frames [from, end) packet by packet, as
 * `good` those of packets that may pass.
 */
export function makeEnds(
  { maxLength }: Pick<QueuePlan, 'maxLength'>,
  room: number,
  count: Adder,
  good: number,
): (lengths: Int32Array, from: number, end: number) => void {
  const judge = makeJudge(maxLength, room, segmentsOf(maxLength, room));
  return (lengths, from, end) => {
    let sum = 0;
    let packets = 0;
    for (let i = from; i < end; packets = (packets + 1) | 0) {
      const stop = packetEnd(lengths, i, end);
      const bytes = judge(lengths, i, stop);
      if (bytes >= 0) sum = (sum + bytes) | 0;
      count(bytes >= 0 ? good : bytes === RUNT ? TX.runt : TX.oversize, (stop - i) | 0);
      i = stop;
    }
    count(TX.packets, packets);
    count(TX.bytes, sum);
    count(TX.extra_frames, (end - from - packets) | 0);
  };
}
