/** Interrupts of an rx queue: on while its worker sleeps. Data half. */
import type { QueueContext } from '../../queue.ts';
import type { GbeQueueData } from './data.ts';

/** A queue's interrupt. */
export interface Interrupt {
  /** What comes from now on is told. What came before may not be: look at the ring after this. */
  enable(): void;
  disable(): void;
}

/** Makes it for the queue of `data`. Registers are stored plainly, each with one access (docs/adr/0003-barriers.md). */
export function makeInterrupt(data: GbeQueueData, { memory, kick }: QueueContext): Interrupt {
  const { cause, unmask } = data;
  if (data.enableRegister === 0) return { enable() {}, disable() {} };
  const register = (offset: number) => new Int32Array(memory, offset, 1);
  const clear = register(data.causeRegister);
  const enable = register(data.enableRegister);
  const disable = register(data.disableRegister);
  const read = register(data.readRegister);
  let seen = 0;
  return {
    enable() {
      // What is known already does not wake us. The cause is cleared before it is enabled, and both before the caller looks at the
      // ring, which the read is for: it comes back when the device has seen the writes. A packet that came before they
      // did is in the ring; one that came after raises the cause.
      clear[0] = cause;
      enable[0] = cause;
      if (unmask >= 0) kick(unmask);
      seen = (seen ^ read[0]) | 0;
    },
    disable() {
      disable[0] = cause;
    },
  };
}
