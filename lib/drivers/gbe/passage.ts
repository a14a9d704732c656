/** A queue's way through its gate: when to step back from the ring, and when to begin it anew. Data half. */
import { GATE, isOpen } from '../../arena/gate.ts';
import { BLOCK } from './block.ts';

/** `passed` of a queue whose gate is closed: a gate's word that never comes. */
export const SHUT = -2;

/** What a queue does on its way. */
export interface Steps {
  /** The gate has closed: the last look at the ring, while it is as the device left it. */
  leave(): void;
  /** The device has let go of all frames: they are ours again. The ring begins with index 0 after this. */
  takeBack(): void;
  /** The gate is open, and the ring goes on from where the block says. */
  resume(): void;
}

/**
 * Makes the function to call when the gate's word is not `passed`. It returns whether the queue may touch its ring, and
 * is called again as long as it may not.
 */
export function makeTurn(words: Int32Array, steps: Steps): () => boolean {
  const wantedAt = BLOCK.gate + GATE.wanted;

  /** What the device had is ours again, and the block belongs to the gate as it stands. */
  function begin(wanted: number): void {
    steps.takeBack();
    words[BLOCK.head] = 0;
    words[BLOCK.tail] = 0;
    words[BLOCK.dropping] = 0;
    words[BLOCK.epoch] = wanted;
  }

  // A worker before us may have been ended anywhere.
  words[BLOCK.passed] = SHUT;

  return () => {
    const wanted = Atomics.load(words, wantedAt);
    if (words[BLOCK.passed] !== SHUT) {
      steps.leave();
      words[BLOCK.passed] = SHUT;
    }
    const known = words[BLOCK.epoch] === wanted;
    if (!known && (isOpen(wanted) || words[BLOCK.released] === wanted)) begin(wanted);
    const open = isOpen(wanted);
    if (open) {
      words[BLOCK.passed] = wanted;
      steps.resume();
    }
    // Last: from here on the main thread changes what is behind a closed gate.
    if (words[BLOCK.gate + GATE.seen] !== wanted) Atomics.store(words, BLOCK.gate + GATE.seen, wanted);
    return open;
  };
}
