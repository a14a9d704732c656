/** Split rings: what the guest transmits, and we receive. Data half. */
import { storeFence } from '../../arena/order.ts';
import type { Burst } from '../../queue.ts';
import { MIN_FRAME_LENGTH, RX } from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { DESC_F } from '../../virtio/ring.ts';
import { BLOCK, BROKEN, RING_F, VHOST_RX } from './block.ts';
import { PLAIN_MASK } from './header.ts';
import { makeIntake } from './intake.ts';
import type { RxRing } from './rings.ts';
import { makeSplitRing } from './split-ring.ts';
import type { World } from './world.ts';

/** Descriptors with any of these are not one buffer for the device to read. */
const NOT_PLAIN = DESC_F.NEXT | DESC_F.WRITE | DESC_F.INDIRECT;
/** Bytes that are copied at a time: what is behind a packet's end, up to here, is copied too. */
const STEP = 32;

/** Makes the split half of an rx queue. */
export function makeSplitRx(world: World): RxRing {
  const { plan, context, count, block, regions, longs } = world;
  const { stack } = context;
  const ring = makeSplitRing(world);
  const intake = makeIntake(world);
  const span = plan.maxLength - MIN_FRAME_LENGTH;
  // A packet begins up to four bytes later than its frame does, so that both sides have the same alignment, and its
  // copy ends up to a step later: the frames must have room for that.
  const roomy = plan.maxLength + 4 + STEP <= stack.room;

  // The region that the last packet was in, if copies out of it may be made in steps.
  let view = regions.i32[0];
  let view64 = regions.i64[0];
  let regionLow = 0;
  let regionHigh = 0;
  let regionBytes = 0;
  let delta = 0;

  let enabled = false;
  /** Buffers that the last burst took off the ring. */
  let taken = 0;

  /** Remembers the region that was looked up last. */
  function remember(): void {
    view = regions.i32[regions.window];
    view64 = regions.i64[regions.window];
    regionLow = regions.low;
    regionHigh = regions.high;
    delta = regions.delta;
    // Not the last bytes of a window: a step must not go beyond.
    const rest = view.length * 4 - STEP - ((regionLow + delta) | 0);
    regionBytes = !roomy ? 0 : regions.bytes < rest ? regions.bytes : rest;
  }

  /** Takes the packet of `head` into the frame at `frame`, whatever its buffers look like; returns its length, or 0. */
  function slow(head: number, frame: number): number {
    ring.chain.start(head);
    const length = intake.take(ring.chain, frame, (block[BLOCK.flags] & RING_F.csum) !== 0);
    remember();
    return length;
  }

  /** Takes `n` packets of a burst; returns how many came to something. */
  function takeAll(burst: Burst, n: number): number {
    const { offsets, lengths } = burst;
    const { desc32, desc, avail16, avail, used32, used, last, next, size } = ring;
    const mask = size - 1;
    let kept = 0;
    let i = 0;
    for (; i < n; i = (i + 1) | 0) {
      const head = avail16[(avail + ((last + i) & mask)) | 0];
      if (head >= size) {
        block[BLOCK.broken] = BROKEN.head;
        break;
      }
      const d = (desc + (head << 2)) | 0;
      const low = desc32[d];
      const length = (desc32[(d + 2) | 0] - NET_HDR_BYTES) | 0;
      const into = (low - regionLow) | 0;
      const at = (low + delta) | 0;
      const from = at >>> 2;
      const frame = offsets[kept];
      let good = length;
      if (
        (desc32[(d + 3) | 0] & NOT_PLAIN) === 0 &&
        desc32[(d + 1) | 0] === regionHigh &&
        (length - MIN_FRAME_LENGTH) >>> 0 <= span &&
        into >= 0 &&
        into <= ((regionBytes - NET_HDR_BYTES - length) | 0) &&
        (at & 3) === 0 &&
        (view[from] & PLAIN_MASK) === 0
      ) {
        // In steps of 32 bytes: there is no tail to be looked after.
        const source = view64;
        const place = (frame + ((at + NET_HDR_BYTES) & 4)) | 0;
        offsets[kept] = place;
        let s = (at + NET_HDR_BYTES) >>> 3;
        let t = place >>> 3;
        for (const end = (place + length + 7) >>> 3; t < end; t = (t + 4) | 0) {
          longs[t] = source[s];
          longs[(t + 1) | 0] = source[(s + 1) | 0];
          longs[(t + 2) | 0] = source[(s + 2) | 0];
          longs[(t + 3) | 0] = source[(s + 3) | 0];
          s = (s + 4) | 0;
        }
      } else good = slow(head, frame);
      lengths[kept] = good;
      if (good > 0) kept = (kept + 1) | 0;
      const element = (used + (((next + i) & mask) << 1)) | 0;
      used32[element] = head;
      used32[(element + 1) | 0] = 0;
    }
    taken = i;
    return kept;
  }

  /** Not enabled: what the guest sends is thrown away (vhost-user.rst, "Ring states"). */
  function discard(n: number): void {
    const { avail16, avail, last, size } = ring;
    let i = 0;
    for (; i < n; i = (i + 1) | 0) {
      const head = avail16[(avail + ((last + i) & (size - 1))) | 0];
      if (head >= size) {
        block[BLOCK.broken] = BROKEN.head;
        break;
      }
      ring.use(i, head, 0);
    }
    taken = i;
    count(VHOST_RX.disabled, i);
  }

  function fail(reason: number): void {
    block[BLOCK.broken] = reason;
    if (block[BLOCK.err] >= 0) context.kick(block[BLOCK.err]);
  }

  return {
    attach() {
      regionBytes = 0;
      enabled = (block[BLOCK.flags] & RING_F.enabled) !== 0;
      ring.attach();
    },
    receive(burst) {
      let n = ring.pending();
      burst.count = 0;
      if (n === 0 || block[BLOCK.broken] !== 0) return 0;
      if (n > ring.size) {
        fail(BROKEN.index);
        return 0;
      }
      if (n > burst.size) n = burst.size;
      let kept = 0;
      if (enabled) {
        n = stack.take(burst.offsets, 0, n);
        kept = takeAll(burst, n);
        if (kept < n) stack.give(burst.offsets, kept, n);
      } else discard(n);
      ring.publish(taken, taken);
      if (block[BLOCK.broken] !== 0) fail(block[BLOCK.broken]);
      ring.interrupt(taken);
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
