/** Split rings: what we transmit, and the guest receives. Data half. */
import { MIN_FRAME_LENGTH, TX } from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { DESC_F } from '../../virtio/ring.ts';
import { BLOCK, BROKEN, RING_F, VHOST_TX } from './block.ts';
import { makeFill } from './fill.ts';
import { makeOutlet, OUTLET } from './outlet.ts';
import type { TxRing } from './rings.ts';
import { makeSplitRing } from './split-ring.ts';
import type { World } from './world.ts';

/** What of a descriptor's flags matters: one buffer for the device to write has WRITE alone. */
const KIND = DESC_F.NEXT | DESC_F.WRITE | DESC_F.INDIRECT;

/** Makes the split half of a tx queue. */
export function makeSplitTx(world: World): TxRing {
  const { plan, context, count, block, regions } = world;
  const { stack } = context;
  const ring = makeSplitRing(world);
  const outlet = makeOutlet(world);
  const span = plan.maxLength - MIN_FRAME_LENGTH;

  const fill = makeFill(world);

  // The region that the last buffer was in.
  let regionLow = 0;
  let regionHigh = 0;
  let regionBytes = 0;
  let delta = 0;
  let logged = false;
  let enabled = false;
  let mergeable = false;
  /** Used elements since the last interrupt. */
  let unseen = 0;
  /** Of the burst at hand: used elements written, packets that came to nothing, bytes of the others. */
  let written = 0;
  let failed = 0;
  let sum = 0;

  function remember(): void {
    fill.into(regions.window);
    regionLow = regions.low;
    regionHigh = regions.high;
    delta = regions.delta;
    // With a log each page that is written must be marked: that is done on the careful way.
    regionBytes = logged ? 0 : regions.bytes;
  }

  function fail(reason: number): void {
    block[BLOCK.broken] = reason;
    if (block[BLOCK.err] >= 0) context.kick(block[BLOCK.err]);
  }

  /** A packet of impossible length is accepted, and goes no further. */
  function refuse(reason: number): void {
    count(reason, 1);
    failed = (failed + 1) | 0;
  }

  /**
   * Sends one packet into whatever buffers come next, `most` of them at most; used elements are written after the
   * `written` ones. Returns false when there are not enough of them.
   */
  function slow(frame: number, length: number, most: number): boolean {
    const { avail16, avail, last, size } = ring;
    let taken = 0;
    outlet.begin(frame, length);
    // Each turn takes a buffer off the ring.
    while (outlet.left > 0) {
      if (written + taken >= most) {
        // When the guest cannot have more than this in its ring it will never be enough.
        if (most < size || written > 0) return false;
        refuse(VHOST_TX.no_buffer);
        return true;
      }
      const head = avail16[(avail + ((last + written + taken) & (size - 1))) | 0];
      if (head >= size) {
        fail(BROKEN.head);
        return false;
      }
      ring.chain.start(head);
      const got = outlet.fill(ring.chain, mergeable);
      if (got === OUTLET.tooSmall) {
        refuse(VHOST_TX.no_buffer);
        return true;
      }
      if (got < 0) {
        // What a buffer of the packet is no good for, the ones before it were written for nothing.
        ring.use(written + taken, head, 0);
        for (let i = 0; i < taken; i = (i + 1) | 0) ring.unuse(written + i);
        count(got === OUTLET.address ? VHOST_TX.address : VHOST_TX.chain, 1);
        written = (written + taken + 1) | 0;
        taken = 0;
        outlet.begin(frame, length);
        continue;
      }
      ring.use(written + taken, head, got);
      taken = (taken + 1) | 0;
    }
    outlet.finish(taken);
    written = (written + taken) | 0;
    sum = (sum + length) | 0;
    remember();
    return true;
  }

  /** Sends frames [from, to); returns the first one that was not accepted. */
  function sendAll(offsets: Int32Array, lengths: Int32Array, from: number, to: number, most: number): number {
    const { desc32, desc, avail16, avail, used32, used, last, next, size } = ring;
    const mask = size - 1;
    let i = from;
    for (; i < to; i = (i + 1) | 0) {
      const length = lengths[i];
      if ((length - MIN_FRAME_LENGTH) >>> 0 > span) {
        refuse(length < MIN_FRAME_LENGTH ? TX.runt : TX.oversize);
        continue;
      }
      if (written >= most) break;
      const head = avail16[(avail + ((last + written) & mask)) | 0];
      if (head >= size) {
        fail(BROKEN.head);
        break;
      }
      const d = (desc + (head << 2)) | 0;
      const low = desc32[d];
      const into = (low - regionLow) | 0;
      const at = (low + delta) | 0;
      const room = desc32[(d + 2) | 0];
      const total = (length + NET_HDR_BYTES) | 0;
      if (
        (desc32[(d + 3) | 0] & KIND) === DESC_F.WRITE &&
        desc32[(d + 1) | 0] === regionHigh &&
        room >= total &&
        into >= 0 &&
        into <= ((regionBytes - room) | 0) &&
        (at & 3) === 0
      ) {
        fill.put(at, offsets[i], length);
        const element = (used + (((next + written) & mask) << 1)) | 0;
        used32[element] = head;
        used32[(element + 1) | 0] = total;
        written = (written + 1) | 0;
        sum = (sum + length) | 0;
      } else if (!slow(offsets[i], length, most)) break;
    }
    return i;
  }

  return {
    attach() {
      const flags = block[BLOCK.flags];
      logged = (flags & RING_F.log) !== 0;
      enabled = (flags & RING_F.enabled) !== 0;
      mergeable = (flags & RING_F.mergeable) !== 0;
      regionBytes = 0;
      unseen = 0;
      ring.attach();
    },
    transmit({ offsets, lengths }, from, to) {
      if (!enabled || block[BLOCK.broken] !== 0) return 0;
      const most = ring.pending();
      if (most > ring.size) {
        fail(BROKEN.index);
        return 0;
      }
      written = 0;
      failed = 0;
      sum = 0;
      const end = to < lengths.length ? to : lengths.length;
      const stop = sendAll(offsets, lengths, from, end, most);
      const n = (stop - from) | 0;
      if (written > 0) {
        ring.publish(written, written);
        unseen = (unseen + written) | 0;
      }
      if (n <= 0) return 0;
      stack.give(offsets, from, stop);
      count(TX.packets, n);
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
