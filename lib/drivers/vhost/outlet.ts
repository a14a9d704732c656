/** The careful way out: a packet into any chains of buffers. Data half. */
import type { Burst } from '../../queue.ts';
import { NET_HDR_BYTES } from '../../virtio/net.ts';
import { CHAIN, type Chain } from './chain.ts';
import { makeScatter, NOT_MAPPED } from './scatter.ts';
import type { World } from './world.ts';

/** What `fill` answers besides bytes: the chain makes no sense, is not in memory, or is smaller than the packet. */
export const OUTLET = { chain: -1, address: -2, tooSmall: -3 } as const;

export interface Outlet {
  /** Bytes that are still to be written, the header's among them. */
  left(): number;
  begin(burst: Burst, at: number, length: number): void;
  /**
   * Writes what is left into the buffers of `chain`; returns how many bytes that took, or one of `OUTLET`. With mergeable
   * buffers (§5.1.6.3) a chain need not be large enough.
   */
  fill(chain: Chain, mergeable: boolean): number;
  /** The packet took that many chains. */
  finish(chains: number): void;
}

/** Makes it. */
export function makeOutlet(world: World): Outlet {
  const scatter = makeScatter(world);
  return {
    left: () => scatter.left,
    begin: scatter.begin,
    finish: scatter.finish,
    fill(chain, mergeable) {
      const before = scatter.left;
      const first = scatter.untouched();
      while (scatter.left > 0) {
        const what = chain.next();
        if (what === CHAIN.end) break;
        // Nothing of a receive buffer is for us to read (§5.1.6.3).
        if (what === CHAIN.bad || !chain.writable) return OUTLET.chain;
        const n = scatter.give(chain.low, chain.high, chain.length);
        if (n < 0) return n === NOT_MAPPED ? OUTLET.address : OUTLET.chain;
      }
      const n = (before - scatter.left) | 0;
      if (scatter.left === 0) return n;
      // Every buffer has room for the header at least (§5.1.6.3.1); without that it is none.
      if (n === 0 || (first && n < NET_HDR_BYTES)) return OUTLET.chain;
      return mergeable ? n : OUTLET.tooSmall;
    },
  };
}
