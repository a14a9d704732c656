/** Announcing the port's address where its device has come to (virtio 1.2 §5.1.6.5.4): asked for by the main thread. Data half. */
import type { Burst, QueueContext, TxQueue } from '../../queue.ts';
import { putRarp, RARP_BYTES } from '../../wire/rarp.ts';
import { BLOCK, type Block } from './block.ts';

/** Makes the function that sends what `announce` in the block asks for by `tx`. It is asked for again until it goes. */
export function makeAnnounce({ words }: Block, { memory, stack }: QueueContext): (tx: TxQueue) => void {
  const view = new DataView(memory);
  const burst: Burst = { size: 1, offsets: new Int32Array(1), lengths: new Int32Array(1), count: 1 };
  return (tx) => {
    if (stack.take(burst.offsets, 0, 1) === 0) return;
    putRarp(view, burst.offsets[0], words[BLOCK.announceMac], words[BLOCK.announceMac + 1]);
    burst.lengths[0] = RARP_BYTES;
    if (tx.transmit(burst, 0, 1) === 0) {
      stack.give(burst.offsets, 0, 1);
      return;
    }
    Atomics.store(words, BLOCK.announce, 0);
    tx.kick();
  };
}
