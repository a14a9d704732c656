/**
 * A guest that has moved here and cannot say so itself (vhost-user.rst, VHOST_USER_SEND_RARP): a packet as if from it, which
 * goes where its packets go. Asked for by the main thread. Data half.
 */
import { type Burst, RX } from '../../queue.ts';
import { putRarp, RARP_BYTES } from '../../wire/rarp.ts';
import { BLOCK } from './block.ts';
import type { World } from './world.ts';

/** Makes the function that puts the packet into an empty burst; returns 0 while there is no frame for it. */
export function makeRarp({ block, context, count }: World): (burst: Burst) => number {
  const view = new DataView(context.memory);
  return (burst) => {
    burst.count = context.stack.take(burst.offsets, 0, 1);
    if (burst.count === 0) return 0;
    putRarp(view, burst.offsets[0], block[BLOCK.rarpMac], block[BLOCK.rarpMac + 1]);
    burst.lengths[0] = RARP_BYTES;
    Atomics.store(block, BLOCK.rarp, 0);
    count(RX.packets, 1);
    count(RX.bytes, RARP_BYTES);
    return 1;
  };
}
