/** The careful way in: a packet from any chain of buffers, counted by the reason why it is none. Data half. */
import { MIN_FRAME_LENGTH } from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { BLOCK, RING_F, VHOST_RX } from './block.ts';
import { CHAIN, type Chain } from './chain.ts';
import { makeGather } from './gather.ts';
import { obeyHeader } from './header.ts';
import type { World } from './world.ts';

export interface Intake {
  /**
   * Takes the packet in `chain` into the frame at arena offset `frame`. Returns its length; 0 when it was counted as
   * something else.
   */
  take(chain: Chain, frame: number): number;
}

/** Makes it. */
export function makeIntake(world: World): Intake {
  const { plan, context, count, block, words } = world;
  const views = { i32: words, view: new DataView(context.memory) };
  const gather = makeGather(world, plan.maxLength);

  /** Returns 0 or the reason why this is no packet. */
  function collect(chain: Chain, frame: number): number {
    gather.begin(frame);
    for (;;) {
      const what = chain.next();
      if (what === CHAIN.end) return 0;
      // A transmitted packet has nothing for us to write (§5.1.6.2).
      if (what === CHAIN.bad || chain.writable) return VHOST_RX.chain;
      const reason = gather.take(chain.low, chain.high, chain.length);
      if (reason !== 0) return reason;
    }
  }

  return {
    take(chain, frame) {
      const csum = (block[BLOCK.flags] & RING_F.csum) !== 0;
      let reason = collect(chain, frame);
      const length = (gather.total - NET_HDR_BYTES) | 0;
      if (reason === 0 && length < MIN_FRAME_LENGTH) reason = VHOST_RX.runt;
      if (reason === 0 && !obeyHeader(gather.header, views, frame, length, csum)) reason = VHOST_RX.header;
      if (reason === 0) return length;
      count(reason, 1);
      return 0;
    },
  };
}
