/**
 * A packed virtqueue from the device's side (virtio 1.2 §2.8): descriptors, wrap counters, event suppression. Data half.
 * Used descriptors are kept aside in the block and written together, the first one last: the driver sees all of a burst
 * or nothing, and a worker that is ended halfway leaves to the next what it needs to finish.
 */
import { indexAccess, storeFence } from '../../arena/order.ts';
import { DESC_F, EVENT_F } from '../../virtio/ring.ts';
import { ASIDE, ASIDE_AT, BLOCK, BROKEN, MAX_ASIDE, RING_F } from './block.ts';
import { CHAIN, type Chain, makeTable } from './chain.ts';
import { makePackedJournal } from './journal.ts';
import type { World } from './world.ts';

/** Flags in the last word of a descriptor, above the id. */
const high = (flags: number): number => flags << 16;
export const NEXT = high(DESC_F.NEXT);
export const WRITE = high(DESC_F.WRITE);
export const INDIRECT = high(DESC_F.INDIRECT);
export const BOTH = high(DESC_F.AVAIL | DESC_F.USED);
const AVAILABLE = high(DESC_F.AVAIL);

/** A chain of the ring: when it has ended, how many descriptors it takes and the id of its buffer. */
export interface PackedChain extends Chain {
  slots: number;
  id: number;
  start(at: number): void;
  /** Goes to its end. False when it has none. */
  end(): boolean;
}

/** A ring. */
export interface PackedRing {
  /** View of the descriptors, and the word where they begin. */
  desc32: Int32Array;
  desc: number;
  size: number;
  /** Position of the next descriptor to take. */
  last: number;
  /** What the last word of an available descriptor has in the bits of `BOTH`, this time round. */
  fresh: number;
  /** Descriptors that can still be taken before the next `publish`. */
  left: number;
  /** Takes over what the block says. */
  attach(): void;
  /** True when there is a buffer. */
  ready(): boolean;
  /** Last word of the descriptor at `last` if it is available, 0 otherwise. */
  peek(): number;
  /** Keeps aside that the buffer `id` of `slots` descriptors at `last` was used, and goes on to the next. False when no more can be. */
  use(id: number, length: number, flags: number, slots: number): boolean;
  /** What is kept aside, as `ASIDE` says. */
  readonly list: Int32Array;
  /** Whether used descriptors are written where the buffers were: so for all time if it is so at the start. */
  inStep(): boolean;
  /** For `run`: bits of `BOTH` of a used descriptor at `last`, and descriptors kept aside, of any number of buffers. */
  usedFlags: number;
  usedSlots: number;
  /**
   * Whether all that is kept aside is told of by one used descriptor, with the id of the last buffer (IN_ORDER, §2.8.7).
   * Not of buffers that were written to: the driver must know how much of each. Nor with an inflight area, which has a
   * place for each.
   */
  batched: boolean;
  /** The caller took `count` buffers of one descriptor each, and has put all on the list; the next one to take is `last`. In step only. */
  run(count: number, aside: number, last: number, fresh: number): void;
  /** If `batched`: the list is to tell of the next `slots` descriptors too, the last buffer of which is `id`. Before `run`. */
  fold(id: number, slots: number): void;
  /** How many are kept aside; forgets those after the first `count`, which are available again. */
  aside: number;
  forget(count: number): void;
  /** Says that nothing was written to the buffers that were kept aside after the first `count`. */
  empty(count: number): void;
  /** Writes to the ring what is kept aside; returns how many descriptors that took. */
  publish(): number;
  /** Interrupts the driver if it wants to know of the last `slots` descriptors. */
  interrupt(slots: number): void;
  want(on: boolean): void;
  readonly chain: PackedChain;
}

/** Whatever the driver waits for is among them. */
const ALL = 0x1_0000;

