/**
 * A queue's private block: what the driver knows about its ring, where the device cannot see it. It outlives the worker
 * that works on it: another one goes on from there, and the main thread reads from it which frames the device has.
 */
import { GATE } from '../../arena/gate.ts';

/** Words of a block. The worker writes the first line, the main thread the second (but for the gate's `seen`). */
export const BLOCK = {
  /** Descriptors taken back so far, and given to the device so far: free-running. */
  head: 0,
  tail: 1,
  /** See `Turn`. */
  passed: 2,
  epoch: 3,
  /** rx: the packet that comes is being dropped, up to its end. */
  dropping: 4,
  /** Written for the sake of a fence. */
  fence: 5,
  /** The queue's gate. */
  gate: 16,
  /** Written by the main thread: as `GATE.wanted` of a closed gate, once the device has let go of the frames. */
  released: 16 + GATE.words,
  /** One word per descriptor: the frame that it has. tx: then one more, see `Block.stop`. */
  first: 32,
} as const;

/** Bytes of a block for a ring of `size`. */
export const blockBytes = (size: number): number => (BLOCK.first + size * 2) * 4;

/** A block's parts. */
export interface Block {
  readonly words: Int32Array;
  /** Arena offset of the buffer of each descriptor from `head` to `tail`; of others, anything. */
  readonly owner: Int32Array;
  /** tx: of a descriptor that begins a run, `tail` as it was behind it: the last one of the run will say when all are done. */
  readonly stop: Int32Array;
}

/** The block at arena offset `at`. */
export function openBlock(memory: SharedArrayBuffer, at: number, size: number): Block {
  const tables = at + BLOCK.first * 4;
  return {
    words: new Int32Array(memory, at, BLOCK.first),
    owner: new Int32Array(memory, tables, size),
    stop: new Int32Array(memory, tables + size * 4, size),
  };
}

/** Offsets of the frames that the device has. Only while no worker runs the queue. */
export function heldFrames({ words, owner }: Block): number[] {
  const held = (words[BLOCK.tail] - words[BLOCK.head]) | 0;
  const mask = owner.length - 1;
  return Array.from({ length: held }, (_, i) => owner[(words[BLOCK.head] + i) & mask]);
}
