/** What becomes of a buffer that the device has received into: a packet, or one of the reasons why not. Data half. */
import type { Adder } from '../../arena/counters.ts';
import { MIN_FRAME_LENGTH, type QueueContext, type QueuePlan } from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { VIRTIO_RX, type VirtioQueueData } from './data.ts';
import { makeChecksums } from './header.ts';

/** Judges buffers. */
export interface Received {
  /** A length from `MIN_FRAME_LENGTH` to `MIN_FRAME_LENGTH + span` is a packet, if `plain`; otherwise ask `take`. */
  readonly plain: boolean;
  readonly span: number;
  /**
   * Whether the buffer at `at`, with `length` bytes after the header, is a packet. If not, it has been given back and
   * counted.
   */
  take(at: number, length: number): boolean;
}

/** Makes it for buffers of the stack's room. */
export function makeReceived(plan: QueuePlan, { memory, stack }: QueueContext, count: Adder): Received {
  const data = plan.data as VirtioQueueData;
  const checksum = data.checksum !== 0;
  const { complete } = makeChecksums(memory);
  const room = stack.room - NET_HDR_BYTES;
  const most = Math.min(plan.maxLength, room);
  const span = most - MIN_FRAME_LENGTH;

  function refuse(at: number, reason: number): boolean {
    stack.push(at);
    count(reason, 1);
    return false;
  }

  return {
    plain: !checksum,
    span,
    take(at, length) {
      // Longer than the buffer, or shorter than the header: what lies in it is anybody's guess.
      if (length >>> 0 > room) return refuse(at, VIRTIO_RX.invalid);
      const packet = (at + NET_HDR_BYTES) | 0;
      if (length < MIN_FRAME_LENGTH) return refuse(at, VIRTIO_RX.runt);
      if (length > most) return refuse(at, VIRTIO_RX.oversize);
      if (checksum && !complete(packet, length)) return refuse(at, VIRTIO_RX.invalid);
      return true;
    },
  };
}
