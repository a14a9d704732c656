/**
 * What a queue notes in the inflight area (QEMU, docs/interop/vhost-user.rst, "Inflight I/O tracking") for who comes after
 * it. A burst is taken and used in one step, so that nothing is in flight between two bursts: noted is only what could be
 * lost while used buffers are being published. Data half.
 */
import { INFLIGHT_PACKED, INFLIGHT_SPLIT, PACKED_STATE, SPLIT_STATE } from '../../virtio/inflight.ts';
import { ASIDE, BLOCK, RING_F } from './block.ts';
import type { PackedRing } from './packed-ring.ts';
import type { SplitRing } from './split-ring.ts';
import type { World } from './world.ts';

/** Of a split ring. */
export interface SplitJournal {
  /** Whether there is an area. */
  on: boolean;
  /** Takes over what the block says; what a worker before us did not cross out is, up to used index `next`. */
  attach(size: number, next: number): void;
  /** The next `taken` used elements of `ring` are about to be published. */
  batch(ring: SplitRing, taken: number): void;
  /** They are: cross them out. `from` is where the used index was. */
  settle(ring: SplitRing, from: number, taken: number): void;
}

/** Makes it. */
export function makeSplitJournal({ block, regions }: World): SplitJournal {
  let halves = regions.u16[0];
  let bytes = regions.u8[0];
  let area = 0;
  let last = 0;

  const stateAt = (head: number): number => (area + INFLIGHT_SPLIT.head + head * INFLIGHT_SPLIT.entry) | 0;

  const journal: SplitJournal = {
    on: false,
    attach(size, next) {
      journal.on = (block[BLOCK.flags] & RING_F.inflight) !== 0;
      if (!journal.on) return;
      halves = regions.u16[block[BLOCK.inflightWindow]];
      bytes = regions.u8[block[BLOCK.inflightWindow]];
      area = block[BLOCK.inflight];
      const usedAt = (area + INFLIGHT_SPLIT.usedIdx) >>> 1;
      let head = halves[(area + INFLIGHT_SPLIT.lastBatchHead) >>> 1];
      last = head < size ? head : 0;
      for (let n = (next - halves[usedAt]) & 0xffff; n > 0 && n <= size && head < size; n--) {
        bytes[stateAt(head) + SPLIT_STATE.inflight] = 0;
        head = halves[(stateAt(head) + SPLIT_STATE.next) >>> 1];
      }
      halves[usedAt] = next;
    },
    batch({ used32, used, next, size }, taken) {
      for (let i = 0; i < taken; i = (i + 1) | 0) {
        const head = used32[(used + (((next + i) & (size - 1)) << 1)) | 0];
        // We wrote it; so might the front end.
        if (head >>> 0 >= size) continue;
        halves[(stateAt(head) + SPLIT_STATE.next) >>> 1] = last;
        last = head;
      }
      halves[(area + INFLIGHT_SPLIT.lastBatchHead) >>> 1] = last;
    },
    settle({ used32, used, size }, from, taken) {
      for (let i = 0; i < taken; i = (i + 1) | 0) {
        const head = used32[(used + (((from + i) & (size - 1)) << 1)) | 0];
        if (head >>> 0 < size) bytes[(stateAt(head) + SPLIT_STATE.inflight) | 0] = 0;
      }
      halves[(area + INFLIGHT_SPLIT.usedIdx) >>> 1] = (from + taken) & 0xffff;
    },
  };
  return journal;
}

/** Of a packed ring, whose used descriptors take the place of available ones. Entries are taken in their order. */
export interface PackedJournal {
  on: boolean;
  /** Takes over what the block says: nothing is in flight, but for what `commit` says is still to be written. */
  attach(size: number): void;
  /** What `ring` has kept aside is about to be used up to position `next`, written where its buffers were. */
  batch(ring: PackedRing, next: number, wrap: number): void;
  /** The driver sees it. */
  settle(): void;
}

