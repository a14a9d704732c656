/** Split rings: what the guest transmits, and we receive. Data half. */
import { storeFence } from '../../arena/order.ts';
import { segmentsOf } from '../../arena/segments.ts';
import { type Burst, MORE, RX } from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { DESC_F } from '../../virtio/ring.ts';
import { BLOCK, BROKEN, RING_F, VHOST_RX } from './block.ts';
import { makeDrain } from './drain.ts';
import { makeIntake } from './intake.ts';
import type { RxRing } from './rings.ts';
import { makeSplitRing } from './split-ring.ts';
import { fail, type World } from './world.ts';

/** Descriptors with any of these are not one buffer for the device to read. */
const NOT_PLAIN = DESC_F.NEXT | DESC_F.WRITE | DESC_F.INDIRECT;

// Not read off its module where packets are: an import is a live binding.
const more = MORE;

/** Makes the split half of an rx queue. */
export function makeSplitRx(world: World): RxRing {
  const { plan, context, count, block } = world;
  const { stack } = context;
  const ring = makeSplitRing(world);
  const drain = makeDrain(world);
  const intake = makeIntake(world);
  const several = segmentsOf(plan.maxLength, stack.room) > 1;
  let enabled = false;
  /** Entries of the burst at hand that are not the first of their packet. */
  let extra = 0;

  /** Takes the packet of `head`, whatever its buffers look like: see `Intake.take`. */
  function slow(head: number, burst: Burst, kept: number, frames: number): number {
    ring.chain.start(head);
    const n = intake.take(ring.chain, burst, kept, frames);
    drain.remember();
    if (n > 1) extra = (extra + n - 1) | 0;
    return n;
  }

  /** Takes `n` buffers off the ring, as far as they can be believed, into the first `frames` entries; returns how many it used. */
  function takeAll(burst: Burst, n: number, frames: number): number {
    const { offsets, lengths } = burst;
    const { desc32, desc, avail16, avail, used32, used, last, next, size, batched } = ring;
    const mask = size - 1;
    let kept = 0;
    let i = 0;
    for (; i < n && kept < frames; i = (i + 1) | 0) {
      const head = avail16[(avail + ((last + i) & mask)) | 0];
      if (head >= size) {
        fail(world, BROKEN.head);
        break;
      }
      const d = (desc + (head << 2)) | 0;
      const length = desc32[(d + 2) | 0];
      const frame = offsets[kept];
      let place = 0;
      if ((desc32[(d + 3) | 0] & NOT_PLAIN) === 0) {
        place = drain.take(desc32[d], desc32[(d + 1) | 0], length, frame);
      }
      if (place !== 0) {
        offsets[kept] = place;
        lengths[kept] = (length - NET_HDR_BYTES) | 0;
        kept = (kept + 1) | 0;
      } else {
        const got = slow(head, burst, kept, frames);
        if (got < 0) break;
        kept = (kept + got) | 0;
      }
      // A batch is told of by its first element, with the last head; those between are skipped (IN_ORDER, §2.7.9).
      const element = (used + (((batched ? next : next + i) & mask) << 1)) | 0;
      used32[element] = head;
      used32[(element + 1) | 0] = 0;
    }
    ring.taken = i;
    return kept;
  }

  /** Not enabled: what the guest sends is thrown away (vhost-user.rst, "Ring states"). */
  function discard(n: number): void {
    for (let i = 0; i < n; i = (i + 1) | 0) {
      const head = ring.head();
      if (head < 0) break;
      ring.use(head, 0);
    }
    count(VHOST_RX.disabled, ring.taken);
  }

  return {
    attach() {
      enabled = (block[BLOCK.flags] & RING_F.enabled) !== 0;
      drain.attach();
      ring.attach();
    },
    receive(burst) {
      burst.count = 0;
      let n = ring.pending();
      if (n === 0 || block[BLOCK.broken] !== 0) return 0;
      if (n > ring.size) {
        fail(world, BROKEN.index);
        return 0;
      }
      if (n > burst.size) n = burst.size;
      let kept = 0;
      if (enabled) {
        const frames = stack.take(burst.offsets, 0, several ? burst.size : n);
        extra = 0;
        kept = takeAll(burst, n, frames);
        if (kept < frames) stack.give(burst.offsets, kept, frames);
      } else discard(n);
      ring.interrupt(ring.publish());
      const { lengths } = burst;
      let bytes = 0;
      for (let i = 0; i < kept; i = (i + 1) | 0) bytes = (bytes + lengths[i]) | 0;
      burst.count = kept;
      count(RX.packets, (kept - extra) | 0);
      // Each of those has the next one before it, whose length says so.
      count(RX.bytes, (bytes - Math.imul(extra, more)) | 0);
      if (extra > 0) count(RX.extra_frames, extra);
      return kept;
    },
    arm() {
      ring.want(true);
      // The wish before the index is read, while the driver writes the index before it reads the wish.
      storeFence(block, BLOCK.fence, 0);
      return block[BLOCK.broken] === 0 && ring.pending() !== 0;
    },
    disarm() {
      ring.want(false);
    },
  };
}
