/** What a queue asks of its ring, split or packed. Types only. */
import type { Burst } from '../../queue.ts';

/** A ring that a guest transmits with. */
export interface RxRing {
  /** The gate has opened: everything is as the block says. */
  attach(): void;
  receive(burst: Burst): number;
  /** Asks for notifications; true when there is something already. */
  arm(): boolean;
  disarm(): void;
}

/** A ring that a guest receives with. */
export interface TxRing {
  attach(): void;
  /** Sends frames [from, to) of a burst; returns how many were accepted. */
  transmit(burst: Burst, from: number, to: number): number;
  /** Interrupts the guest, if it wants to know what was sent since. */
  kick(): void;
}
