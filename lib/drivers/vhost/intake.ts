/** The careful way in: a packet from any chain of buffers, counted by the reason why it is none. Data half. */
import { type Burst, MAX_SEGMENTS, MIN_FRAME_LENGTH, MORE } from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { BLOCK, RING_F, VHOST_RX } from './block.ts';
import { CHAIN, type Chain } from './chain.ts';
import { makeGather, NO_FRAME } from './gather.ts';
import { obeyHeader } from './header.ts';
import type { World } from './world.ts';

/** What `take` answers when the packet stays in the ring, for a burst with more frames. */
export const STAYS = -1;

export interface Intake {
  /**
   * Takes the packet in `chain` into entries of `burst` from `kept` on, whose frames are ours up to `frames`. Returns
   * how many it takes; 0 when it was counted as something else; `STAYS`.
   */
  take(chain: Chain, burst: Burst, kept: number, frames: number): number;
}

/** Makes it. */
export function makeIntake(world: World): Intake {
  const { plan, context, count, block, words, bytes } = world;
  const views = { i32: words, u8: bytes };
  const { room } = context.stack;
  const gather = makeGather(world, plan.maxLength, room);
  const parts = new Int32Array(MAX_SEGMENTS);
  const lengths = new Int32Array(MAX_SEGMENTS);

  /** Returns 0, `NO_FRAME`, or the reason why this is no packet. */
  function collect(chain: Chain): number {
    for (;;) {
      const what = chain.next();
      if (what === CHAIN.end) return 0;
      // A transmitted packet has nothing for us to write (§5.1.6.2).
      if (what === CHAIN.bad || chain.writable) return VHOST_RX.chain;
      const reason = gather.take(chain.low, chain.high, chain.length);
      if (reason !== 0) return reason;
    }
  }

  /** Splits `length` bytes into parts as `gather` did; returns how many. */
  function split(offsets: Int32Array, kept: number, length: number): number {
    let n = 0;
    for (let left = length; left > 0; left = (left - room) | 0) {
      parts[n] = offsets[(kept + n) | 0];
      lengths[n] = left < room ? left : room;
      n = (n + 1) | 0;
    }
    return n;
  }

  return {
    take(chain, burst, kept, frames) {
      const csum = (block[BLOCK.flags] & RING_F.csum) !== 0;
      const most = (kept + MAX_SEGMENTS) | 0;
      gather.begin(burst.offsets, kept, frames < most ? frames : most);
      let reason = collect(chain);
      if (reason === NO_FRAME) {
        // There may be more for the next burst; nobody could take it when this one had all that there are in a burst.
        if (kept > 0 || frames < burst.size) return STAYS;
        reason = VHOST_RX.oversize;
      }
      const length = (gather.total - NET_HDR_BYTES) | 0;
      if (reason === 0 && length < MIN_FRAME_LENGTH) reason = VHOST_RX.runt;
      const n = reason === 0 ? split(burst.offsets, kept, length) : 0;
      if (reason === 0 && !obeyHeader(gather.header, views, parts, lengths, n, length, csum)) reason = VHOST_RX.header;
      if (reason !== 0) {
        count(reason, 1);
        return 0;
      }
      for (let i = 0; i < n; i = (i + 1) | 0)
        burst.lengths[(kept + i) | 0] = i < n - 1 ? (lengths[i] + MORE) | 0 : lengths[i];
      return n;
    },
  };
}
