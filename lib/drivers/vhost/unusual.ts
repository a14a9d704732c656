/** Packets that do not fit one frame, and those that must not reach the guest, told by their length. Data half. */
import type { Adder } from '../../arena/counters.ts';
import { makeJudge, OVERSIZE, packetEnd, RUNT, segmentsOf } from '../../arena/segments.ts';
import { MIN_FRAME_LENGTH, MORE, type QueueContext, type QueuePlan, TX } from '../../queue.ts';

/** Judges packets whose first length is no ordinary one. */
export interface Unusual {
  /** The entry behind the packet that `judge` looked at last. */
  stop: number;
  /**
   * Returns the bytes of the packet that begins at entry `i`, before entry `to`; when it may not pass, counts all of it by
   * the reason, and returns a negative number.
   */
  judge(lengths: Int32Array, i: number, to: number): number;
}

/** Makes it. */
export function makeUnusual({ maxLength }: QueuePlan, { stack, pool }: QueueContext, count: Adder): Unusual {
  // A segment may begin before the place where a frame of ours would: it has all of its frame.
  const judge = makeJudge(maxLength, pool.frameSize, segmentsOf(maxLength, stack.room));
  const unusual: Unusual = {
    stop: 0,
    judge(lengths, i, to) {
      const stop = packetEnd(lengths, i, to);
      unusual.stop = stop;
      const single = lengths[i] < MORE;
      const bytes = single ? (lengths[i] < MIN_FRAME_LENGTH ? RUNT : OVERSIZE) : judge(lengths, i, stop);
      if (bytes < 0) count(bytes === RUNT ? TX.runt : TX.oversize, (stop - i) | 0);
      return bytes;
    },
  };
  return unusual;
}
