/** Split rings: what we transmit, and the guest receives. Data half. */
import { type Burst, MIN_FRAME_LENGTH, TX } from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { DESC_F } from '../../virtio/ring.ts';
import { BLOCK, BROKEN, MAX_ASIDE, RING_F, VHOST_TX } from './block.ts';
import { makeFill } from './fill.ts';
import type { Buffers, TxRing } from './rings.ts';
import { makeSender, SENT } from './sender.ts';
import { makeSplitRing, type SplitRing } from './split-ring.ts';
import { makeUnusual } from './unusual.ts';
import { fail, type World } from './world.ts';

/** What of a descriptor's flags matters: one buffer for the device to write has WRITE alone. */
const KIND = DESC_F.NEXT | DESC_F.WRITE | DESC_F.INDIRECT;

/** The ring's buffers, `most()` of them. Used elements are written as buffers are kept: nobody sees them yet. */
function splitBuffers(ring: SplitRing, most: () => number): Buffers {
  let kept = 0;
  let head = 0;
  return {
    chain: ring.chain,
    open() {
      if (ring.taken >= most()) return false;
      head = ring.head();
      if (head < 0) return false;
      ring.chain.start(head);
      return true;
    },
    keep(length) {
      if (kept === MAX_ASIDE) return false;
      ring.use(head, length);
      kept = (kept + 1) | 0;
      return true;
    },
    exhausted: () => kept === ring.size,
    commit() {
      kept = 0;
    },
    release() {
      ring.taken = (ring.taken - kept) | 0;
      kept = 0;
    },
    waste() {
      ring.use(head, 0);
      for (let i = 1; i <= kept; i = (i + 1) | 0) ring.unwrite(ring.taken - 1 - i);
      kept = 0;
    },
  };
}

/** Makes the split half of a tx queue. */
export function makeSplitTx(world: World): TxRing {
  const { plan, context, count, block } = world;
  const { stack } = context;
  const ring = makeSplitRing(world);
  const fill = makeFill(world);
  let available = 0;
  const sender = makeSender(
    world,
    splitBuffers(ring, () => available),
  );
  const { frameSize } = context.pool;
  const span = (plan.maxLength < frameSize ? plan.maxLength : frameSize) - MIN_FRAME_LENGTH;
  const unusual = makeUnusual(plan, context, count);
  let enabled = false;
  let mergeable = false;
  /** Used elements since the last interrupt. */
  let unseen = 0;
  /** Of the burst at hand: frames that came to nothing, those that are not the first of their packet, and bytes of the others. */
  let failed = 0;
  let extra = 0;
  let sum = 0;

  /** Sends the packet of `length` bytes in entries [i, stop), whatever the guest's buffers look like. False when that must wait. */
  function slow(burst: Burst, i: number, stop: number, length: number): boolean {
    const sent = sender.send(burst, i, length, mergeable);
    fill.remember();
    if (sent === SENT.refused) {
      count(VHOST_TX.no_buffer, (stop - i) | 0);
      failed = (failed + stop - i) | 0;
    } else if (sent === SENT.yes) sum = (sum + length) | 0;
    return sent !== SENT.full;
  }

  /** As `slow`, for a packet of several segments, or one that may not pass. */
  function sendUnusual(burst: Burst, i: number, to: number): boolean {
    const length = unusual.judge(burst.lengths, i, to);
    const { stop } = unusual;
    if (length < 0) failed = (failed + stop - i) | 0;
    else if (ring.taken >= available || !slow(burst, i, stop, length)) return false;
    extra = (extra + stop - i - 1) | 0;
    return true;
  }

  /** Sends frames [from, to); returns the first one that was not accepted. */
  function sendAll(burst: Burst, from: number, to: number): number {
    const { offsets, lengths } = burst;
    const { desc32, desc, avail16, avail, used32, used, last, next, size } = ring;
    const mask = size - 1;
    const most = available;
    let i = from;
    for (; i < to; i = (i + 1) | 0) {
      const length = lengths[i];
      if ((length - MIN_FRAME_LENGTH) >>> 0 > span) {
        if (!sendUnusual(burst, i, to)) break;
        i = (unusual.stop - 1) | 0;
        continue;
      }
      const { taken } = ring;
      if (taken >= most) break;
      const head = avail16[(avail + ((last + taken) & mask)) | 0];
      if (head >= size) {
        fail(world, BROKEN.head);
        break;
      }
      const d = (desc + (head << 2)) | 0;
      if (
        (desc32[(d + 3) | 0] & KIND) === DESC_F.WRITE &&
        fill.put(desc32[d], desc32[(d + 1) | 0], desc32[(d + 2) | 0], offsets[i], length)
      ) {
        const element = (used + (((next + taken) & mask) << 1)) | 0;
        used32[element] = head;
        used32[(element + 1) | 0] = (length + NET_HDR_BYTES) | 0;
        ring.taken = (taken + 1) | 0;
        sum = (sum + length) | 0;
      } else if (!slow(burst, i, (i + 1) | 0, length)) break;
    }
    return i;
  }

  return {
    attach() {
      const flags = block[BLOCK.flags];
      enabled = (flags & RING_F.enabled) !== 0;
      mergeable = (flags & RING_F.mergeable) !== 0;
      fill.attach((flags & RING_F.log) !== 0);
      unseen = 0;
      ring.attach();
    },
    transmit(burst, from, to) {
      if (!enabled || block[BLOCK.broken] !== 0) return 0;
      available = ring.pending();
      if (available > ring.size) {
        fail(world, BROKEN.index);
        return 0;
      }
      failed = 0;
      extra = 0;
      sum = 0;
      const { offsets, lengths } = burst;
      const stop = sendAll(burst, from, to < lengths.length ? to : lengths.length);
      unseen = (unseen + ring.publish()) | 0;
      const n = (stop - from) | 0;
      if (n <= 0) return 0;
      stack.give(offsets, from, stop);
      count(TX.packets, (n - extra) | 0);
      if (extra > 0) count(TX.extra_frames, extra);
      count(TX.bytes, sum);
      count(TX.completed, (n - failed) | 0);
      return n;
    },
    kick() {
      if (unseen === 0) return;
      ring.interrupt(unseen);
      unseen = 0;
    },
  };
}
