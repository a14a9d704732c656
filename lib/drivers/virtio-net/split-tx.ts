/** Tx queue of the `virtio-net` driver over a split virtqueue (virtio 1.2 §2.7). Data half: see `split-queue.ts`. */
import { makeCounters } from '../../arena/counters.ts';
import { MIN_FRAME_LENGTH, type QueueContext, type QueuePlan, TX, type TxQueue } from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { makeAddresses } from '../frame-addresses.ts';
import { BLOCK, openBlock, SHUT, TROUBLE } from './block.ts';
import { VIRTIO_TX, type VirtioQueueData } from './data.ts';
import { makeNotify } from './notify.ts';
import { makeTurn, takeBack } from './passage.ts';
import { makeRefuse } from './refuse.ts';
import { DESC, makeSplitRing } from './split-ring.ts';

const { available: AVAILABLE, used: USED, passed: PASSED, gate: WANTED } = BLOCK;

/** Makes a tx queue. */
export function makeTxQueue(plan: QueuePlan, context: QueueContext): TxQueue {
  const { memory, stack, pool } = context;
  const data = plan.data as VirtioQueueData;
  const { size } = data;
  const mask = size - 1;
  const count = makeCounters(memory, plan.counters);
  const block = openBlock(memory, data.block, size);
  const { words, order, owner } = block;
  const ring = makeSplitRing(memory, data, block);
  const { desc, avail, used, usedIndex, publish } = ring;
  const { direct, low, high } = makeAddresses(memory, data, pool);
  const notify = makeNotify(data, context);
  const refuse = makeRefuse(plan, stack, count);
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
    let taken = 0;
    for (; taken < n; taken = (taken + 1) | 0) {
      const slot = (u + taken) & mask;
      // In order (§2.7.9): the index says it all, and most elements may not have been written.
      const id = inOrder ? slot : used[slot << 1];
      const at = id >>> 0 < size ? owner[id] : 0;
      if (at === 0) {
        stop(TROUBLE.id);
        break;
      }
      order[slot] = id;
      words[USED] = (u + taken + 1) | 0;
      owner[id] = 0;
      done[taken] = at;
    }
    stack.give(done, 0, taken);
    count(TX.completed, taken);
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
      if (room < wanted) room = (size - collect()) | 0;
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
        if (bad < 0) {
          const last = refuse(burst, i, end);
          extra = (extra + last - i) | 0;
          i = last;
          continue;
        }
        const slot = put & mask;
        const id = order[slot];
        owner[id] = offset;
        const start = (offset - NET_HDR_BYTES) | 0;
        const h = start >>> 2;
        i32[h] = 0;
        i32[(h + 1) | 0] = 0;
        i32[(h + 2) | 0] = 0;
        const d = id << 2;
        desc[d] = low(start);
        if (!direct) desc[(d + DESC.addrHigh) | 0] = high(start);
        desc[(d + DESC.len) | 0] = (length + NET_HDR_BYTES) | 0;
        avail[slot] = id;
        bytes = (bytes + length) | 0;
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
      return collect();
    },
  };
}
