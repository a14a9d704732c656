/** Rx queue of the `virtio-net` driver over a packed virtqueue (virtio 1.2 §2.8). Data half: see `split-queue.ts`. */
import { makeCounters } from '../../arena/counters.ts';
import { indexAccess } from '../../arena/order.ts';
import { type Burst, MIN_FRAME_LENGTH, type QueueContext, type QueuePlan, RX, type RxQueue } from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { DESC_F } from '../../virtio/ring.ts';
import { makeAddresses } from '../frame-addresses.ts';
import { BLOCK, openBlock, SHUT, TROUBLE } from './block.ts';
import { VIRTIO_RX, type VirtioQueueData } from './data.ts';
import { NUM_BUFFERS_WORD } from './header.ts';
import { makeAcknowledge, makeNotify } from './notify.ts';
import { AVAIL_BIT, BOTH_BITS, makePackedRing, PACKED, USED_BIT } from './packed-ring.ts';
import { makeTurn, takeBack } from './passage.ts';
import { makeReceived } from './received.ts';
import { makeRxSegments, rxSegments } from './rx-segments.ts';

const { available: AVAILABLE, used: USED, passed: PASSED, gate: WANTED } = BLOCK;
const numBuffersAt = NUM_BUFFERS_WORD;
const WRITE = DESC_F.WRITE << 16;

