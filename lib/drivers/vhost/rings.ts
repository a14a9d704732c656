/** What a queue asks of its ring, split or packed. Types only. */
import type { Burst } from '../../queue.ts';
import type { Chain } from './chain.ts';

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

/**
 * The buffers that a ring offers, in order. One is opened, and kept until the packet that it is part of has all that it
 * needs; then those kept are used, all at once, or available again.
 */
export interface Buffers {
  /** The chain of the buffer that is open. */
  readonly chain: Chain;
  /** Opens the next one; false when there is none (now, or because the ring is broken). */
  open(): boolean;
  /** Keeps the open one, with `length` bytes written. False when no more can be kept. */
  keep(length: number): boolean;
  /** True when those that are kept are all that the ring can have: the driver has nothing to add. */
  exhausted(): boolean;
  /** Those that are kept are used. */
  commit(): void;
  /** They are available again, and the open one too. */
  release(): void;
  /** They and the open one go back to the driver with nothing in them. */
  waste(): void;
}
