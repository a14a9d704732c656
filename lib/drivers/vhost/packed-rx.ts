/** Packed rings: what the guest transmits, and we receive. Data half. */
import { indexAccess, storeFence } from '../../arena/order.ts';
import { segmentsOf } from '../../arena/segments.ts';
import { type Burst, MORE, RX } from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { ASIDE, BLOCK, MAX_ASIDE, RING_F, VHOST_RX } from './block.ts';
import { makeDrain } from './drain.ts';
import { makeIntake, STAYS } from './intake.ts';
import { BOTH, INDIRECT, makePackedRing, NEXT, WRITE } from './packed-ring.ts';
import type { RxRing } from './rings.ts';
import { fail, type World } from './world.ts';

/** Descriptors with any of these are not one buffer for the device to read. */
const NOT_PLAIN = NEXT | WRITE | INDIRECT;

// Not read off its module where packets are: an import is a live binding.
const more = MORE;

/** Makes the packed half of an rx queue. */
export function makePackedRx(world: World): RxRing {
  const { plan, context, count, block } = world;
  const { stack } = context;
  const { load } = indexAccess();
  const ring = makePackedRing(world);
  const drain = makeDrain(world);
  const intake = makeIntake(world);
  const several = segmentsOf(plan.maxLength, stack.room) > 1;
  let enabled = false;
  /** Entries of the burst at hand that are not the first of their packet. */
  let extra = 0;

  /** Ends the chain at hand, and gives it back. False when the ring is broken. */
  function giveBack(): boolean {
    if (ring.chain.end()) return ring.use(ring.chain.id, 0, 0, ring.chain.slots);
    fail(world, block[BLOCK.broken]);
    return false;
  }

  /** Takes the next packet, whatever its buffers look like: see `Intake.take`; -1 also when the ring is broken. */
  function slow(burst: Burst, kept: number, frames: number): number {
    ring.chain.start(ring.last);
    const n = intake.take(ring.chain, burst, kept, frames);
    drain.remember();
    if (n === STAYS || !giveBack()) return -1;
    if (n > 1) extra = (extra + n - 1) | 0;
    return n;
  }

  /**
   * Takes plain buffers for packets [i, n) off the ring, up to the first that needs more care; returns how many. What it
   * needs is in locals: V8 would load and store fields for each packet.
   */
  function takePlain({ offsets, lengths }: Burst, kept: number, n: number): number {
    const { desc32, desc, size, list, left, usedSlots, batched } = ring;
    let { last, fresh, usedFlags, aside } = ring;
    if (!ring.inStep()) return 0;
    const most = n < left ? n : left;
    let taken = 0;
    let id = 0;
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
      id = word & 0xffff;
      if (!batched) {
        const e = aside * ASIDE.words;
        aside = (aside + 1) | 0;
        list[e] = last;
        list[(e + 1) | 0] = 0;
        list[(e + 2) | 0] = id | usedFlags;
        list[(e + 3) | 0] = (usedSlots + taken + 1) | 0;
      }
      last = (last + 1) | 0;
      if (last === size) {
        last = 0;
        fresh = fresh ^ BOTH;
        usedFlags = usedFlags ^ BOTH;
      }
    }
    if (batched && taken > 0) {
      ring.fold(id, taken);
      aside = ring.aside;
    }
    ring.run(taken, aside, last, fresh);
    return taken;
  }

  /** Takes up to `n` buffers off the ring into the first `frames` entries; returns how many of these it used. */
  function takeAll(burst: Burst, n: number, frames: number): number {
    let kept = 0;
    for (let i = 0; i < n; i = (i + 1) | 0) {
      const left = (n - i) | 0;
      const room = (frames - kept) | 0;
      const plain = takePlain(burst, kept, left < room ? left : room);
      kept = (kept + plain) | 0;
      i = (i + plain) | 0;
      if (i >= n || kept >= frames || ring.peek() === 0) break;
      const got = slow(burst, kept, frames);
      if (got < 0) break;
      kept = (kept + got) | 0;
    }
    return kept;
  }

  /** Not enabled: what the guest sends is thrown away (vhost-user.rst, "Ring states"). */
  function discard(n: number): void {
    let thrown = 0;
    for (; thrown < n && ring.peek() !== 0; thrown = (thrown + 1) | 0) {
      ring.chain.start(ring.last);
      if (!giveBack()) break;
    }
    count(VHOST_RX.disabled, thrown);
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
        const frames = stack.take(burst.offsets, 0, most);
        extra = 0;
        kept = takeAll(burst, several ? most : frames, frames);
        if (kept < frames) stack.give(burst.offsets, kept, frames);
      } else discard(most);
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
      // The wish before the descriptor is read, while the driver writes the descriptor before it reads the wish.
      storeFence(block, BLOCK.fence, 0);
      return block[BLOCK.broken] === 0 && ring.ready();
    },
    disarm() {
      ring.want(false);
    },
  };
}