/** Makes the device's side of the packed ring of `world`. */
export function makePackedRing(world: World): PackedRing {
  const { block, regions, context, log, plan } = world;
  const { load, store } = indexAccess();
  const journal = makePackedJournal(world);
  const list = new Int32Array(context.memory, plan.data.block + ASIDE_AT, MAX_ASIDE * ASIDE.words);
  let driver32 = regions.i32[0];
  let device32 = regions.i32[0];
  let driver = 0;
  let device = 0;
  let flags = 0;
  let call = -1;
  let next = 0;
  // Where `forget` goes back to.
  const origin = { last: 0, fresh: 0, next: 0, usedFlags: 0 };

  const wrapOf = (fresh: number): number => (fresh === AVAILABLE ? 1 : 0);
  const freshOf = (wrap: number): number => (wrap === 1 ? AVAILABLE : high(DESC_F.USED));

  function step(slots: number): void {
    ring.left = (ring.left - slots) | 0;
    ring.usedSlots = (ring.usedSlots + slots) | 0;
    ring.last = (ring.last + slots) | 0;
    if (ring.last >= ring.size) {
      ring.last = (ring.last - ring.size) | 0;
      ring.fresh = ring.fresh ^ BOTH;
    }
    next = (next + slots) | 0;
    if (next >= ring.size) {
      next = (next - ring.size) | 0;
      ring.usedFlags = ring.usedFlags ^ BOTH;
    }
  }

  function begin(): void {
    ring.aside = 0;
    ring.usedSlots = 0;
    ring.left = ring.size;
    origin.last = ring.last;
    origin.fresh = ring.fresh;
    origin.next = next;
    origin.usedFlags = ring.usedFlags;
  }

  /** Writes the first `count` of the list to the ring, the first one last: with it the driver sees them. */
  function write(count: number): void {
    const { desc32, desc } = ring;
    for (let i = (count - 1) | 0; i > 0; i = (i - 1) | 0) {
      const e = i * ASIDE.words;
      const d = (desc + (list[e] << 2)) | 0;
      desc32[(d + 2) | 0] = list[(e + 1) | 0];
      desc32[(d + 3) | 0] = list[(e + 2) | 0];
    }
    const d = (desc + (list[0] << 2)) | 0;
    desc32[(d + 2) | 0] = list[ASIDE.length];
    // These two together: a thread is ended between turns of a loop and at calls, not here.
    store(desc32, (d + 3) | 0, list[ASIDE.word]);
    block[BLOCK.commit] = 0;
    if (journal.on) journal.settle();
    if ((flags & RING_F.log) === 0) return;
    for (let i = 0; i < count; i = (i + 1) | 0) log.markUsed(list[i * ASIDE.words] << 4, 16);
  }

  const ring: PackedRing = {
    desc32: regions.i32[0],
    desc: 0,
    size: 1,
    last: 0,
    fresh: 0,
    left: 0,
    aside: 0,
    usedFlags: 0,
    usedSlots: 0,
    batched: false,
    list,
    attach() {
      flags = block[BLOCK.flags];
      call = block[BLOCK.call];
      ring.batched = plan.direction === 'rx' && (flags & (RING_F.inOrder | RING_F.inflight)) === RING_F.inOrder;
      ring.size = block[BLOCK.size];
      ring.desc32 = regions.i32[block[BLOCK.descWindow]];
      ring.desc = block[BLOCK.desc] >>> 2;
      driver32 = regions.i32[block[BLOCK.driverWindow]];
      driver = block[BLOCK.driver] >>> 2;
      device32 = regions.i32[block[BLOCK.deviceWindow]];
      device = block[BLOCK.device] >>> 2;
      ring.last = block[BLOCK.avail];
      ring.fresh = freshOf(block[BLOCK.availWrap]);
      next = block[BLOCK.used];
      ring.usedFlags = block[BLOCK.usedWrap] === 1 ? BOTH : 0;
      // A worker before us may have been ended in the middle of it.
      journal.attach(ring.size);
      if (block[BLOCK.commit] > 0) write(block[BLOCK.commit]);
      begin();
      ring.want(false);
      // Nor may it have got to the interrupt. One too many does no harm.
      ring.interrupt(ALL);
    },
    ready: () => (load(ring.desc32, (ring.desc + (ring.last << 2) + 3) | 0) & BOTH) === ring.fresh,
    peek() {
      const word = load(ring.desc32, (ring.desc + (ring.last << 2) + 3) | 0);
      return ring.left > 0 && (word & BOTH) === ring.fresh ? word : 0;
    },
    use(id, length, descFlags, slots) {
      if (ring.aside === MAX_ASIDE) return false;
      if (ring.batched) {
        ring.fold(id & 0xffff, slots);
        step(slots);
        return true;
      }
      const e = ring.aside * ASIDE.words;
      list[e] = next;
      list[(e + 1) | 0] = length;
      list[(e + 2) | 0] = (id & 0xffff) | descFlags | ring.usedFlags;
      list[(e + 3) | 0] = (ring.usedSlots + slots) | 0;
      ring.aside = (ring.aside + 1) | 0;
      step(slots);
      return true;
    },
    inStep: () => next === ring.last && (ring.usedFlags !== 0) === (ring.fresh === AVAILABLE),
    run(count, aside, last, fresh) {
      ring.aside = aside;
      ring.left = (ring.left - count) | 0;
      ring.usedSlots = (ring.usedSlots + count) | 0;
      ring.last = last;
      ring.fresh = fresh;
      next = last;
      ring.usedFlags = fresh === AVAILABLE ? BOTH : 0;
    },
    fold(id, slots) {
      if (ring.aside === 0) {
        ring.aside = 1;
        list[ASIDE.at] = next;
        list[ASIDE.length] = 0;
        list[ASIDE.word] = ring.usedFlags;
      }
      list[ASIDE.word] = (list[ASIDE.word] & BOTH) | id;
      list[ASIDE.slots] = (ring.usedSlots + slots) | 0;
    },
    forget(count) {
      const slots = count === 0 ? 0 : list[(count - 1) * ASIDE.words + ASIDE.slots];
      ring.aside = count;
      ring.usedSlots = 0;
      ring.left = ring.size;
      ring.last = origin.last;
      ring.fresh = origin.fresh;
      next = origin.next;
      ring.usedFlags = origin.usedFlags;
      step(slots);
    },
    empty(count) {
      for (let i = count; i < ring.aside; i = (i + 1) | 0) {
        list[i * ASIDE.words + ASIDE.length] = 0;
        list[i * ASIDE.words + ASIDE.word] &= ~WRITE;
      }
    },
    publish() {
      const slots = ring.usedSlots;
      if (ring.aside > 0) {
        if (journal.on) journal.batch(ring, next, ring.usedFlags === 0 ? 0 : 1);
        // These together, as above: from here on it is done, by us or by the worker after us.
        block[BLOCK.avail] = ring.last;
        block[BLOCK.availWrap] = wrapOf(ring.fresh);
        block[BLOCK.used] = next;
        block[BLOCK.usedWrap] = ring.usedFlags === 0 ? 0 : 1;
        block[BLOCK.commit] = ring.aside;
        write(ring.aside);
      }
      begin();
      return slots;
    },
    interrupt(slots) {
      if (call < 0 || slots === 0) return;
      // The descriptors before the driver's wish is read, while it writes its wish before it reads the descriptors.
      storeFence(block, BLOCK.fence, 0);
      const event = load(driver32, driver);
      const wish = event >>> 16;
      if (wish === EVENT_F.DISABLE) return;
      if (wish === EVENT_F.DESC && (flags & RING_F.eventIdx) !== 0 && slots < ring.size) {
        let at = event & 0x7fff;
        if (((event >>> 15) & 1) !== (ring.usedFlags === 0 ? 0 : 1)) at = (at - ring.size) | 0;
        if (((next - at - 1) & 0xffff) >= slots) return;
      }
      context.kick(call);
    },
    want(on) {
      let event = high(EVENT_F.DISABLE);
      if (on) {
        const exact = (flags & RING_F.eventIdx) !== 0;
        event = exact ? ring.last | (wrapOf(ring.fresh) << 15) | high(EVENT_F.DESC) : high(EVENT_F.ENABLE);
      }
      store(device32, device, event);
    },
    chain: makeChain(),
  };

  /** Walks the chains of this ring. */
  function makeChain(): PackedChain {
    const table = makeTable(regions);
    let at = 0;
    let more = false;
    let inTable = false;
    let index = 0;

    /** Reads the next descriptor of the ring itself; false when the chain goes all the way round. */
    function read(): boolean {
      if (chain.slots === ring.left) return false;
      const { words } = table;
      const d = (ring.desc + (at << 2)) | 0;
      for (let i = 0; i < 4; i = (i + 1) | 0) words[i] = ring.desc32[(d + i) | 0];
      at = (at + 1) | 0;
      if (at === ring.size) at = 0;
      chain.slots = (chain.slots + 1) | 0;
      more = (words[3] & NEXT) !== 0;
      // The id of the last one counts (§2.8.6).
      chain.id = words[3] & 0xffff;
      return true;
    }

    function give(word: number): number {
      const { words } = table;
      chain.low = words[0];
      chain.high = words[1];
      chain.length = words[2];
      chain.writable = (word & WRITE) !== 0;
      return CHAIN.buffer;
    }

    const chain: PackedChain = {
      low: 0,
      high: 0,
      length: 0,
      writable: false,
      slots: 0,
      id: 0,
      start(position) {
        at = position;
        chain.slots = 0;
        more = true;
        inTable = false;
      },
      next() {
        const { words } = table;
        if (!inTable) {
          if (!more) return CHAIN.end;
          if (!read()) return CHAIN.bad;
          if ((words[3] & INDIRECT) === 0) return give(words[3]);
          // An indirect table stands alone (§2.8.19).
          if (chain.slots > 1 || more || (flags & RING_F.indirect) === 0) return CHAIN.bad;
          if (!table.open(words[0], words[1], words[2], ring.size)) return CHAIN.bad;
          inTable = true;
          index = 0;
        }
        if (index === table.count) return CHAIN.end;
        if (!table.read(index)) return CHAIN.bad;
        index = (index + 1) | 0;
        // Of its flags only WRITE means something (§2.8.7).
        return give(words[3]);
      },
      end() {
        while (more) {
          if (!read()) {
            block[BLOCK.broken] = BROKEN.chain;
            return false;
          }
        }
        return true;
      },
    };
    return chain;
  }

  return ring;
}
