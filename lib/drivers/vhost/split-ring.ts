/** A split virtqueue from the device's side (virtio 1.2 §2.7): areas, indices, notifications, chains. Data half. */
import { indexAccess16, storeFence } from '../../arena/order.ts';
import { AVAIL, DESC_F, NO_INTERRUPT, NO_NOTIFY, USED } from '../../virtio/ring.ts';
import { BLOCK, BROKEN, RING_F } from './block.ts';
import { CHAIN, type Chain, makeTable } from './chain.ts';
import { makeSplitJournal } from './journal.ts';
import { fail, type World } from './world.ts';

/** More used elements than any ring has: whatever the driver waits for is among them. */
const ALL = 0x1_0000;

/** A ring. Fields change when it is attached, positions with each burst. */
export interface SplitRing {
  /** The areas' views and where they begin: words of descriptors, 16-bit avail elements, words of used elements. */
  desc32: Int32Array;
  desc: number;
  avail16: Uint16Array;
  avail: number;
  used32: Int32Array;
  used: number;
  size: number;
  /** Index of the next buffer to take and of the next used element, 0..65,535. */
  last: number;
  next: number;
  /** Takes over what the block says. */
  attach(): void;
  /** Buffers that the driver has made available, more than `size` when it cannot be believed. */
  pending(): number;
  /** Buffers taken since the last `publish`: as many used elements are written, and seen by nobody. */
  taken: number;
  /**
   * Whether buffers to which nothing was written are told of by one element for a whole burst (IN_ORDER, §2.7.9). Not with
   * an inflight area, which has a place for each.
   */
  batched: boolean;
  /** Head of the next buffer; -1 when it is none, and the ring is broken. There must be one. */
  head(): number;
  /** It was used, `length` bytes written. */
  use(head: number, length: number): void;
  /** Nothing was written to the `at`th buffer after those that are published. */
  unwrite(at: number): void;
  /** Moves the used index over what was taken: the driver sees it. Returns how many elements that were. */
  publish(): number;
  /** Interrupts the driver if it wants to know of the `written` used elements that were published last. */
  interrupt(written: number): void;
  /** Asks for notifications, or asks for none. */
  want(on: boolean): void;
  /** Starts the chain of `head`. */
  readonly chain: Chain & { start(head: number): void };
}

