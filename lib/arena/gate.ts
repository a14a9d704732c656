/**
 * A gate between the main thread and the worker that has a queue: the main thread closes it, the worker steps back at its
 * next look and says so, and only then does the main thread change what is behind it (a ring, a mapping, an eventfd).
 * Two words. Both halves.
 */

/** Words of a gate. `wanted` is the main thread's: odd is open, even is closed. `seen` is the worker's: `wanted` as it acted on it. */
export const GATE = { wanted: 0, seen: 1, words: 2 } as const;

/** Bytes of a gate. */
export const GATE_BYTES = GATE.words * 4;

/** `seen` while no worker has the queue: nobody has to step back. */
export const NOBODY = -1;

/** True when `wanted` stands for an open gate. */
export const isOpen = (wanted: number): boolean => (wanted & 1) !== 0;

/** The main thread's side. `wake` is called so that a worker that sleeps looks at once. */
export class Gate {
  private readonly words: Int32Array;
  private readonly wake: () => void;

  constructor(memory: SharedArrayBuffer, offset: number, wake: () => void) {
    this.words = new Int32Array(memory, offset, GATE.words);
    this.wake = wake;
    Atomics.store(this.words, GATE.seen, NOBODY);
  }

  get open(): boolean {
    return isOpen(this.words[GATE.wanted]);
  }

  /** True when no worker is on the other side, or the one that is has acted on the last change. */
  get settled(): boolean {
    const seen = Atomics.load(this.words, GATE.seen);
    return seen === NOBODY || seen === this.words[GATE.wanted];
  }

  /** Opens or closes the gate; what is written to shared memory before is seen by the worker when it sees the change. */
  set(open: boolean): void {
    if (this.open === open) return;
    Atomics.store(this.words, GATE.wanted, (this.words[GATE.wanted] + 1) | 0);
    this.wake();
  }

  /** Closes the gate and resolves to true when nobody is behind it any more, to false after `deadlineMs`. */
  async close(deadlineMs: number): Promise<boolean> {
    this.set(false);
    const end = performance.now() + deadlineMs;
    for (let wait = 0; !this.settled; wait = Math.min(wait + 1, 10)) {
      if (performance.now() > end) return false;
      await new Promise((resolve) => setTimeout(resolve, wait));
      if (wait % 5 === 4) this.wake();
    }
    return true;
  }

  /** The worker that had the queue has ended, or has left it. */
  forget(): void {
    Atomics.store(this.words, GATE.seen, NOBODY);
  }
}
