/** What the two halves of the drivers of gigabit controllers say to each other: a queue's `QueuePlan.data`. */
import { RX, TX } from '../../queue.ts';

/** Numbers of a queue: arena offsets, and what differs between controllers. */
export type GbeQueueData = Readonly<{
  /** Descriptors, and the arena offset of the ring. */
  size: number;
  ring: number;
  /** Its private block, see `BLOCK`. */
  block: number;
  /** Table of the frames' addresses, or 0: see `PciDevio.frameAddresses`. */
  frameAddresses: number;
  /** Arena offset of the ring's tail register. */
  tail: number;
  /** rx: bytes that the device may write into a buffer. */
  buffer: number;
  /** rx: most buffers of a packet. */
  segments: number;
  /** rx: words of a descriptor that have status and length, and the status bits that tell of errors. See `RX_DESC`. */
  statusWord: number;
  lengthWord: number;
  errors: number;
  /** tx: word 2 of a descriptor but for length, EOP and RS; where the packet's length begins in word 3, or 0. */
  command: number;
  paylen: number;
  /**
   * rx: arena offsets of the registers in which a cause is cleared, and its interrupt enabled and disabled, by writing the bits `cause`;
   * of one to be read after that; 0 for all when it can't interrupt. `unmask`: see `Interrupts.unmask`.
   */
  causeRegister: number;
  enableRegister: number;
  disableRegister: number;
  readRegister: number;
  cause: number;
  unmask: number;
}>;

/** Counters of an rx queue beyond the common ones. */
export const GBE_RX_NAMES = ['runt', 'oversize', 'errors', 'invalid', 'lost'] as const;

const rx = Object.keys(RX).length;
/**
 * `errors`: the device says that the packet is damaged. `invalid`: a length that cannot be. `lost`: received, but not taken
 * before the device was reset.
 */
export const GBE_RX = { runt: rx, oversize: rx + 1, errors: rx + 2, invalid: rx + 3, lost: rx + 4 } as const;

/** Counters of a tx queue beyond the common ones. */
export const GBE_TX_NAMES = ['lost', 'invalid'] as const;

const tx = Object.keys(TX).length;
/** `lost`: in flight when the device was reset. `invalid`: not in one frame. */
export const GBE_TX = { lost: tx, invalid: tx + 1 } as const;
