/** Packed rings: what we transmit, and the guest receives. Data half. */
import { indexAccess } from '../../arena/order.ts';
import { type Burst, MIN_FRAME_LENGTH, TX } from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { ASIDE, BLOCK, MAX_ASIDE, RING_F, VHOST_TX } from './block.ts';
import { makeFill } from './fill.ts';
import { BOTH, INDIRECT, makePackedRing, NEXT, type PackedRing, WRITE } from './packed-ring.ts';
import type { Buffers, TxRing } from './rings.ts';
import { makeSender, SENT } from './sender.ts';
import { makeUnusual } from './unusual.ts';
import { fail, type World } from './world.ts';

/** What of a descriptor's flags matters: one buffer for the device to write has WRITE alone. */
const KIND = NEXT | WRITE | INDIRECT;

/** The ring's buffers. */
function packedBuffers(world: World, ring: PackedRing): Buffers {
  // How many used descriptors were kept aside before those of the packet at hand.
  let before = 0;
  const { chain } = ring;

  /** Ends the open chain and keeps it aside. */
  function put(length: number, flags: number): boolean {
    if (chain.end()) return ring.use(chain.id, length, flags, chain.slots);
    fail(world, world.block[BLOCK.broken]);
    return false;
  }

  return {
    chain,
    open() {
      if (world.block[BLOCK.broken] !== 0 || ring.aside === MAX_ASIDE || ring.peek() === 0) return false;
      chain.start(ring.last);
      return true;
    },
    keep: (length) => put(length, WRITE),
    // Also when more can't be kept: a packet of a thousand buffers is none.
    exhausted: () => before === 0 && (ring.left === 0 || ring.aside === MAX_ASIDE),
    commit() {
      before = ring.aside;
    },
    release() {
      ring.forget(before);
    },
    waste() {
      ring.empty(before);
      put(0, 0);
      before = ring.aside;
    },
  };
}

/** Makes the packed half of a tx queue. */
export function makePackedTx(world: World): TxRing {
  const { plan, context, count, block } = world;
  const { stack } = context;
  const { load } = indexAccess();
  const ring = makePackedRing(world);
  const fill = makeFill(world);
  const buffers = packedBuffers(world, ring);
  const sender = makeSender(world, buffers);
  const { frameSize } = context.pool;
  const span = (plan.maxLength < frameSize ? plan.maxLength : frameSize) - MIN_FRAME_LENGTH;
  const unusual = makeUnusual(plan, context, count);
  let enabled = false;
  let mergeable = false;
  /** Used descriptors since the last interrupt. */
  let unseen = 0;
  /** Of the burst at hand: frames that came to nothing, those that are not the first of their packet, and bytes of the others. */
  let failed = 0;
  let extra = 0;
  let sum = 0;

  /** Sends the packet of `length` bytes in entries [i, stop), whatever the guest's buffers look like. False when that must wait. */
  function slow(burst: Burst, i: number, stop: number, length: number): boolean {
    buffers.commit();
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
    else if (ring.peek() === 0 || !slow(burst, i, stop, length)) return false;
    extra = (extra + stop - i - 1) | 0;
    return true;
  }

  /**
   * Sends frames [i, to) into plain buffers, up to the first frame or buffer that needs more care; returns that frame.
   * What it needs is in locals: V8 would load and store fields for each packet.
   */
  function sendPlain(offsets: Int32Array, lengths: Int32Array, i: number, to: number): number {
    const { desc32, desc, size, list, left, usedSlots } = ring;
    let { last, fresh, usedFlags, aside } = ring;
    if (!ring.inStep()) return i;
    const room = (MAX_ASIDE - aside) | 0;
    const first = i;
    const most = (first + (left < room ? left : room)) | 0;
    const end = to < most ? to : most;
    let bytes = 0;
    for (; i < end; i = (i + 1) | 0) {
      const length = lengths[i];
      const d = (desc + (last << 2)) | 0;
      const word = load(desc32, (d + 3) | 0);
      if ((word & (BOTH | KIND)) !== (fresh | WRITE) || (length - MIN_FRAME_LENGTH) >>> 0 > span) break;
      if (!fill.put(desc32[d], desc32[(d + 1) | 0], desc32[(d + 2) | 0], offsets[i], length)) break;
      bytes = (bytes + length) | 0;
      const e = aside * ASIDE.words;
      aside = (aside + 1) | 0;
      list[e] = last;
      list[(e + 1) | 0] = (length + NET_HDR_BYTES) | 0;
      list[(e + 2) | 0] = (word & 0xffff) | WRITE | usedFlags;
      list[(e + 3) | 0] = (usedSlots + i - first + 1) | 0;
      last = (last + 1) | 0;
      if (last === size) {
        last = 0;
        fresh = fresh ^ BOTH;
        usedFlags = usedFlags ^ BOTH;
      }
    }
    sum = (sum + bytes) | 0;
    ring.run((i - first) | 0, aside, last, fresh);
    return i;
  }

  /** Sends frames [from, to); returns the first one that was not accepted. */
  function sendAll(burst: Burst, from: number, to: number): number {
    const { offsets, lengths } = burst;
    let i = from;
    for (; i < to; i = (i + 1) | 0) {
      i = sendPlain(offsets, lengths, i, to);
      if (i >= to) break;
      const length = lengths[i];
      if ((length - MIN_FRAME_LENGTH) >>> 0 > span) {
        if (!sendUnusual(burst, i, to)) break;
        i = (unusual.stop - 1) | 0;
      } else if (ring.peek() === 0 || !slow(burst, i, (i + 1) | 0, length)) break;
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
