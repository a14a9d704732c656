/**
 * A queue's private block: what the driver knows about its ring, where the device cannot see it. It outlives the worker
 * that works on it: another one goes on from there, and the main thread reads from it which frames the device has.
 */
import { GATE } from '../../arena/gate.ts';

/** Words of a block. The worker writes the first line, the main thread the second (but for the gate's `seen`). */
export const BLOCK = {
  /** The gate's word that what is below belongs to. Another one: the ring is to be begun anew. */
  epoch: 0,
  /** Split: buffers made available so far. Packed: next slot to make available, wrap counter in bit 15. */
  available: 1,
  /** As `available`, for buffers that the device has used and we have taken back. */
  used: 2,
  /** One of `TROUBLE`. */
  trouble: 3,
  /** Packed: slot + 1 of a descriptor that is being made available, and what its last word becomes. Or 0. */
  pendingSlot: 4,
  pendingWord: 5,
  /** The gate's word that the worker may go through with, or `SHUT`. */
  passed: 6,
  /** rx: buffers still to come of a packet that is being dropped. */
  dropping: 7,
  /** IN_ORDER, rx: id + 1 of the last buffer of a batch that is being taken, or 0, and its length. */
  batchEnd: 8,
  batchLength: 9,
  /** Written for the sake of a fence. */
  fence: 10,
  /** What the ISR status was when it was last read: kept so that the read is not thought useless. */
  isr: 11,
  /** The queue's gate. */
  gate: 16,
  /** Written by the main thread: as `GATE.wanted` of a closed gate, once the device has let go of the frames. */
  released: 16 + GATE.words,
  /** One word per descriptor: ids in the order in which they come free; then where the buffer of each id is, or 0. */
  first: 32,
} as const;

/** Bytes of a block for a ring of `size`. */
export const blockBytes = (size: number): number => (BLOCK.first + size * 2) * 4;

/** `passed` of a queue whose gate is closed, or which has stopped: a gate's word that never comes. */
export const SHUT = -2;

/** Why a queue has stopped and asks for its device to be reset. */
export const TROUBLE = {
  none: 0,
  /** The used index went further than there are buffers in flight. */
  index: 1,
  /** A buffer was used that the device does not have, or twice. */
  id: 2,
  /** A packet over more buffers than the device has. */
  buffers: 3,
} as const;

/** A block's parts. */
export interface Block {
  readonly words: Int32Array;
  /** Ids in the order in which they come free: that of ring slot s is used when s is made available. */
  readonly order: Int32Array;
  /** Arena offset of the buffer of each id, 0 when it has none. */
  readonly owner: Int32Array;
}

/** The block at arena offset `at`. */
export function openBlock(memory: SharedArrayBuffer, at: number, size: number): Block {
  const tables = at + BLOCK.first * 4;
  return {
    words: new Int32Array(memory, at, BLOCK.first),
    order: new Int32Array(memory, tables, size),
    owner: new Int32Array(memory, tables + size * 4, size),
  };
}

/** Buffers that the device has. */
export function inFlightOf({ words }: Block, size: number, packed: boolean): number {
  const available = words[BLOCK.available];
  const used = words[BLOCK.used];
  if (!packed) return (available - used) | 0;
  const lap = ((available ^ used) & 0x8000) === 0 ? 0 : size;
  return (available & 0x7fff) - (used & 0x7fff) + lap;
}

/**
 * Forgets the frames of ids that are free: a worker that was ended between two steps has left them there. What `owner`
 * names afterwards is what the device has. Only while no worker runs the queue.
 */
export function mendBlock(block: Block, size: number, packed: boolean): void {
  const free = size - inFlightOf(block, size, packed);
  const at = block.words[BLOCK.available];
  const first = packed ? at & 0x7fff : at & (size - 1);
  for (let i = 0; i < free; i++) block.owner[block.order[(first + i) % size]] = 0;
}

/** Offsets of the frames that the device has. Only while no worker runs the queue. */
export function heldFrames(memory: SharedArrayBuffer, at: number, size: number, packed: boolean): number[] {
  const { words, order, owner } = openBlock(memory, at, size);
  const copy = { words, order, owner: owner.slice() };
  mendBlock(copy, size, packed);
  return [...copy.owner].filter((offset) => offset !== 0);
}