/** Makes an rx queue. */
export function makeRxQueue(plan: QueuePlan, context: QueueContext): RxQueue {
  const { memory, stack } = context;
  const data = plan.data as VirtioQueueData;
  const { size } = data;
  const { load } = indexAccess();
  const lastSlot = size - 1;
  const count = makeCounters(memory, plan.counters);
  const block = openBlock(memory, data.block, size);
  const { words, order, owner } = block;
  const ring = makePackedRing(memory, data, block);
  const { desc } = ring;
  const { low, high } = makeAddresses(memory, data, context.pool);
  const notify = makeNotify(data, context);
  const acknowledge = makeAcknowledge(data, context, block);
  const { span, plain, take } = makeReceived(plan, context, count);
  const several = makeRxSegments(plan, context, count);
  const { parts, written } = several;
  const i32 = new Int32Array(memory);
  const mergeable = data.mergeable !== 0;
  const inOrder = data.inOrder !== 0;
  const posted = stack.room;
  const spare = new Int32Array(size);
  // As many are given back to the device at a time; an idle queue gives what it has.
  const batch = Math.max(1, Math.min(32, size >>> 2));

  const flying = (): number => {
    const a = words[AVAILABLE];
    const u = words[USED];
    return ((a & 0x7fff) - (u & 0x7fff) + (((a ^ u) & 0x8000) === 0 ? 0 : size)) | 0;
  };

  /** Makes buffers available for free descriptors, as far as there are frames, and tells the device if it asks. */
  function refill(): void {
    const a = words[AVAILABLE];
    const first = a & 0x7fff;
    const n = stack.take(spare, 0, (size - flying()) | 0);
    if (n === 0) return;
    let slot = first;
    let flags = (a & 0x8000) === 0 ? WRITE | USED_BIT : WRITE | AVAIL_BIT;
    let opening = 0;
    for (let i = 0; i < n; i = (i + 1) | 0) {
      const id = order[slot];
      const at = spare[i];
      owner[id] = at;
      const d = slot << 2;
      desc[d] = low(at);
      desc[(d + 1) | 0] = high(at);
      desc[(d + 2) | 0] = posted;
      if (i === 0) opening = id | flags;
      else desc[(d + 3) | 0] = id | flags;
      slot = (slot + 1) | 0;
      if (slot === size) {
        slot = 0;
        flags ^= BOTH_BITS;
      }
    }
    const position = slot | ((flags & AVAIL_BIT) === 0 ? 0 : 0x8000);
    ring.publish(first, opening, position);
    if (ring.wanted(position, n)) notify(position);
  }

  /** The ring is beyond repair: what is in it stays there until the device has been reset. */
  function stop(trouble: number): number {
    words[BLOCK.trouble] = trouble;
    words[PASSED] = SHUT;
    return 0;
  }

  /**
   * In order (§2.8.7) the device may tell of a batch by its last buffer, `id`, in the descriptor at `slot`; those before it
   * are full. Writes what it would have said of each, the first one last: it has taken them off the ring, and looks at
   * none of them before they are available again. `used` is what flags there say; `has` buffers are in flight from there on.
   * False when there is no such batch.
   */
  function spread(slot: number, id: number, used: number, has: number): boolean {
    const n = (id - slot + (id < slot ? size : 0)) | 0;
    if (id >= size || n >= has) return false;
    let length = desc[((slot << 2) + PACKED.len) | 0];
    for (let k = n; k >= 0; k = (k - 1) | 0) {
      const at = (slot + k) | 0;
      const one = at < size ? at : (at - size) | 0;
      desc[((one << 2) + PACKED.len) | 0] = length;
      desc[((one << 2) + PACKED.last) | 0] = one | (at < size ? used : used ^ BOTH_BITS);
      length = posted;
    }
    return true;
  }

  /** How many buffers the device has used that were not taken, of up to `limit`. */
  function waiting(limit: number): number {
    const has = flying();
    const most = has < limit ? has : limit;
    const u = words[USED];
    let slot = u & 0x7fff;
    let used = (u & 0x8000) === 0 ? 0 : BOTH_BITS;
    let n = 0;
    for (; n < most; n = (n + 1) | 0) {
      const last = load(desc, ((slot << 2) + 3) | 0);
      if ((last & BOTH_BITS) !== used) break;
      if (inOrder && (last & 0xffff) !== slot) spread(slot, last & 0xffff, used, (has - n) | 0);
      slot = (slot + 1) | 0;
      if (slot === size) {
        slot = 0;
        used ^= BOTH_BITS;
      }
    }
    return n;
  }

  const turn = makeTurn(block, size, true, {
    leave: () => count(VIRTIO_RX.lost, waiting(size)),
    takeBack: () => void takeBack(block, stack),
    start: () => ring.reset(),
    resume() {
      ring.resume();
      const a = words[AVAILABLE];
      if (ring.wanted(a, size)) notify(a);
      refill();
    },
  });
  turn();

  /**
   * Takes the packet of `buffers` buffers that is next, whose first is `id` with `length` bytes. Returns how many it took off
   * the ring; 0 when the burst has no room, or the ring is beyond repair.
   */
  function takeSeveral(burst: Burst, id: number, length: number, buffers: number): number {
    const header = buffers > 0 && length >= NET_HDR_BYTES && length <= posted;
    const n = header ? buffers : 1;
    if (n > 1 && waiting(n) < n) return stop(TROUBLE.buffers);
    if (burst.count > 0 && n > ((burst.size - burst.count) | 0)) return 0;
    for (let k = 0; k < n; k = (k + 1) | 0) {
      const u = words[USED];
      const slot = u & 0x7fff;
      const d = slot << 2;
      const one = k === 0 ? id : desc[(d + 3) | 0] & 0xffff;
      const at = one < size && (!inOrder || one === slot) ? owner[one] : 0;
      if (at === 0) {
        several.giveBack(k);
        return stop(TROUBLE.id);
      }
      parts[k] = at;
      written[k] = k === 0 ? length : desc[(d + 2) | 0];
      order[slot] = one;
      words[USED] = slot === lastSlot ? (u & 0x8000) ^ 0x8000 : (u + 1) | 0;
      owner[one] = 0;
    }
    if (!header) {
      several.giveBack(1);
      return 1;
    }
    const entries = several.deliver(burst, burst.count, n);
    if (entries > 1) count(RX.extra_frames, (entries - 1) | 0);
    burst.count = (burst.count + entries) | 0;
    return n;
  }

  /** Bytes of the packets that `takeRun` took. */
  let runBytes = 0;

  /**
   * Takes used buffers that are in order, and a good packet each, up to the first that is not; returns how many. Nothing is
   * written down before all are taken: a worker that takes over in the middle finds them as they were.
   */
  function takeRun({ offsets, lengths }: Burst, most: number): number {
    const u = words[USED];
    let slot = u & 0x7fff;
    let used = (u & 0x8000) === 0 ? 0 : BOTH_BITS;
    let n = 0;
    let bytes = 0;
    for (; n < most; n = (n + 1) | 0) {
      const d = slot << 2;
      if ((load(desc, (d + 3) | 0) & (BOTH_BITS | 0xffff)) !== (used | slot)) break;
      const at = owner[slot];
      const length = (desc[(d + 2) | 0] - NET_HDR_BYTES) | 0;
      // One comparison for all bounds: too short wraps to a large unsigned number.
      if ((length - MIN_FRAME_LENGTH) >>> 0 > span) break;
      if (mergeable && i32[((at >>> 2) + numBuffersAt) | 0] >>> 16 !== 1) break;
      offsets[n] = (at + NET_HDR_BYTES) | 0;
      lengths[n] = length;
      bytes = (bytes + length) | 0;
      slot = (slot + 1) | 0;
      if (slot === size) {
        slot = 0;
        used ^= BOTH_BITS;
      }
    }
    words[USED] = slot | (used === 0 ? 0 : 0x8000);
    runBytes = bytes;
    return n;
  }

  /** Takes up to `most` used buffers into `burst`; returns how many entries it has then. */
  function collect(burst: Burst, most: number): number {
    const { offsets, lengths } = burst;
    runBytes = 0;
    const run = inOrder && plain ? takeRun(burst, most) : 0;
    let position = words[USED];
    let used = (position & 0x8000) === 0 ? 0 : BOTH_BITS;
    let kept = run;
    let packets = run;
    let bytes = runBytes;
    for (let i = run; i < most; i = (i + 1) | 0) {
      const slot = position & 0x7fff;
      const d = slot << 2;
      const last = load(desc, (d + 3) | 0);
      if ((last & BOTH_BITS) !== used) break;
      let id = last & 0xffff;
      if (inOrder && id !== slot) id = spread(slot, id, used, flying()) ? slot : size;
      const length = (desc[(d + 2) | 0] - NET_HDR_BYTES) | 0;
      const at = id < size ? owner[id] : 0;
      if (at === 0) {
        stop(TROUBLE.id);
        break;
      }
      const buffers = mergeable ? i32[((at >>> 2) + numBuffersAt) | 0] >>> 16 : 1;
      if (buffers !== 1) {
        burst.count = kept;
        const taken = takeSeveral(burst, id, (length + NET_HDR_BYTES) | 0, buffers);
        if (taken === 0) break;
        position = words[USED];
        used = (position & 0x8000) === 0 ? 0 : BOTH_BITS;
        i = (i + taken - 1) | 0;
        if (burst.count === kept) continue;
        kept = burst.count;
        packets = (packets + 1) | 0;
        bytes = (bytes + several.bytes) | 0;
        continue;
      }
      if (!inOrder) order[slot] = id;
      if (slot === lastSlot) {
        // Slot 0, the other wrap counter. Of the largest ring slot + 1 would be a change of that by itself.
        position = (position & 0x8000) ^ 0x8000;
        used ^= BOTH_BITS;
      } else position = (position + 1) | 0;
      words[USED] = position;
      owner[id] = 0;
      // One comparison for all bounds: too short wraps to a large unsigned number.
      if (plain ? (length - MIN_FRAME_LENGTH) >>> 0 > span && !take(at, length) : !take(at, length)) continue;
      offsets[kept] = (at + NET_HDR_BYTES) | 0;
      lengths[kept] = length;
      bytes = (bytes + length) | 0;
      kept = (kept + 1) | 0;
      packets = (packets + 1) | 0;
    }
    if (packets > 0) {
      count(RX.packets, packets);
      count(RX.bytes, bytes);
    }
    return kept;
  }

  return {
    // A device without buffers has nothing to interrupt for: as soon as there are frames again it gets some.
    get fd() {
      return words[AVAILABLE] === words[USED] && words[PASSED] !== SHUT ? -1 : plan.fd;
    },
    patient: false,
    segments: rxSegments(plan, posted) > 1,
    receive(burst) {
      burst.count = 0;
      if (words[WANTED] !== words[PASSED] && !turn()) return 0;
      const had = flying();
      const kept = collect(burst, had < burst.size ? had : burst.size);
      burst.count = kept;
      const free = (size - flying()) | 0;
      // Without buffers the device receives nothing, so that nothing but this would ever give it some again.
      if ((free >= batch || (kept === 0 && free > 0)) && words[PASSED] !== SHUT) refill();
      return kept;
    },
    quiesce() {},
    arm() {
      if (words[WANTED] !== words[PASSED] && !turn()) return false;
      acknowledge();
      ring.arm(words[USED]);
      return waiting(flying()) > 0;
    },
    disarm() {
      if (words[PASSED] !== SHUT) ring.disarm();
    },
  };
}
