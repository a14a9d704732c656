/** Split rings: what the guest transmits, and we receive. Data half. */
import { storeFence } from '../../arena/order.ts';
import { type Burst, RX } from '../../queue.ts';
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

/** Makes the split half of an rx queue. */
export function makeSplitRx(world: World): RxRing {
  const { context, count, block } = world;
  const { stack } = context;
  const ring = makeSplitRing(world);
  const drain = makeDrain(world);
  const intake = makeIntake(world);
  let enabled = false;

  /** Takes the packet of `head` into the frame at `frame`, whatever its buffers look like; returns its length, or 0. */
  function slow(head: number, frame: number): number {
    ring.chain.start(head);
    const length = intake.take(ring.chain, frame);
    drain.remember();
    return length;
  }

  /** Takes `n` buffers off the ring, as far as they can be believed; returns how many of them were packets. */
  function takeAll({ offsets, lengths }: Burst, n: number): number {
    const { desc32, desc, avail16, avail, used32, used, last, next, size } = ring;
    const mask = size - 1;
    let kept = 0;
    let i = 0;
    for (; i < n; i = (i + 1) | 0) {
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
        const got = slow(head, frame);
        lengths[kept] = got;
        if (got > 0) kept = (kept + 1) | 0;
      }
      const element = (used + (((next + i) & mask) << 1)) | 0;
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
        n = stack.take(burst.offsets, 0, n);
        kept = takeAll(burst, n);
        if (kept < n) stack.give(burst.offsets, kept, n);
      } else discard(n);
      ring.interrupt(ring.publish());
      const { lengths } = burst;
      let bytes = 0;
      for (let i = 0; i < kept; i = (i + 1) | 0) bytes = (bytes + lengths[i]) | 0;
      burst.count = kept;
      count(RX.packets, kept);
      count(RX.bytes, bytes);
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
