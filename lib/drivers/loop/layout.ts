/** A block of rings in shared memory: a header whose first word is the number of rings in use, then the rings. */
import { ringBytes } from '../../arena/ring.ts';
import { RX } from '../../queue.ts';

/** An rx queue's own counter, after those that every queue has: packets of more segments than a burst, or this end, takes. */
export const RX_OVERSIZE = RX.extra_frames + 1;
/** Its name. */
export const RX_NAMES: readonly string[] = ['oversize'];

/** Rings in a block: the most tx queues that a port can have. */
export const MAX_RINGS = 8;

const HEADER_BYTES = 64;

/** Bytes of a block whose rings have `size` descriptors. */
export const blockBytes = (size: number): number => HEADER_BYTES + MAX_RINGS * ringBytes(size);

/** Arena offset of ring `ring` of the block at `block`. */
export const ringAt = (block: number, ring: number, size: number): number =>
  block + HEADER_BYTES + ring * ringBytes(size);
