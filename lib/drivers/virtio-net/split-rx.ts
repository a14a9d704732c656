/** Rx queue of the `virtio-net` driver over a split virtqueue (virtio 1.2 §2.7). Data half: see `split-queue.ts`. */
import { makeCounters } from '../../arena/counters.ts';
import { type Burst, MIN_FRAME_LENGTH, type QueueContext, type QueuePlan, RX, type RxQueue } from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { makeAddresses } from '../frame-addresses.ts';
import { BLOCK, openBlock, SHUT, TROUBLE } from './block.ts';
import { VIRTIO_RX, type VirtioQueueData } from './data.ts';
import { NUM_BUFFERS_WORD } from './header.ts';
import { makeAcknowledge, makeNotify } from './notify.ts';
import { makeTurn, takeBack } from './passage.ts';
import { makeReceived } from './received.ts';
import { makeRxSegments, rxSegments } from './rx-segments.ts';
import { makeSplitRing } from './split-ring.ts';

const { available: AVAILABLE, used: USED, passed: PASSED, gate: WANTED } = BLOCK;
const numBuffersAt = NUM_BUFFERS_WORD;

/** Makes an rx queue. */
export function makeRxQueue(plan: QueuePlan, context: QueueContext): RxQueue {
  const { memory, stack } = context;
  const data = plan.data as VirtioQueueData;
  const { size } = data;
  const mask = size - 1;
  const count = makeCounters(memory, plan.counters);
  const block = openBlock(memory, data.block, size);
  const { words, order, owner } = block;
  const ring = makeSplitRing(memory, data, block);
  const { desc, avail, used, usedIndex } = ring;
  const { direct, low, high } = makeAddresses(memory, data, context.pool);
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
  let told = 0;

  /** Makes buffers available for free descriptors, as far as there are frames, and tells the device if it asks. */
  function refill(): void {
    const a = words[AVAILABLE];
    const n = stack.take(spare, 0, (size - ((a - words[USED]) | 0)) | 0);
    if (n === 0) return;
    for (let i = 0; i < n; i = (i + 1) | 0) {
      const slot = (a + i) & mask;
      const id = order[slot];
      const at = spare[i];
      owner[id] = at;
      const d = id << 2;
      desc[d] = low(at);
      if (!direct) desc[(d + 1) | 0] = high(at);
      avail[slot] = id;
    }
    tell((a + n) | 0);
  }

  function tell(a: number): void {
    // In our block first: whoever takes over after this publishes it again.
    words[AVAILABLE] = a;
    if (ring.wanted(a, told)) notify(a);
    told = a;
  }

  /** The ring is beyond repair: what is in it stays there until the device has been reset. */
  function stop(trouble: number): number {
    words[BLOCK.trouble] = trouble;
    words[PASSED] = SHUT;
    return 0;
  }

  const turn = makeTurn(block, size, false, {
    leave() {
      const n = (usedIndex() - words[USED]) & 0xffff;
      if (n <= ((words[AVAILABLE] - words[USED]) | 0)) count(VIRTIO_RX.lost, n);
    },
    takeBack: () => void takeBack(block, stack),
    start: () => ring.reset(posted, true),
    resume() {
      const a = words[AVAILABLE];
      told = (a - 0x7fff) | 0;
      tell(a);
      refill();
    },
  });
  turn();

  /**
   * In order (§2.7.9) the device may tell of a batch by its last buffer, `id`, in the element of `slot`; those before it are
   * full, and their elements, which it has skipped and never reads, are written here. `has` buffers were used from there
   * on. False when there is no such batch.
   */
  function spread(slot: number, id: number, has: number): boolean {
    const n = (id - slot) & mask;
    if (id >>> 0 >= size || n >= has) return false;
    let length = used[((slot << 1) + 1) | 0];
    // The first one last: until then it says what it said.
    for (let k = n; k >= 0; k = (k - 1) | 0) {
      const one = (slot + k) & mask;
      used[((one << 1) + 1) | 0] = length;
      used[one << 1] = one;
      length = posted;
    }
    return true;
  }

  /**
   * Takes the packet of `buffers` buffers, the first of which is used element `from`: `id` and `length` are what it says.
   * Returns how many elements of `ready` it took off the ring; 0 when the burst has no room, or the ring is beyond repair.
   */
  function takeSeveral(burst: Burst, from: number, ready: number, id: number, length: number, buffers: number): number {
    const header = buffers > 0 && length >= NET_HDR_BYTES && length <= posted;
    const n = header ? buffers : 1;
    if (n > ready) return stop(TROUBLE.buffers);
    if (burst.count > 0 && n > ((burst.size - burst.count) | 0)) return 0;
    for (let k = 0; k < n; k = (k + 1) | 0) {
      const slot = (from + k) & mask;
      const e = slot << 1;
      let one = k === 0 ? id : used[e];
      if (inOrder && one !== slot) one = spread(slot, one, (ready - k) | 0) ? slot : size;
      const at = one >>> 0 < size ? owner[one] : 0;
      if (at === 0) {
        several.giveBack(k);
        return stop(TROUBLE.id);
      }
      parts[k] = at;
      written[k] = k === 0 ? length : used[(e + 1) | 0];
      order[slot] = one;
      words[USED] = (from + k + 1) | 0;
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
   * Takes used buffers from index `u` on that are in order, and a good packet each, up to the first that is not; returns how
   * many. Nothing is written down before all are taken: a worker that takes over in the middle finds them as they were.
   */
  function takeRun({ offsets, lengths }: Burst, u: number, most: number): number {
    let n = 0;
    let bytes = 0;
    for (; n < most; n = (n + 1) | 0) {
      const slot = (u + n) & mask;
      const e = slot << 1;
      if (used[e] !== slot) break;
      const at = owner[slot];
      const length = (used[(e + 1) | 0] - NET_HDR_BYTES) | 0;
      // One comparison for all bounds: too short wraps to a large unsigned number.
      if ((length - MIN_FRAME_LENGTH) >>> 0 > span) break;
      if (mergeable && i32[((at >>> 2) + numBuffersAt) | 0] >>> 16 !== 1) break;
      offsets[n] = (at + NET_HDR_BYTES) | 0;
      lengths[n] = length;
      bytes = (bytes + length) | 0;
    }
    words[USED] = (u + n) | 0;
    runBytes = bytes;
    return n;
  }

  /** Takes used buffers from index `u` on, of `ready` ones, into `burst`; returns how many entries it has then. */
  function collect(burst: Burst, u: number, ready: number): number {
    const { offsets, lengths } = burst;
    const n = ready < burst.size ? ready : burst.size;
    runBytes = 0;
    const run = inOrder && plain ? takeRun(burst, u, n) : 0;
    let kept = run;
    let packets = run;
    let bytes = runBytes;
    for (let i = run; i < n; i = (i + 1) | 0) {
      const slot = (u + i) & mask;
      const e = slot << 1;
      let id = used[e];
      if (inOrder && id !== slot) id = spread(slot, id, (ready - i) | 0) ? slot : size;
      const length = (used[(e + 1) | 0] - NET_HDR_BYTES) | 0;
      const at = id >>> 0 < size ? owner[id] : 0;
      if (at === 0) {
        stop(TROUBLE.id);
        break;
      }
      const buffers = mergeable ? i32[((at >>> 2) + numBuffersAt) | 0] >>> 16 : 1;
      if (buffers !== 1) {
        burst.count = kept;
        const taken = takeSeveral(burst, (u + i) | 0, (ready - i) | 0, id, (length + NET_HDR_BYTES) | 0, buffers);
        if (taken === 0) break;
        i = (i + taken - 1) | 0;
        if (burst.count === kept) continue;
        kept = burst.count;
        packets = (packets + 1) | 0;
        bytes = (bytes + several.bytes) | 0;
        continue;
      }
      if (!inOrder) order[slot] = id;
      words[USED] = (u + i + 1) | 0;
      owner[id] = 0;
      // One comparison for all bounds: too short wraps to a large unsigned number.
      if (plain ? (length - MIN_FRAME_LENGTH) >>> 0 > span && !take(at, length) : !take(at, length)) continue;
      offsets[kept] = (at + NET_HDR_BYTES) | 0;
      lengths[kept] = length;
      bytes = (bytes + length) | 0;
      kept = (kept + 1) | 0;
      packets = (packets + 1) | 0;
    }
    count(RX.packets, packets);
    count(RX.bytes, bytes);
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
      const u = words[USED];
      const flying = (words[AVAILABLE] - u) | 0;
      const n = (usedIndex() - u) & 0xffff;
      if (n === 0) {
        // Without buffers the device receives nothing, so that nothing but this would ever give it some again.
        if (flying < size) refill();
        return 0;
      }
      if (n > flying) return stop(TROUBLE.index);
      const kept = collect(burst, u, n);
      burst.count = kept;
      if (((size - ((words[AVAILABLE] - words[USED]) | 0)) | 0) >= batch && words[PASSED] !== SHUT) refill();
      return kept;
    },
    quiesce() {},
    arm() {
      if (words[WANTED] !== words[PASSED] && !turn()) return false;
      acknowledge();
      const u = words[USED];
      ring.arm(u);
      return ((usedIndex() - u) & 0xffff) !== 0;
    },
    disarm() {
      if (words[PASSED] !== SHUT) ring.disarm(words[USED]);
    },
  };
}
