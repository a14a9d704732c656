/** A queue's way through its gate: when to step back from the ring, and when to begin it anew. Data half. */
import { GATE, isOpen } from '../../arena/gate.ts';
import type { FrameStack } from '../../queue.ts';
import { BLOCK, type Block, mendBlock, SHUT, TROUBLE, takeFrames } from './block.ts';

/** What a queue does on its way. */
export interface Steps {
  /** The gate has closed: the last look at the ring, while it is as the device left it. */
  leave(): void;
  /** The device has let go of the buffers: takes back all that `owner` names. */
  takeBack(): void;
  /** Begins with an empty ring: nothing of it is published yet. */
  start(): void;
  /** The gate is open, and the ring goes on from where the block says. */
  resume(): void;
}

/** Gives the frames of all ids back; returns how many there were. */
export function takeBack(block: Block, stack: FrameStack): number {
  let n = 0;
  takeFrames(block, (offset) => {
    stack.push(offset);
    n++;
  });
  return n;
}

/**
 * Makes the function to call when the gate's word is not `passed`. It returns whether the queue may touch its ring, and
 * is called again as long as it may not.
 */
export function makeTurn(block: Block, size: number, packed: boolean, steps: Steps): () => boolean {
  const { words } = block;
  const wantedAt = BLOCK.gate + GATE.wanted;

  /** What the device had is ours again, and the block belongs to the gate as it stands. */
  function begin(wanted: number): void {
    mendBlock(block, size, packed);
    steps.takeBack();
    for (const state of [BLOCK.available, BLOCK.used, BLOCK.pendingSlot, BLOCK.announced, BLOCK.trouble])
      words[state] = 0;
    steps.start();
    words[BLOCK.epoch] = wanted;
  }

  // A worker before us may have been ended anywhere.
  words[BLOCK.passed] = SHUT;
  mendBlock(block, size, packed);

  return () => {
    const wanted = Atomics.load(words, wantedAt);
    if (words[BLOCK.passed] !== SHUT) {
      steps.leave();
      words[BLOCK.passed] = SHUT;
    }
    const known = words[BLOCK.epoch] === wanted;
    if (!known && (isOpen(wanted) || words[BLOCK.released] === wanted)) begin(wanted);
    const open = isOpen(wanted) && words[BLOCK.trouble] === TROUBLE.none;
    if (open) {
      words[BLOCK.passed] = wanted;
      steps.resume();
    }
    // Last: from here on the main thread changes what is behind a closed gate.
    if (words[BLOCK.gate + GATE.seen] !== wanted) Atomics.store(words, BLOCK.gate + GATE.seen, wanted);
    return open;
  };
}
