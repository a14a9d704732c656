/** The careful way out of one packet: through any buffers that the ring has next. Data half. */
import type { Burst } from '../../queue.ts';
import { VHOST_TX } from './block.ts';
import { makeOutlet, OUTLET } from './outlet.ts';
import type { Buffers } from './rings.ts';
import type { World } from './world.ts';

/** What became of a packet: it was sent; the guest's buffers cannot hold it; there are not enough of them now. */
export const SENT = { yes: 1, refused: 0, full: -1 } as const;

export interface Sender {
  /** Sends the packet of `length` bytes from entry `at` of a burst on. */
  send(burst: Burst, at: number, length: number, mergeable: boolean): number;
}

/** Makes it. */
export function makeSender(world: World, buffers: Buffers): Sender {
  const { count } = world;
  const outlet = makeOutlet(world);

  function refuse(): number {
    buffers.release();
    return SENT.refused;
  }

  return {
    send(burst, at, length, mergeable) {
      let taken = 0;
      outlet.begin(burst, at, length);
      // Each turn takes a buffer off the ring.
      while (outlet.left() > 0) {
        if (!buffers.open()) {
          if (buffers.exhausted()) return refuse();
          buffers.release();
          return SENT.full;
        }
        const got = outlet.fill(buffers.chain, mergeable);
        if (got === OUTLET.tooSmall) return refuse();
        if (got < 0) {
          // The buffers before this one were written for nothing.
          buffers.waste();
          count(got === OUTLET.address ? VHOST_TX.address : VHOST_TX.chain, 1);
          taken = 0;
          outlet.begin(burst, at, length);
          continue;
        }
        if (!buffers.keep(got)) return refuse();
        taken = (taken + 1) | 0;
      }
      outlet.finish(taken);
      buffers.commit();
      return SENT.yes;
    },
  };
}