/** Makes the device's side of the split ring of `world`. */
export function makeSplitRing(world: World): SplitRing {
  const { block, regions, context, log } = world;
  const { load, store } = indexAccess16();
  const none32 = regions.i32[0];
  const none16 = regions.u16[0];
  const journal = makeSplitJournal(world);
  /** Elements of buffers that must be taken again, where the available ring has them: see `resubmitList`. */
  const again16 = new Uint16Array(context.memory);
  let againAt = 0;
  let again = false;
  // The driver's area, which `avail16` mostly is.
  let driver16 = none16;
  let driver = 0;
  let used16 = none16;
  let usedIdx = 0;
  let availIdx = 0;
  let flags = 0;
  let call = -1;
  const logged = (): boolean => (flags & RING_F.log) !== 0;

  function markUsed(from: number, n: number, mask: number): void {
    for (let i = 0; i < n; i = (i + 1) | 0) {
      log.markUsed(USED.ring + ((from + i) & mask) * USED.elemBytes, USED.elemBytes);
    }
    log.markUsed(USED.idx, 2);
  }

  /** Goes on with the available ring once the last of the buffers that were to be taken again is. */
  function takeAgain(n: number): number {
    const { last, size } = ring;
    const left = (block[BLOCK.resubmitEnd] - last) & 0xffff;
    again = left > 0 && left <= size;
    ring.avail16 = again ? again16 : driver16;
    ring.avail = again ? againAt : driver;
    // A packet may need buffers of both.
    for (let i = left; again && i < n && n <= size; i = (i + 1) | 0) {
      const slot = (last + i) & (size - 1);
      again16[(againAt + slot) | 0] = driver16[(driver + slot) | 0];
    }
    return n;
  }

  const ring: SplitRing = {
    desc32: none32,
    desc: 0,
    avail16: none16,
    avail: 0,
    used32: none32,
    used: 0,
    size: 1,
    last: 0,
    next: 0,
    taken: 0,
    batched: false,
    attach() {
      flags = block[BLOCK.flags];
      ring.batched = (flags & (RING_F.inOrder | RING_F.inflight)) === RING_F.inOrder;
      call = block[BLOCK.call];
      ring.size = block[BLOCK.size];
      ring.desc32 = regions.i32[block[BLOCK.descWindow]];
      ring.desc = block[BLOCK.desc] >>> 2;
      driver16 = regions.u16[block[BLOCK.driverWindow]];
      availIdx = (block[BLOCK.driver] + AVAIL.idx) >>> 1;
      driver = (block[BLOCK.driver] + AVAIL.ring) >>> 1;
      ring.avail16 = driver16;
      ring.avail = driver;
      used16 = regions.u16[block[BLOCK.deviceWindow]];
      ring.used32 = regions.i32[block[BLOCK.deviceWindow]];
      usedIdx = (block[BLOCK.device] + USED.idx) >>> 1;
      ring.used = (block[BLOCK.device] + USED.ring) >>> 2;
      ring.last = block[BLOCK.avail];
      ring.next = block[BLOCK.used];
      ring.taken = 0;
      againAt = block[BLOCK.resubmitList] >>> 1;
      again = againAt !== 0;
      // A worker before us may have written elements and not got to the index.
      store(used16, usedIdx, ring.next);
      journal.attach(ring.size, ring.next);
      ring.want(false);
      // Nor to the interrupt. One too many does no harm (§2.7.7.1).
      ring.interrupt(ALL);
    },
    pending() {
      const n = (load(driver16, availIdx) - ring.last) & 0xffff;
      return again ? takeAgain(n) : n;
    },
    head() {
      const head = ring.avail16[(ring.avail + ((ring.last + ring.taken) & (ring.size - 1))) | 0];
      if (head < ring.size) return head;
      fail(world, BROKEN.head);
      return -1;
    },
    use(head, length) {
      const element = (ring.used + (((ring.next + ring.taken) & (ring.size - 1)) << 1)) | 0;
      ring.used32[element] = head;
      ring.used32[(element + 1) | 0] = length;
      ring.taken = (ring.taken + 1) | 0;
    },
    unwrite(at) {
      ring.used32[(ring.used + (((ring.next + at) & (ring.size - 1)) << 1) + 1) | 0] = 0;
    },
    publish() {
      const { taken, next: from, size } = ring;
      ring.taken = 0;
      if (journal.on && taken > 0) journal.batch(ring, taken);
      ring.last = (ring.last + taken) & 0xffff;
      ring.next = (from + taken) & 0xffff;
      // Ours first: a worker that takes over must never write again what the driver has seen.
      block[BLOCK.avail] = ring.last;
      block[BLOCK.used] = ring.next;
      // The elements before the index, §2.7.8.2: the driver reads them once it sees the index move.
      store(used16, usedIdx, ring.next);
      if (journal.on && taken > 0) journal.settle(ring, from, taken);
      if (logged()) markUsed(from, taken, size - 1);
      return taken;
    },
    interrupt(written) {
      if (call < 0 || written === 0) return;
      // The index before the driver's wish is read, while the driver writes its wish before it reads the index.
      storeFence(block, BLOCK.fence, 0);
      if ((flags & RING_F.eventIdx) === 0) {
        if ((load(driver16, availIdx - 1) & NO_INTERRUPT) === 0) context.kick(call);
        return;
      }
      const event = load(driver16, (driver + ring.size) | 0);
      if (((ring.next - event - 1) & 0xffff) < written) context.kick(call);
    },
    want(on) {
      if ((flags & RING_F.eventIdx) === 0) {
        store(used16, (usedIdx - 1) | 0, on ? 0 : NO_NOTIFY);
        return;
      }
      // Not wanted: an index just passed, which comes again after 65,535 more.
      const event = on ? ring.last : (ring.last - 1) & 0xffff;
      store(used16, ((ring.used << 1) + (ring.size << 2)) | 0, event);
    },
    chain: makeChain(),
  };

  /** Walks the chains of this ring. */
  function makeChain(): SplitRing['chain'] {
    const table = makeTable(regions);
    let index = 0;
    let count = 0;
    let left = 0;
    let more = false;
    let inTable = false;

    /** Reads descriptor `index` of where we are; its last word is flags (low half) and next (high half). */
    function read(): boolean {
      if (index >= count) return false;
      if (inTable) return table.read(index);
      const at = (ring.desc + (index << 2)) | 0;
      const { words } = table;
      for (let i = 0; i < 4; i = (i + 1) | 0) words[i] = ring.desc32[(at + i) | 0];
      return true;
    }

    const chain = {
      low: 0,
      high: 0,
      length: 0,
      writable: false,
      start(head: number) {
        index = head;
        count = ring.size;
        left = count;
        more = true;
        inTable = false;
      },
      next(): number {
        const { words } = table;
        // A second turn is after the descriptor of an indirect table.
        while (more) {
          // No chain is longer than the ring (§2.7.5.3.1): what is goes round.
          if (left === 0 || !read()) return CHAIN.bad;
          left = (left - 1) | 0;
          const descFlags = words[3];
          index = descFlags >>> 16;
          more = (descFlags & DESC_F.NEXT) !== 0;
          if ((descFlags & DESC_F.INDIRECT) === 0) {
            chain.low = words[0];
            chain.high = words[1];
            chain.length = words[2];
            chain.writable = (descFlags & DESC_F.WRITE) !== 0;
            return CHAIN.buffer;
          }
          // One table, and nothing after it (§2.7.5.3.1); its descriptor's WRITE means nothing (§2.7.5.3.2).
          if (more || inTable || (flags & RING_F.indirect) === 0) return CHAIN.bad;
          if (!table.open(words[0], words[1], words[2], count)) return CHAIN.bad;
          inTable = true;
          more = true;
          index = 0;
          left = count = table.count;
        }
        return CHAIN.end;
      },
    };
    return chain;
  }

  return ring;
}
