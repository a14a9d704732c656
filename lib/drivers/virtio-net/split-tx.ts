/** Tx queue of the `virtio-net` driver over a split virtqueue (virtio 1.2 §2.7). Data half: see `split-queue.ts`. */
import { makeCounters } from '../../arena/counters.ts';
import { MIN_FRAME_LENGTH, type QueueContext, type QueuePlan, TX, type TxQueue } from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { DESC_F } from '../../virtio/ring.ts';
import { RARP_BYTES } from '../../wire/rarp.ts';
import { makeAddresses } from '../frame-addresses.ts';
import { BLOCK, openBlock, SHUT, TROUBLE } from './block.ts';
import { VIRTIO_TX, type VirtioQueueData } from './data.ts';
import { makeNotify } from './notify.ts';
import { makeTurn, takeBack } from './passage.ts';
import { DESC, makeSplitRing } from './split-ring.ts';
import { makeTxSegments } from './tx-segments.ts';

const {
  available: AVAILABLE,
  used: USED,
  passed: PASSED,
  gate: WANTED,
  announce: ANNOUNCE,
  announced: ANNOUNCED,
} = BLOCK;
const INDIRECT = DESC_F.INDIRECT;

/** Makes a tx queue. */
export function makeTxQueue(plan: QueuePlan, context: QueueContext): TxQueue {
  const { memory, stack, pool } = context;
  const data = plan.data as VirtioQueueData;
  const { size } = data;
  const mask = size - 1;
  const count = makeCounters(memory, plan.counters);
  const tabled = data.tables !== 0;
  const block = openBlock(memory, data.block, size, tabled);
  const { words, order, owner } = block;
  const ring = makeSplitRing(memory, data, block);
  const { desc, avail, used, usedIndex, publish } = ring;
  const addresses = makeAddresses(memory, data, pool);
  const { direct, low, high } = addresses;
  const notify = makeNotify(data, context);
  const segments = makeTxSegments(plan, context, block, addresses, false, count);
  const i32 = new Int32Array(memory);
  const inFrame = pool.frameSize - 1;
  const frameSize = pool.frameSize;
  const most = plan.maxLength;
  const done = new Int32Array(size);
  const inOrder = data.inOrder !== 0;
  let told = 0;
  let published = false;

  /** The ring is beyond repair: what is in it stays there until the device has been reset. */
  function stop(trouble: number): void {
    words[BLOCK.trouble] = trouble;
    words[PASSED] = SHUT;
  }

  /** The announcement was used, at index `u`: what is behind it is taken at the next look. */
  function takeAnnouncement(id: number, u: number): void {
    order[u & mask] = id;
    words[USED] = (u + 1) | 0;
    words[ANNOUNCED] = 0;
    desc[((id << 2) + DESC.addrHigh) | 0] = 0;
  }

  /** Puts the announcement into the ring, when there is room and the last one is not under way. */
  function announce(): void {
    const a = words[AVAILABLE];
    if (words[ANNOUNCED] !== 0 || ((a - words[USED]) | 0) >= size || words[PASSED] === SHUT) return;
    const id = order[a & mask];
    const d = id << 2;
    desc[d] = data.announceLow;
    desc[(d + DESC.addrHigh) | 0] = data.announceHigh;
    desc[(d + DESC.len) | 0] = NET_HDR_BYTES + RARP_BYTES;
    avail[a & mask] = id;
    owner[id] = 0;
    words[ANNOUNCED] = (id + 1) | 0;
    words[AVAILABLE] = (a + 1) | 0;
    Atomics.store(words, ANNOUNCE, 0);
    publish((a + 1) | 0);
    if (ring.wanted((a + 1) | 0, told)) notify((a + 1) | 0);
    told = (a + 1) | 0;
    published = false;
  }

  /**
   * In order (§2.7.9) ids are slots, and `owner` has the frames as they come back. What it says of free slots means nothing
   * then. The `n` buffers from index `u` on were used.
   */
  function giveBatch(u: number, n: number): void {
    const slot = u & mask;
    const end = (slot + n) | 0;
    words[USED] = (u + n) | 0;
    if (end <= size) stack.give(owner, slot, end);
    else {
      stack.give(owner, slot, size);
      stack.give(owner, 0, (end - size) | 0);
    }
    count(TX.completed, n);
  }

  /** Takes back what the device has used; returns how many are in flight. */
  function collect(): number {
    const u = words[USED];
    const flying = (words[AVAILABLE] - u) | 0;
    const n = (usedIndex() - u) & 0xffff;
    if (n === 0) return flying;
    if (n > flying) {
      stop(TROUBLE.index);
      return flying;
    }
    if (inOrder && !tabled && words[ANNOUNCED] === 0) {
      giveBatch(u, n);
      return (flying - n) | 0;
    }
    let taken = 0;
    let frames = 0;
    for (; taken < n; taken = (taken + 1) | 0) {
      const slot = (u + taken) & mask;
      // In order (§2.7.9): the index says it all, and most elements may not have been written.
      const id = inOrder ? slot : used[slot << 1];
      const at = id >>> 0 < size ? owner[id] : 0;
      if (at === 0) {
        if (words[ANNOUNCED] !== 0 && id === words[ANNOUNCED] - 1) takeAnnouncement(id, (u + taken) | 0);
        else stop(TROUBLE.id);
        break;
      }
      order[slot] = id;
      words[USED] = (u + taken + 1) | 0;
      owner[id] = 0;
      done[taken] = at;
      if (!tabled) continue;
      const more = segments.giveBack(id);
      frames = (frames + more) | 0;
      // As every other one again.
      if (more > 0) desc[((id << 2) + DESC.flags) | 0] = 0;
    }
    stack.give(done, 0, taken);
    count(TX.completed, (taken + frames) | 0);
    return (flying - taken) | 0;
  }

  const turn = makeTurn(block, size, false, {
    leave: () => void collect(),
    takeBack: () => count(VIRTIO_TX.lost, takeBack(block, stack)),
    start: () => ring.reset(0, false),
    resume() {
      const a = words[AVAILABLE];
      told = (a - 0x7fff) | 0;
      publish(a);
      published = true;
    },
  });
  turn();

  return {
    transmit(burst, from, to) {
      if (words[WANTED] !== words[PASSED] && !turn()) return 0;
      const { offsets, lengths } = burst;
      const end = to < lengths.length ? to : lengths.length;
      const wanted = (end - from) | 0;
      const a = words[AVAILABLE];
      let room = (size - ((a - words[USED]) | 0)) | 0;
      // In order it costs little, and frames come round again while the cpu still has them.
      if (inOrder || room < wanted) room = (size - collect()) | 0;
      if (words[PASSED] === SHUT) return 0;
      const n = room < wanted ? room : wanted;
      if (n <= 0) return 0;
      const stopAt = (from + n) | 0;
      let put = a;
      let bytes = 0;
      let extra = 0;
      let i = from;
      for (; i < stopAt; i = (i + 1) | 0) {
        const offset = offsets[i];
        const length = lengths[i];
        const at = offset & inFrame;
        // Negative once a length is out of bounds, the header does not fit before it, or the packet into its frame.
        const bad = (at - NET_HDR_BYTES) | (length - MIN_FRAME_LENGTH) | (most - length) | (frameSize - at - length);
        const slot = put & mask;
        const id = order[slot];
        const d = id << 2;
        if (bad < 0) {
          const sends = segments.put(burst, i, end, id);
          extra = (extra + segments.stop - i - 1) | 0;
          i = (segments.stop - 1) | 0;
          if (!sends) continue;
          desc[d] = segments.low;
          desc[(d + DESC.addrHigh) | 0] = segments.high;
          desc[(d + DESC.len) | 0] = segments.n << 4;
          desc[(d + DESC.flags) | 0] = INDIRECT;
          bytes = (bytes + segments.bytes) | 0;
        } else {
          const start = (offset - NET_HDR_BYTES) | 0;
          const h = start >>> 2;
          i32[h] = 0;
          i32[(h + 1) | 0] = 0;
          i32[(h + 2) | 0] = 0;
          desc[d] = low(start);
          if (!direct) desc[(d + DESC.addrHigh) | 0] = high(start);
          desc[(d + DESC.len) | 0] = (length + NET_HDR_BYTES) | 0;
          bytes = (bytes + length) | 0;
        }
        owner[id] = offset;
        avail[slot] = id;
        put = (put + 1) | 0;
      }
      // In our block first: whoever takes over after this publishes it again.
      words[AVAILABLE] = put;
      publish(put);
      published = true;
      const accepted = (i - from) | 0;
      count(TX.packets, (accepted - extra) | 0);
      count(TX.bytes, bytes);
      if (extra > 0) count(TX.extra_frames, extra);
      return accepted;
    },
    kick() {
      if (!published || words[PASSED] === SHUT) return;
      published = false;
      const a = words[AVAILABLE];
      if (ring.wanted(a, told)) notify(a);
      told = a;
    },
    reclaim() {
      if (words[WANTED] !== words[PASSED] && !turn()) return (words[AVAILABLE] - words[USED]) | 0;
      if (words[ANNOUNCE] !== 0) announce();
      return collect();
    },
  };
}
