/** Tx queue of the `virtio-net` driver over a packed virtqueue (virtio 1.2 §2.8). Data half: see `split-queue.ts`. */
import { makeCounters } from '../../arena/counters.ts';
import { indexAccess } from '../../arena/order.ts';
import { MIN_FRAME_LENGTH, type QueueContext, type QueuePlan, TX, type TxQueue } from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { DESC_F } from '../../virtio/ring.ts';
import { RARP_BYTES } from '../../wire/rarp.ts';
import { makeAddresses } from '../frame-addresses.ts';
import { BLOCK, openBlock, SHUT, TROUBLE } from './block.ts';
import { VIRTIO_TX, type VirtioQueueData } from './data.ts';
import { makeNotify } from './notify.ts';
import { AVAIL_BIT, BOTH_BITS, makePackedRing, USED_BIT } from './packed-ring.ts';
import { makeTurn, takeBack } from './passage.ts';
import { makeTxSegments } from './tx-segments.ts';

const {
  available: AVAILABLE,
  used: USED,
  passed: PASSED,
  gate: WANTED,
  announce: ANNOUNCE,
  announced: ANNOUNCED,
} = BLOCK;
const INDIRECT = DESC_F.INDIRECT << 16;

/** Makes a tx queue. */
export function makeTxQueue(plan: QueuePlan, context: QueueContext): TxQueue {
  const { memory, stack, pool } = context;
  const data = plan.data as VirtioQueueData;
  const { size } = data;
  const { load } = indexAccess();
  const lastSlot = size - 1;
  const count = makeCounters(memory, plan.counters);
  const tabled = data.tables !== 0;
  const block = openBlock(memory, data.block, size, tabled);
  const { words, order, owner } = block;
  const ring = makePackedRing(memory, data, block);
  const { desc } = ring;
  const addresses = makeAddresses(memory, data, pool);
  const { low, high } = addresses;
  const notify = makeNotify(data, context);
  const segments = makeTxSegments(plan, context, block, addresses, true, count);
  const i32 = new Int32Array(memory);
  const inFrame = pool.frameSize - 1;
  const frameSize = pool.frameSize;
  const most = plan.maxLength;
  const done = new Int32Array(size);
  const inOrder = data.inOrder !== 0;
  /** Descriptors made available since we looked whether the device wants to be told. */
  let fresh = 0;

  const flying = (): number => {
    const a = words[AVAILABLE];
    const u = words[USED];
    return ((a & 0x7fff) - (u & 0x7fff) + (((a ^ u) & 0x8000) === 0 ? 0 : size)) | 0;
  };

  /** The ring is beyond repair: what is in it stays there until the device has been reset. */
  function stop(trouble: number): void {
    words[BLOCK.trouble] = trouble;
    words[PASSED] = SHUT;
  }

  /** Puts the announcement into the ring, when there is room and the last one is not under way. */
  function announce(): void {
    if (words[ANNOUNCED] !== 0 || flying() >= size || words[PASSED] === SHUT) return;
    const a = words[AVAILABLE];
    const slot = a & 0x7fff;
    const id = order[slot];
    const d = slot << 2;
    desc[d] = data.announceLow;
    desc[(d + 1) | 0] = data.announceHigh;
    desc[(d + 2) | 0] = NET_HDR_BYTES + RARP_BYTES;
    owner[id] = 0;
    words[ANNOUNCED] = (id + 1) | 0;
    Atomics.store(words, ANNOUNCE, 0);
    const position = slot === lastSlot ? (a & 0x8000) ^ 0x8000 : (a + 1) | 0;
    ring.publish(slot, id | ((a & 0x8000) === 0 ? USED_BIT : AVAIL_BIT), position);
    fresh = (fresh + 1) | 0;
    if (ring.wanted(position, fresh)) notify(position);
    fresh = 0;
  }

  /**
   * In order (§2.8.7) ids are slots, and `owner` has the frames as they come back: a whole batch at a time. What it says of
   * free slots means nothing then. Returns how many are in flight.
   */
  function collectBatches(): number {
    const had = flying();
    let taken = 0;
    while (taken < had) {
      const u = words[USED];
      const slot = u & 0x7fff;
      const last = load(desc, ((slot << 2) + 3) | 0);
      if ((last & BOTH_BITS) !== ((u & 0x8000) === 0 ? 0 : BOTH_BITS)) break;
      const id = last & 0xffff;
      const end = (id + 1) | 0;
      const n = (end - slot + (id < slot ? size : 0)) | 0;
      if (id >= size || n > ((had - taken) | 0)) {
        stop(TROUBLE.id);
        break;
      }
      const next = end === size ? 0 : end;
      words[USED] = next | ((u & 0x8000) ^ (next <= slot ? 0x8000 : 0));
      if (end > slot) stack.give(owner, slot, end);
      else {
        stack.give(owner, slot, size);
        stack.give(owner, 0, end);
      }
      taken = (taken + n) | 0;
    }
    if (taken > 0) count(TX.completed, taken);
    return (had - taken) | 0;
  }

  /** Takes back what the device has used; returns how many are in flight. */
  function collect(): number {
    if (inOrder && !tabled && words[ANNOUNCED] === 0) return collectBatches();
    const had = flying();
    let frames = 0;
    let position = words[USED];
    let used = (position & 0x8000) === 0 ? 0 : BOTH_BITS;
    let gone = 0;
    let taken = 0;
    // In order (§2.8.7) the device may tell of a batch by its last buffer: slots up to that are used.
    let batchEnd = -1;
    while (gone < had) {
      const slot = position & 0x7fff;
      let id = slot;
      if (batchEnd < 0) {
        const last = load(desc, ((slot << 2) + 3) | 0);
        if ((last & BOTH_BITS) !== used) break;
        id = last & 0xffff;
        if (inOrder && id < size && ((gone + id - slot + (id < slot ? size : 0)) | 0) < had) {
          batchEnd = id;
          id = slot;
        }
      }
      if (batchEnd === slot) batchEnd = -1;
      const at = id < size ? owner[id] : 0;
      const announcement = at === 0 && id === words[ANNOUNCED] - 1;
      if (at === 0 && !announcement) {
        stop(TROUBLE.id);
        break;
      }
      order[slot] = id;
      if (slot === lastSlot) {
        // Slot 0, the other wrap counter. Of the largest ring slot + 1 would be a change of that by itself.
        position = (position & 0x8000) ^ 0x8000;
        used ^= BOTH_BITS;
      } else position = (position + 1) | 0;
      words[USED] = position;
      owner[id] = 0;
      gone = (gone + 1) | 0;
      if (announcement) {
        words[ANNOUNCED] = 0;
        continue;
      }
      done[taken] = at;
      taken = (taken + 1) | 0;
      if (tabled) frames = (frames + segments.giveBack(id)) | 0;
    }
    if (taken > 0) {
      stack.give(done, 0, taken);
      count(TX.completed, (taken + frames) | 0);
    }
    return (had - gone) | 0;
  }

  const turn = makeTurn(block, size, true, {
    leave: () => void collect(),
    takeBack: () => count(VIRTIO_TX.lost, takeBack(block, stack)),
    start: () => ring.reset(),
    resume() {
      ring.resume();
      fresh = size;
    },
  });
  turn();

  return {
    transmit(burst, from, to) {
      if (words[WANTED] !== words[PASSED] && !turn()) return 0;
      const { offsets, lengths } = burst;
      const end = to < lengths.length ? to : lengths.length;
      const wanted = (end - from) | 0;
      let room = (size - flying()) | 0;
      // In order it costs little, and frames come round again while the cpu still has them.
      if (inOrder || room < wanted) room = (size - collect()) | 0;
      if (words[PASSED] === SHUT) return 0;
      const n = room < wanted ? room : wanted;
      if (n <= 0) return 0;
      const stopAt = (from + n) | 0;
      const a = words[AVAILABLE];
      const first = a & 0x7fff;
      let slot = first;
      let flags = (a & 0x8000) === 0 ? USED_BIT : AVAIL_BIT;
      let put = 0;
      let opening = 0;
      let bytes = 0;
      let extra = 0;
      let i = from;
      for (; i < stopAt; i = (i + 1) | 0) {
        const offset = offsets[i];
        const length = lengths[i];
        const at = offset & inFrame;
        // Negative once a length is out of bounds, the header does not fit before it, or the packet into its frame.
        const bad = (at - NET_HDR_BYTES) | (length - MIN_FRAME_LENGTH) | (most - length) | (frameSize - at - length);
        const id = order[slot];
        const d = slot << 2;
        let kind = id | flags;
        if (bad < 0) {
          const sends = segments.put(burst, i, end, id);
          extra = (extra + segments.stop - i - 1) | 0;
          i = (segments.stop - 1) | 0;
          if (!sends) continue;
          kind |= INDIRECT;
          desc[d] = segments.low;
          desc[(d + 1) | 0] = segments.high;
          desc[(d + 2) | 0] = segments.n << 4;
          bytes = (bytes + segments.bytes) | 0;
        } else {
          const start = (offset - NET_HDR_BYTES) | 0;
          const h = start >>> 2;
          i32[h] = 0;
          i32[(h + 1) | 0] = 0;
          i32[(h + 2) | 0] = 0;
          desc[d] = low(start);
          desc[(d + 1) | 0] = high(start);
          desc[(d + 2) | 0] = (length + NET_HDR_BYTES) | 0;
          bytes = (bytes + length) | 0;
        }
        owner[id] = offset;
        if (put === 0) opening = kind;
        else desc[(d + 3) | 0] = kind;
        put = (put + 1) | 0;
        slot = (slot + 1) | 0;
        if (slot === size) {
          slot = 0;
          flags ^= BOTH_BITS;
        }
      }
      if (put > 0) {
        ring.publish(first, opening, slot | ((flags & AVAIL_BIT) === 0 ? 0 : 0x8000));
        fresh = (fresh + put) | 0;
      }
      const accepted = (i - from) | 0;
      count(TX.packets, (accepted - extra) | 0);
      count(TX.bytes, bytes);
      if (extra > 0) count(TX.extra_frames, extra);
      return accepted;
    },
    kick() {
      if (fresh === 0 || words[PASSED] === SHUT) return;
      const position = words[AVAILABLE];
      if (ring.wanted(position, fresh)) notify(position);
      fresh = 0;
    },
    reclaim() {
      if (words[WANTED] !== words[PASSED] && !turn()) return flying();
      if (words[ANNOUNCE] !== 0) announce();
      const before = words[USED];
      const left = collect();
      // When these were published, it was not known yet that the device asks for something that it has had.
      if (left > 0 && words[USED] !== before && words[PASSED] !== SHUT && ring.overtaken()) notify(words[AVAILABLE]);
      return left;
    },
  };
}