/** Makes it. */
export function makePackedJournal({ block, regions }: World): PackedJournal {
  const { head, entry } = INFLIGHT_PACKED;
  let words = regions.i32[0];
  let halves = regions.u16[0];
  let bytes = regions.u8[0];
  let area = 0;
  /** Entries with `inflight` set, at most. */
  let taken = 0;

  const stateAt = (i: number): number => (area + head + i * entry) | 0;

  /** The position that comes next. It counts only if it is that of the ring, see `recovery.ts`. */
  function supply(next: number, wrap: number): void {
    halves[(area + INFLIGHT_PACKED.freeHead) >>> 1] = 0;
    bytes[area + INFLIGHT_PACKED.usedWrap] = wrap;
    halves[(area + INFLIGHT_PACKED.usedIdx) >>> 1] = next;
  }

  /** Copies the descriptors of the chain of list entry `i` from slot `at` on; returns how many they are. */
  function take({ desc32, desc, size, list }: PackedRing, i: number, first: number): number {
    const e = i * ASIDE.words;
    const num = (list[(e + ASIDE.slots) | 0] - first) | 0;
    let slot = list[e];
    for (let n = 0; n < num; n = (n + 1) | 0) {
      const w = stateAt((first + n) | 0) >>> 2;
      const d = (desc + (slot << 2)) | 0;
      words[(w + (PACKED_STATE.id >> 2)) | 0] = desc32[(d + 3) | 0];
      words[(w + (PACKED_STATE.len >> 2)) | 0] = desc32[(d + 2) | 0];
      words[(w + (PACKED_STATE.addr >> 2)) | 0] = desc32[d];
      words[(w + (PACKED_STATE.addr >> 2) + 1) | 0] = desc32[(d + 1) | 0];
      slot = slot + 1 === size ? 0 : (slot + 1) | 0;
    }
    const state = stateAt(first);
    halves[(state + PACKED_STATE.last) >>> 1] = (first + num - 1) | 0;
    halves[(state + PACKED_STATE.num) >>> 1] = num;
    // Only those of one batch are ever in flight together.
    words[(state + PACKED_STATE.counter) >>> 2] = i;
    words[((state + PACKED_STATE.counter) >>> 2) + 1] = 0;
    bytes[state + PACKED_STATE.inflight] = 1;
    return num;
  }

  const journal: PackedJournal = {
    on: false,
    attach(size) {
      journal.on = (block[BLOCK.flags] & RING_F.inflight) !== 0;
      if (!journal.on) return;
      const window = block[BLOCK.inflightWindow];
      words = regions.i32[window];
      halves = regions.u16[window];
      bytes = regions.u8[window];
      area = block[BLOCK.inflight];
      taken = size;
      supply(block[BLOCK.used], block[BLOCK.usedWrap]);
      if (block[BLOCK.commit] === 0) journal.settle();
    },
    batch(ring, next, wrap) {
      taken = 0;
      for (let i = 0; i < ring.aside; i = (i + 1) | 0) taken = (taken + take(ring, i, taken)) | 0;
      // All of them at once.
      halves[(area + INFLIGHT_PACKED.freeHead) >>> 1] = taken;
      halves[(area + INFLIGHT_PACKED.oldFreeHead) >>> 1] = taken;
      supply(next, wrap);
    },
    settle() {
      halves[(area + INFLIGHT_PACKED.oldFreeHead) >>> 1] = 0;
      for (let i = 0; i < taken; i = (i + 1) | 0) bytes[stateAt(i) + PACKED_STATE.inflight] = 0;
      halves[(area + INFLIGHT_PACKED.oldUsedIdx) >>> 1] = halves[(area + INFLIGHT_PACKED.usedIdx) >>> 1];
      bytes[area + INFLIGHT_PACKED.oldUsedWrap] = bytes[area + INFLIGHT_PACKED.usedWrap];
    },
  };
  return journal;
}
