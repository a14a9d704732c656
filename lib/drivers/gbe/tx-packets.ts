/** Packets to send that are not one frame of ordinary length: several segments, very short ones, impossible ones. Data half. */
import type { Adder } from '../../arena/counters.ts';
import { makeJudge, packetEnd, RUNT, segmentsOf } from '../../arena/segments.ts';
import { type Burst, MAX_SEGMENTS, MORE, type QueueContext, type QueuePlan, TX } from '../../queue.ts';
import { makeAddresses } from '../frame-addresses.ts';
import type { Block } from './block.ts';
import { GBE_TX, type GbeQueueData } from './data.ts';
import { TX_COMMAND, TX_SHORTEST } from './regs.ts';

/** A tx queue's way with such packets. */
export interface TxPackets {
  /**
   * Puts the packet that begins at entry `at` of `burst` into the ring from index `tail` on, or frees and counts it, whole,
   * when it may not pass. Returns the entry after it, or `at` when it has more frames than `room`.
   */
  putPacket(burst: Burst, at: number, end: number, tail: number, room: number): number;
  /** What that put into the ring: frames, and their bytes. */
  readonly put: Int32Array;
}

/** Makes it for the queue of `plan`. */
export function makeTxPackets(plan: QueuePlan, context: QueueContext, block: Block, count: Adder): TxPackets {
  const { memory, stack, pool } = context;
  const data = plan.data as GbeQueueData;
  const { size, ring, command, paylen } = data;
  const mask = size - 1;
  const { owner } = block;
  const desc = new Int32Array(memory, ring, size * 4);
  const u8 = new Uint8Array(memory);
  const { low, high } = makeAddresses(memory, data, pool);
  const { frameSize } = pool;
  const inFrame = frameSize - 1;
  // All segments of a packet must be in the ring at once.
  const most = Math.min(segmentsOf(plan.maxLength, stack.room), MAX_SEGMENTS, mask);
  const judge = makeJudge(plan.maxLength, frameSize, most);
  const put = new Int32Array(2);

  function refuse({ offsets }: Burst, from: number, stop: number, reason: number): number {
    stack.give(offsets, from, stop);
    count(reason, (stop - from) | 0);
    return stop;
  }

  const inOne = (offset: number, length: number): boolean => (((offset & inFrame) + length) | 0) <= frameSize;

  function write(slot: number, offset: number, length: number, bytes: number, last: boolean): void {
    const d = slot << 2;
    owner[slot] = offset;
    desc[d] = low(offset);
    desc[(d + 1) | 0] = high(offset);
    desc[(d + 2) | 0] = length | command | (last ? TX_COMMAND.EOP : 0);
    desc[(d + 3) | 0] = paylen === 0 ? 0 : bytes << paylen;
  }

  return {
    put,
    putPacket(burst, at, end, tail, room) {
      const { offsets, lengths } = burst;
      put[0] = 0;
      put[1] = 0;
      const stop = packetEnd(lengths, at, end);
      const n = (stop - at) | 0;
      const bytes = judge(lengths, at, stop);
      if (bytes < 0) return refuse(burst, at, stop, bytes === RUNT ? TX.runt : TX.oversize);
      const short = bytes < TX_SHORTEST;
      for (let i = at; i < stop; i = (i + 1) | 0) {
        const length = short ? TX_SHORTEST : lengths[i] & ~MORE;
        if (!inOne(offsets[i], length)) return refuse(burst, at, stop, GBE_TX.invalid);
      }
      // Too short to be padded by the device, which takes one descriptor of it: padded here to what it pads itself.
      if (short && n > 1) return refuse(burst, at, stop, TX.runt);
      if (n > room) return at;
      if (short) for (let i = bytes; i < TX_SHORTEST; i = (i + 1) | 0) u8[(offsets[at] + i) | 0] = 0;
      for (let i = at; i < stop; i = (i + 1) | 0) {
        const length = short ? TX_SHORTEST : lengths[i] & ~MORE;
        write((tail + i - at) & mask, offsets[i], length, short ? TX_SHORTEST : bytes, i === stop - 1);
      }
      put[0] = n;
      put[1] = bytes;
      return stop;
    },
  };
}
