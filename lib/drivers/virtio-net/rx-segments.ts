/**
 * Received packets of several buffers (virtio 1.2 §5.1.6.4), off the path of ordinary ones. Data half. A device uses all
 * buffers of a packet together (§5.1.6.4.1), and only the first of them has a header.
 */
import type { Adder } from '../../arena/counters.ts';
import { makeJudge, RUNT, segmentsOf } from '../../arena/segments.ts';
import { type Burst, MAX_SEGMENTS, MORE, type QueueContext, type QueuePlan } from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { VIRTIO_RX, type VirtioQueueData } from './data.ts';
import { makeChecksums } from './header.ts';

/** An rx queue's way with them. */
export interface RxSegments {
  /** Frames of the packet at hand, and how many bytes the device says it wrote to each: the queue fills them in. */
  readonly parts: Int32Array;
  readonly written: Int32Array;
  /**
   * Puts the packet of the first `n` parts into `burst` from entry `kept` on; or gives them back and counts them. Returns
   * how many entries it has there.
   */
  deliver(burst: Burst, kept: number, n: number): number;
  /** Gives the first `n` parts back, of a packet that was not whole. */
  giveBack(n: number): void;
  /** Bytes of what was delivered last. */
  bytes: number;
}

/** How many segments a packet may have on a queue of `plan`. */
export const rxSegments = (plan: QueuePlan, room: number): number =>
  (plan.data as VirtioQueueData).mergeable === 0 ? 1 : segmentsOf(plan.maxLength, room - NET_HDR_BYTES);

/** Makes it. */
export function makeRxSegments(plan: QueuePlan, { memory, stack }: QueueContext, count: Adder): RxSegments {
  const data = plan.data as VirtioQueueData;
  const { room } = stack;
  const segments = rxSegments(plan, room);
  const judge = makeJudge(plan.maxLength, room, segments);
  const checksum = data.checksum !== 0;
  const { completeAll } = makeChecksums(memory);
  const parts = new Int32Array(data.size);
  const written = new Int32Array(data.size);
  const entries = new Int32Array(MAX_SEGMENTS);

  /** Returns the bytes of the packet of the first `n` parts, or minus the reason why it is none. */
  function look(burst: Burst, n: number): number {
    if (n > segments || n > burst.size) return -VIRTIO_RX.oversize;
    written[0] = (written[0] - NET_HDR_BYTES) | 0;
    for (let i = 0; i < n; i = (i + 1) | 0) {
      const most = i === 0 ? room - NET_HDR_BYTES : room;
      // Longer than the buffer, or shorter than the header: what lies in it is anybody's guess.
      if (written[i] >>> 0 > most) return -VIRTIO_RX.invalid;
      entries[i] = i < n - 1 ? (written[i] + MORE) | 0 : written[i];
    }
    const bytes = judge(entries, 0, n);
    if (bytes < 0) return bytes === RUNT ? -VIRTIO_RX.runt : -VIRTIO_RX.oversize;
    parts[0] = (parts[0] + NET_HDR_BYTES) | 0;
    return checksum && !completeAll(parts, written, n, bytes) ? -VIRTIO_RX.invalid : bytes;
  }

  const all: RxSegments = {
    parts,
    written,
    bytes: 0,
    deliver(burst, kept, n) {
      const bytes = look(burst, n);
      all.bytes = bytes < 0 ? 0 : bytes;
      if (bytes < 0) {
        stack.give(parts, 0, n);
        count(-bytes, n);
        return 0;
      }
      for (let i = 0; i < n; i = (i + 1) | 0) {
        burst.offsets[(kept + i) | 0] = parts[i];
        burst.lengths[(kept + i) | 0] = entries[i];
      }
      return n;
    },
    giveBack(n) {
      stack.give(parts, 0, n);
      count(VIRTIO_RX.invalid, n);
    },
  };
  return all;
}
