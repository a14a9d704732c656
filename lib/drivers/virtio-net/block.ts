/**
 * A queue's private block: what the driver knows about its ring, where the device cannot see it. It outlives the worker
 * that works on it: another one goes on from there, and the main thread reads from it which frames the device has.
 */
import { GATE } from '../../arena/gate.ts';
import { MAX_SEGMENTS } from '../../queue.ts';

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
  /** tx: not 0 when the main thread wants the announcement sent; and id + 1 of the buffer that it is under way in. */
  announce: 12,
  announced: 13,
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

/** Words per id of a tx queue with packets of several frames: how many it has besides the first, and where they are. */
export const CHAIN_WORDS = MAX_SEGMENTS;

/**
 * Bytes of a block for a ring of `size`. With `several`: behind it the frames of each id besides its first, and the address
 * of its table as the device knows it, two words.
 */
export const blockBytes = (size: number, several = false): number =>
  (BLOCK.first + size * 2 + (several ? size * (CHAIN_WORDS + 2) : 0)) * 4;

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
  /** With `several`; else empty. See `blockBytes`. */
  readonly chains: Int32Array;
  readonly tableAt: Int32Array;
}

/** The block at arena offset `at`. */
export function openBlock(memory: SharedArrayBuffer, at: number, size: number, several = false): Block {
  const lists = at + BLOCK.first * 4;
  const ids = several ? size : 0;
  return {
    words: new Int32Array(memory, at, BLOCK.first),
    order: new Int32Array(memory, lists, size),
    owner: new Int32Array(memory, lists + size * 4, size),
    chains: new Int32Array(memory, lists + size * 8, ids * CHAIN_WORDS),
    tableAt: new Int32Array(memory, lists + size * 8 + ids * CHAIN_WORDS * 4, ids * 2),
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
  for (let i = 0; i < free; i++) {
    const id = block.order[(first + i) % size];
    block.owner[id] = 0;
    if (block.chains.length > 0) block.chains[id * CHAIN_WORDS] = 0;
  }
}

/** Calls `take` with each frame that the device has, and forgets them. After `mendBlock`. */
export function takeFrames({ owner, chains }: Block, take: (offset: number) => void): void {
  for (let id = 0; id < owner.length; id++) {
    if (owner[id] !== 0) take(owner[id]);
    owner[id] = 0;
    if (chains.length === 0) continue;
    const at = id * CHAIN_WORDS;
    for (let i = 1; i <= chains[at]; i++) take(chains[at + i]);
    chains[at] = 0;
  }
}

/** Offsets of the frames that the device has. Only while no worker runs the queue. */
export function heldFrames(
  memory: SharedArrayBuffer,
  at: number,
  size: number,
  packed: boolean,
  several = false,
): number[] {
  const block = openBlock(memory, at, size, several);
  const copy = { ...block, owner: block.owner.slice(), chains: block.chains.slice() };
  mendBlock(copy, size, packed);
  const held: number[] = [];
  takeFrames(copy, (offset) => held.push(offset));
  return held;
}
