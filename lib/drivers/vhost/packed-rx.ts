/** Packed rings: what the guest transmits, and we receive. Data half. */
import { indexAccess, storeFence } from '../../arena/order.ts';
import { type Burst, RX } from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { ASIDE, BLOCK, MAX_ASIDE, RING_F, VHOST_RX } from './block.ts';
import { makeDrain } from './drain.ts';
import { makeIntake } from './intake.ts';
import { BOTH, INDIRECT, makePackedRing, NEXT, WRITE } from './packed-ring.ts';
import type { RxRing } from './rings.ts';
import { fail, type World } from './world.ts';

/** Descriptors with any of these are not one buffer for the device to read. */
const NOT_PLAIN = NEXT | WRITE | INDIRECT;

/** Makes the packed half of an rx queue. */
export function makePackedRx(world: World): RxRing {
  const { context, count, block } = world;
  const { stack } = context;
  const { load } = indexAccess();
  const ring = makePackedRing(world);
  const drain = makeDrain(world);
  const intake = makeIntake(world);
  let enabled = false;

  /** Ends the chain at hand, and gives it back. False when the ring is broken. */
  function giveBack(): boolean {
    if (ring.chain.end()) return ring.use(ring.chain.id, 0, 0, ring.chain.slots);
    fail(world, block[BLOCK.broken]);
    return false;
  }

  /** Takes the next packet, whatever its buffers look like; returns its length, 0 when it is none, -1 when the ring is broken. */
  function slow(frame: number): number {
    ring.chain.start(ring.last);
    const length = intake.take(ring.chain, frame);
    drain.remember();
    return giveBack() ? length : -1;
  }

  /**
   * Takes plain buffers for packets [i, n) off the ring, up to the first that needs more care; returns how many. What it
   * needs is in locals: V8 would load and store fields for each packet.
   */
  function takePlain({ offsets, lengths }: Burst, kept: number, n: number): number {
    const { desc32, desc, size, list, left, usedSlots } = ring;
    let { last, fresh, usedFlags, aside } = ring;
    if (!ring.inStep()) return 0;
    const most = n < left ? n : left;
    let taken = 0;
    for (; taken < most; taken = (taken + 1) | 0) {
      const d = (desc + (last << 2)) | 0;
      const word = load(desc32, (d + 3) | 0);
      if ((word & (BOTH | NOT_PLAIN)) !== fresh) break;
      const length = desc32[(d + 2) | 0];
      const place = drain.take(desc32[d], desc32[(d + 1) | 0], length, offsets[kept]);
      if (place === 0) break;
      offsets[kept] = place;
      lengths[kept] = (length - NET_HDR_BYTES) | 0;
      kept = (kept + 1) | 0;
      const e = aside * ASIDE.words;
      aside = (aside + 1) | 0;
      list[e] = last;
      list[(e + 1) | 0] = 0;
      list[(e + 2) | 0] = (word & 0xffff) | usedFlags;
      list[(e + 3) | 0] = (usedSlots + taken + 1) | 0;
      last = (last + 1) | 0;
      if (last === size) {
        last = 0;
        fresh = fresh ^ BOTH;
        usedFlags = usedFlags ^ BOTH;
      }
    }
    ring.run(taken, last, fresh);
    return taken;
  }

  /** Takes up to `n` buffers off the ring; returns how many of them were packets. */
  function takeAll(burst: Burst, n: number): number {
    const { offsets, lengths } = burst;
    let kept = 0;
    for (let i = 0; i < n; i = (i + 1) | 0) {
      const plain = takePlain(burst, kept, (n - i) | 0);
      kept = (kept + plain) | 0;
      i = (i + plain) | 0;
      if (i >= n || ring.peek() === 0) break;
      const got = slow(offsets[kept]);
      if (got < 0) break;
      lengths[kept] = got;
      if (got > 0) kept = (kept + 1) | 0;
    }
    return kept;
  }

  /** Not enabled: what the guest sends is thrown away (vhost-user.rst, "Ring states"). */
  function discard(n: number): void {
    for (let i = 0; i < n && ring.peek() !== 0; i = (i + 1) | 0) {
      ring.chain.start(ring.last);
      if (!giveBack()) break;
    }
    count(VHOST_RX.disabled, ring.aside);
  }

  return {
    attach() {
      enabled = (block[BLOCK.flags] & RING_F.enabled) !== 0;
      drain.attach();
      ring.attach();
    },
    receive(burst) {
      burst.count = 0;
      if (!ring.ready() || block[BLOCK.broken] !== 0) return 0;
      const most = burst.size < MAX_ASIDE ? burst.size : MAX_ASIDE;
      let kept = 0;
      if (enabled) {
        const n = stack.take(burst.offsets, 0, most);
        kept = takeAll(burst, n);
        if (kept < n) stack.give(burst.offsets, kept, n);
      } else discard(most);
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
      // The wish before the descriptor is read, while the driver writes the descriptor before it reads the wish.
      storeFence(block, BLOCK.fence, 0);
      return block[BLOCK.broken] === 0 && ring.ready();
    },
    disarm() {
      ring.want(false);
    },
  };
}
