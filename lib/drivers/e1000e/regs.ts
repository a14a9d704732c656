/** Registers of the 82574 that others have not, or elsewhere: Intel 82574 GbE Controller Family Datasheet 3.4 §10.2. */
import { bank, layout, rw32 } from '../../layout.ts';
import { BAR_BYTES, ringBanks } from '../gbe/regs.ts';

/** Queues of either direction, and MSI-X vectors. */
export const QUEUES = 2;
export const VECTORS = 5;

export const REG = layout('82574', BAR_BYTES, {
  EIAC: rw32(0x00dc),
  IVAR: rw32(0x00e4),
  EITR: bank(VECTORS, 4, rw32(0x00e8)),
  EXTCNF_CTRL: rw32(0x0f00),
  RDTR: rw32(0x2820),
  RADV: rw32(0x282c),
  TIDV: rw32(0x3820),
  TADV: rw32(0x382c),
  TARC: bank(QUEUES, 0x100, rw32(0x3840)),
  GCR: rw32(0x5b00),
  GCR2: rw32(0x5b64),
});

export const RX = layout('82574 rx rings', BAR_BYTES, ringBanks(QUEUES, 0x100, 0x2800));
export const TX = layout('82574 tx rings', BAR_BYTES, ringBanks(QUEUES, 0x100, 0x3800));

/** Interrupt causes in MSI-X mode: rx queue n is `RXQ0 << n`. */
export const CAUSE = { RXQ0: 1 << 20, OTHER: 1 << 24 } as const;

/** IVAR: four bits each for rx queues, tx queues, other causes; bit 3 of them makes it valid. */
export const IVAR = { RXQ: 0, OTHER: 16, VALID: 1 << 3 } as const;

/** Bit of EXTCNF_CTRL: software has the PHY. */
export const MDIO_SW_OWNERSHIP = 1 << 5;

/** MRQC: spread by RSS. */
export const MRQC_RSS = 1;
/** A byte of RETA: the queue is its highest bit. */
export const RETA_QUEUE = 7;

/** Bits that have to be other than they come: the datasheet, and its specification update. */
export const REQUIRED = {
  /** TARC0 and CTRL_EXT. */
  TARC0_SET: 1 << 26,
  CTRL_EXT_SET: 1 << 22,
  CTRL_EXT_CLEAR: 1 << 23,
  CTRL_CLEAR: 1 << 29,
  /** L1 without L0s, and completions that come late. */
  GCR_SET: (1 << 22) | (1 << 27),
  GCR2_SET: 1 << 0,
} as const;

/** Longest frame, with FCS, in bytes. */
export const LONGEST_FRAME = 9234;
