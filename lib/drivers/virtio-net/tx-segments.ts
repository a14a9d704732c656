/**
 * Packets of several frames that are sent, and those that must not be, off the path of ordinary ones. Data half. Such a
 * packet is one descriptor of the ring, which points at a table of its frames (INDIRECT_DESC, virtio 1.2 §2.7.5.3, §2.8.7).
 * What frames an id has besides its first is in the queue's block, which the device does not see.
 */
import type { Adder } from '../../arena/counters.ts';
import { makeJudge, packetEnd, RUNT } from '../../arena/segments.ts';
import {
  type Burst,
  MAX_SEGMENTS,
  MIN_FRAME_LENGTH,
  MORE,
  type QueueContext,
  type QueuePlan,
  TX,
} from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { DESC_BYTES, DESC_F } from '../../virtio/ring.ts';
import type { Addresses } from '../frame-addresses.ts';
import { type Block, CHAIN_WORDS } from './block.ts';
import { VIRTIO_TX, type VirtioQueueData } from './data.ts';

/** A tx queue's way with them. */
export interface TxSegments {
  /**
   * Fills the table of buffer `id` with the packet that begins at entry `i` of `burst`, before entry `to`; or frees and
   * counts it, whole. Returns true when there is something to send: `n` descriptors in the table at `low` and `high`.
   */
  put(burst: Burst, i: number, to: number, id: number): boolean;
  /** The entry behind the packet that `put` looked at. */
  stop: number;
  readonly n: number;
  readonly low: number;
  readonly high: number;
  readonly bytes: number;
  /** Gives back the frames of `id` besides its first; returns how many. */
  giveBack(id: number): number;
}

/** Makes it. */
export function makeTxSegments(
  plan: QueuePlan,
  { memory, stack, pool }: QueueContext,
  block: Block,
  addresses: Addresses,
  packed: boolean,
  count: Adder,
): TxSegments {
  const { tables, size } = plan.data as VirtioQueueData;
  const { chains, tableAt } = block;
  const { frameSize } = pool;
  const inFrame = frameSize - 1;
  const judge = makeJudge(plan.maxLength, frameSize, tables === 0 ? 1 : MAX_SEGMENTS);
  const words = new Int32Array(memory);
  const desc = new Int32Array(memory, tables, tables === 0 ? 0 : (size * MAX_SEGMENTS * DESC_BYTES) >>> 2);

  function refuse({ offsets }: Burst, from: number, stop: number, reason: number): boolean {
    stack.give(offsets, from, stop);
    count(reason, (stop - from) | 0);
    return false;
  }

  /** The header fits before the first segment, and each of them into its frame. */
  function fits({ offsets, lengths }: Burst, from: number, stop: number): boolean {
    let bad = (offsets[from] & inFrame) - NET_HDR_BYTES;
    for (let i = from; i < stop; i = (i + 1) | 0) {
      bad |= frameSize - (offsets[i] & inFrame) - (lengths[i] & ~MORE);
    }
    return bad >= 0;
  }

  /** Writes descriptor `k` of the table of `id`. */
  function write(id: number, k: number, offset: number, length: number, last: boolean): void {
    const d = ((id * MAX_SEGMENTS + k) * DESC_BYTES) >>> 2;
    desc[d] = addresses.low(offset);
    desc[(d + 1) | 0] = addresses.high(offset);
    desc[(d + 2) | 0] = length;
    // In a packed ring's table only WRITE means something (§2.8.7).
    desc[(d + 3) | 0] = packed || last ? 0 : DESC_F.NEXT | ((k + 1) << 16);
  }

  function fill(id: number, { offsets, lengths }: Burst, from: number, n: number): void {
    const start = (offsets[from] - NET_HDR_BYTES) | 0;
    const h = start >>> 2;
    words[h] = 0;
    words[(h + 1) | 0] = 0;
    words[(h + 2) | 0] = 0;
    write(id, 0, start, ((lengths[from] & ~MORE) + NET_HDR_BYTES) | 0, n === 1);
    const chain = id * CHAIN_WORDS;
    for (let k = 1; k < n; k = (k + 1) | 0) {
      const i = (from + k) | 0;
      write(id, k, offsets[i], lengths[i] & ~MORE, k === n - 1);
      chains[(chain + k) | 0] = offsets[i];
    }
    chains[chain] = (n - 1) | 0;
  }

  const all = {
    stop: 0,
    n: 0,
    low: 0,
    high: 0,
    bytes: 0,
    put(burst: Burst, i: number, to: number, id: number): boolean {
      const { lengths } = burst;
      const stop = packetEnd(lengths, i, to);
      all.stop = stop;
      if (lengths[i] < MORE) {
        const short = lengths[i] < MIN_FRAME_LENGTH;
        return refuse(burst, i, stop, short ? TX.runt : lengths[i] > plan.maxLength ? TX.oversize : VIRTIO_TX.invalid);
      }
      const bytes = judge(lengths, i, stop);
      if (bytes < 0) return refuse(burst, i, stop, bytes === RUNT ? TX.runt : TX.oversize);
      if (!fits(burst, i, stop)) return refuse(burst, i, stop, VIRTIO_TX.invalid);
      all.n = (stop - i) | 0;
      all.bytes = bytes;
      fill(id, burst, i, all.n);
      all.low = tableAt[id << 1];
      all.high = tableAt[((id << 1) + 1) | 0];
      return true;
    },
    giveBack(id: number): number {
      const chain = id * CHAIN_WORDS;
      const n = chains[chain];
      if (n === 0) return 0;
      chains[chain] = 0;
      stack.give(chains, (chain + 1) | 0, (chain + 1 + n) | 0);
      return n;
    },
  };
  return all;
}
