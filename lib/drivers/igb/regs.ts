/** Registers of the 82576 that others have not, or elsewhere: Intel 82576EB Gigabit Ethernet Controller Datasheet 2.63 §8. */
import { bank, layout, ro32, rw32, wo32 } from '../../layout.ts';
import { BAR_BYTES, ringBanks } from '../gbe/regs.ts';

/** Queues of either direction that we use: MSI-X has ten vectors, nine of them for queues. The 82576 has 16. */
export const QUEUES = 8;
export const VECTORS = 10;

export const REG = layout('82576', BAR_BYTES, {
  GPIE: rw32(0x1514),
  EIMS: rw32(0x1524),
  EIMC: wo32(0x1528),
  EIAC: rw32(0x152c),
  EIAM: rw32(0x1530),
  EICR: rw32(0x1580),
  EITR: bank(VECTORS, 4, rw32(0x1680)),
  IVAR: bank(8, 4, rw32(0x1700)),
  IVAR_MISC: rw32(0x1740),
  EEMNGCTL: ro32(0x1010),
  RLPML: rw32(0x5004),
  VT_CTL: rw32(0x581c),
  VMOLR: bank(8, 4, rw32(0x5ad0)),
  SRRCTL: bank(QUEUES, 0x40, rw32(0xc00c)),
});

export const RX = layout('82576 rx rings', BAR_BYTES, ringBanks(QUEUES, 0x40, 0xc000));
export const TX = layout('82576 tx rings', BAR_BYTES, ringBanks(QUEUES, 0x40, 0xe000));

/** GPIE: several MSI-X vectors, interrupts that mask themselves, and pending bits of the older kind. */
export const GPIE = { NSICR: 1 << 0, MULTIPLE_MSIX: 1 << 4, EIAME: 1 << 30, PBA_SUPPORT: 1 << 31 } as const;

/** A byte of IVAR: vector and this bit. Row q % 8; rx queues below 8 are byte 0, tx queues byte 1. */
export const IVAR_VALID = 1 << 7;
/** IVAR_MISC: the byte of other causes than TCP timers. */
export const IVAR_OTHER = 8;

/** SRRCTL: buffers in KiB, one of them per advanced descriptor, and packets dropped rather than others held up. */
export const SRRCTL = { DESCTYPE_ADVANCED: 1 << 25, DROP_EN: 1 << 31 } as const;

/** VMOLR: longest packet; long ones, untagged ones, broadcasts and all multicasts taken; FCS stripped. */
export const VMOLR = {
  LPE: 1 << 16,
  RSSE: 1 << 17,
  AUPE: 1 << 24,
  BAM: 1 << 27,
  MPME: 1 << 28,
  STRCRC: 1 << 31,
} as const;

/** MRQC: spread by RSS over all queues. */
export const MRQC_RSS = 2;

/** Bit of EEMNGCTL: port 0 has been configured after a reset. */
export const CFG_DONE = 1 << 18;
/** Bit of SW_FW_SYNC: software has the PHY of port 0. */
export const SYNC_PHY0 = 1 << 1;
/** Bits of SWSM: software, and this software, has the semaphore. */
export const SWSM = { SMBI: 1 << 0, SWESMBI: 1 << 1 } as const;

/** Longest frame, with FCS, in bytes: RLPML. */
export const LONGEST_FRAME = 9728;
