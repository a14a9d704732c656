/** Tx queue of the `virtio-net` driver over a packed virtqueue (virtio 1.2 §2.8). Data half: see `split-queue.ts`. */
import { makeCounters } from '../../arena/counters.ts';
import { indexAccess } from '../../arena/order.ts';
import { MIN_FRAME_LENGTH, type QueueContext, type QueuePlan, TX, type TxQueue } from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { makeAddresses } from '../frame-addresses.ts';
import { BLOCK, openBlock, SHUT, TROUBLE } from './block.ts';
import { VIRTIO_TX, type VirtioQueueData } from './data.ts';
import { makeNotify } from './notify.ts';
import { AVAIL_BIT, BOTH_BITS, makePackedRing, USED_BIT } from './packed-ring.ts';
import { makeTurn, takeBack } from './passage.ts';
import { makeRefuse } from './refuse.ts';

const { available: AVAILABLE, used: USED, passed: PASSED, gate: WANTED } = BLOCK;

/** Makes a tx queue. */
export function makeTxQueue(plan: QueuePlan, context: QueueContext): TxQueue {
  const { memory, stack, pool } = context;
  const data = plan.data as VirtioQueueData;
  const { size } = data;
  const { load } = indexAccess();
  const lastSlot = size - 1;
  const count = makeCounters(memory, plan.counters);
  const block = openBlock(memory, data.block, size);
  const { words, order, owner } = block;
  const ring = makePackedRing(memory, data, block);
  const { desc } = ring;
  const { low, high } = makeAddresses(memory, data, pool);
  const notify = makeNotify(data, context);
  const refuse = makeRefuse(plan, stack, count);
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

  /** Takes back what the device has used; returns how many are in flight. */
  function collect(): number {
    const had = flying();
    let position = words[USED];
    let used = (position & 0x8000) === 0 ? 0 : BOTH_BITS;
    let taken = 0;
    // In order (§2.8.7) the device may tell of a batch by its last buffer: slots up to that are used.
    let batchEnd = -1;
    while (taken < had) {
      const slot = position & 0x7fff;
      let id = slot;
      if (batchEnd < 0) {
        const last = load(desc, ((slot << 2) + 3) | 0);
        if ((last & BOTH_BITS) !== used) break;
        id = last & 0xffff;
        if (inOrder && id < size && ((taken + id - slot + (id < slot ? size : 0)) | 0) < had) {
          batchEnd = id;
          id = slot;
        }
      }
      if (batchEnd === slot) batchEnd = -1;
      const at = id < size ? owner[id] : 0;
      if (at === 0) {
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
      done[taken] = at;
      taken = (taken + 1) | 0;
    }
    if (taken > 0) {
      stack.give(done, 0, taken);
      count(TX.completed, taken);
    }
    return (had - taken) | 0;
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
      if (room < wanted) room = (size - collect()) | 0;
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
        if (bad < 0) {
          const last = refuse(burst, i, end);
          extra = (extra + last - i) | 0;
          i = last;
          continue;
        }
        const id = order[slot];
        owner[id] = offset;
        const start = (offset - NET_HDR_BYTES) | 0;
        const h = start >>> 2;
        i32[h] = 0;
        i32[(h + 1) | 0] = 0;
        i32[(h + 2) | 0] = 0;
        const d = slot << 2;
        desc[d] = low(start);
        desc[(d + 1) | 0] = high(start);
        desc[(d + 2) | 0] = (length + NET_HDR_BYTES) | 0;
        if (put === 0) opening = id | flags;
        else desc[(d + 3) | 0] = id | flags;
        bytes = (bytes + length) | 0;
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
      return collect();
    },
  };
}
