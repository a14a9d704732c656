/**
 * Registers that Intel's 82574 and 82576 have in common, at the same offsets: Intel 82574 GbE Controller Family Datasheet
 * 3.4 §10.2, Intel 82576EB Gigabit Ethernet Controller Datasheet 2.63 §8. And nothing else.
 */
import { bank, layout, ro32, rw32, wo32 } from '../../layout.ts';

/** Bytes of BAR 0. */
export const BAR_BYTES = 0x2_0000;

/** Control, status, filters. Where the 82576 has moved a register, this is the alias that it has kept. */
export const REG = layout('82574 and 82576', BAR_BYTES, {
  CTRL: rw32(0x0000),
  STATUS: ro32(0x0008),
  EECD: rw32(0x0010),
  CTRL_EXT: rw32(0x0018),
  MDIC: rw32(0x0020),
  FCAL: rw32(0x0028),
  FCAH: rw32(0x002c),
  FCT: rw32(0x0030),
  ICR: rw32(0x00c0),
  ICS: wo32(0x00c8),
  IMS: rw32(0x00d0),
  IMC: wo32(0x00d8),
  RCTL: rw32(0x0100),
  FCTTV: rw32(0x0170),
  TCTL: rw32(0x0400),
  TIPG: rw32(0x0410),
  RXCSUM: rw32(0x5000),
  RFCTL: rw32(0x5008),
  MTA: bank(128, 4, rw32(0x5200)),
  RAL: bank(16, 8, rw32(0x5400)),
  RAH: bank(16, 8, rw32(0x5404)),
  VFTA: bank(128, 4, rw32(0x5600)),
  WUC: rw32(0x5800),
  MRQC: rw32(0x5818),
  SWSM: rw32(0x5b50),
  SW_FW_SYNC: rw32(0x5b5c),
  RETA: bank(32, 4, rw32(0x5c00)),
  RSSRK: bank(10, 4, rw32(0x5c80)),
});

/** Bits of CTRL. */
export const CTRL = {
  GIO_MASTER_DISABLE: 1 << 2,
  SLU: 1 << 6,
  FRCSPD: 1 << 11,
  FRCDPLX: 1 << 12,
  RST: 1 << 26,
  RFCE: 1 << 27,
  TFCE: 1 << 28,
  VME: 1 << 30,
} as const;

/** Bits of STATUS. */
export const STATUS = { FD: 1 << 0, LU: 1 << 1, SPEED: 3 << 6, GIO_MASTER_ENABLE: 1 << 19 } as const;
/** Mbit/s by the two bits of `STATUS.SPEED`. */
export const SPEEDS = [10, 100, 1000, 1000] as const;

/** Bit of EECD: the registers have been loaded from the NVM. */
export const EECD_AUTO_RD = 1 << 9;

/** Bits of CTRL_EXT. */
export const CTRL_EXT = { DRV_LOAD: 1 << 28, PBA_CLR: 1 << 31 } as const;

/** Fields of MDIC: data in the low half. */
export const MDIC = {
  REGADD: 16,
  PHYADD: 21,
  WRITE: 1 << 26,
  READ: 2 << 26,
  READY: 1 << 28,
  ERROR: 1 << 30,
} as const;
/** Address of the internal PHY. */
export const PHY_ADDRESS = 1;
/** The PHY's control and status registers, IEEE 802.3 §22.2.4. */
export const PHY_CONTROL = {
  register: 0,
  RESTART: 1 << 9,
  ISOLATE: 1 << 10,
  POWER_DOWN: 1 << 11,
  AUTONEG: 1 << 12,
} as const;
export const PHY_STATUS = { register: 1, AUTONEG_COMPLETE: 1 << 5 } as const;

/** Interrupt causes: bits of ICR, ICS, IMS and IMC. */
export const CAUSE = { LSC: 1 << 2, RXDMT0: 1 << 4, RXO: 1 << 6, RXT0: 1 << 7 } as const;

/** Bits of RCTL. Buffers of 2,048 bytes are 0; `FLXBUF` is a number of KiB, on the 82574 only. */
export const RCTL = {
  EN: 1 << 1,
  UPE: 1 << 3,
  MPE: 1 << 4,
  LPE: 1 << 5,
  BSIZE_512: 2 << 16,
  BSIZE_256: 3 << 16,
  BAM: 1 << 15,
  SECRC: 1 << 26,
  FLXBUF: 27,
} as const;

/** Bits of TCTL, and where its fields begin: collision threshold, collision distance. */
export const TCTL = { EN: 1 << 1, PSP: 1 << 3, CT: 4, COLD: 12, RTLC: 1 << 24, MULR: 1 << 28 } as const;
/** Collision threshold and distance of full duplex, and the gaps of copper, as both datasheets recommend them. */
export const TCTL_VALUES = { CT: 15, COLD: 63, TIPG: 8 | (8 << 10) | (6 << 20) } as const;

/** Bit of RXCSUM: write-back has the RSS hash, not a checksum. */
export const RXCSUM_PCSD = 1 << 13;
/** Bit of RFCTL of the 82574: extended rx descriptors. */
export const RFCTL_EXSTEN = 1 << 15;
/** Bit of RAH: the address is valid. */
export const RAH_AV = 2 ** 31;

/** Fields of RXDCTL and TXDCTL: thresholds, and what they count. */
export const DCTL = {
  PTHRESH: 0,
  HTHRESH: 8,
  WTHRESH: 16,
  COUNT_DESC: 1 << 22,
  GRAN: 1 << 24,
  ENABLE: 1 << 25,
} as const;

/** Bits of MRQC: over what a hash is made. UDP only on the 82576. */
export const MRQC = {
  TCP_IPV4: 1 << 16,
  IPV4: 1 << 17,
  IPV6: 1 << 20,
  TCP_IPV6: 1 << 21,
  UDP_IPV4: 1 << 22,
  UDP_IPV6: 1 << 23,
} as const;

/** Registers of the rings of one direction, `stride` bytes from one to the next; those of ring 0 begin at `first`. */
export function ringBanks(count: number, stride: number, first: number) {
  const at = (offset: number) => bank(count, stride, rw32(first + offset));
  return { BAL: at(0x00), BAH: at(0x04), LEN: at(0x08), HEAD: at(0x10), TAIL: at(0x18), DCTL: at(0x28) };
}
/** What `ringBanks` comes to in a layout. */
export type RingRegisters = {
  readonly [Name in keyof ReturnType<typeof ringBanks>]: (n: number) => typeof REG.CTRL;
};

/** A number of descriptors is a multiple of 8, as LEN is one of 128 bytes. */
export const DESC_BYTES = 16;

/**
 * Rx descriptors as the device writes them back, in 32-bit words (82574 §7.1 legacy, extended; 82576 §7.1
 * advanced, which is like extended). Errors are those of a packet as such, not of the checksums in it.
 */
export const RX_DESC = {
  extended: { status: 2, length: 3, errors: (1 << 24) | (1 << 25) | (1 << 26) | (1 << 28) | (1 << 31) },
  legacy: { status: 3, length: 2, errors: (1 << 8) | (1 << 9) | (1 << 10) | (1 << 12) | (1 << 15) },
} as const;
/** Bits of an rx descriptor's status: done, last of its packet. */
export const RX_STATUS = { DD: 1 << 0, EOP: 1 << 1 } as const;

/**
 * Tx descriptors: length and command in word 2, status in word 3 (82574 §7.2 legacy, extended data; 82576 §7.2
 * advanced data). With RS the device says when it is done.
 */
export const TX_COMMAND = { EOP: 1 << 24, IFCS: 1 << 25, RS: 1 << 27, DEXT: 1 << 29 } as const;
/** What kind of descriptor it is, in word 2. */
export const TX_KIND = {
  legacy: 0,
  extended: (1 << 20) | TX_COMMAND.DEXT,
  advanced: (3 << 20) | TX_COMMAND.DEXT,
} as const;
/** Bit of a tx descriptor's status: done. */
export const TX_DD = 1 << 0;
/** Word 3 of an advanced data descriptor: where the length of the packet begins. */
export const TX_PAYLEN = 14;
/** Shortest packet that is padded by TCTL.PSP, in bytes; shorter ones may not be given to it. */
export const TX_SHORTEST = 17;

/** Longest packet that is received without RCTL.LPE: a VLAN tag, but no FCS, which is stripped. */
export const STANDARD_BYTES = 1518;
/** What the device may write of such a packet: FCS and all. */
export const STANDARD_BUFFER = 1522;

/**
 * Statistics, in the order of their offsets from 0x4000 on; each is cleared as it is read. `HIGH` is the upper half of a pair of
 * registers, to be read after the lower.
 */
export const STATISTICS = layout('statistics', BAR_BYTES, {
  CRCERRS: ro32(0x4000),
  ALGNERRC: ro32(0x4004),
  SYMERRS: ro32(0x4008),
  RXERRC: ro32(0x400c),
  MPC: ro32(0x4010),
  SCC: ro32(0x4014),
  ECOL: ro32(0x4018),
  MCC: ro32(0x401c),
  LATECOL: ro32(0x4020),
  COLC: ro32(0x4028),
  DC: ro32(0x4030),
  TNCRS: ro32(0x4034),
  SEC: ro32(0x4038),
  CEXTERR: ro32(0x403c),
  RLEC: ro32(0x4040),
  XONRXC: ro32(0x4048),
  XONTXC: ro32(0x404c),
  XOFFRXC: ro32(0x4050),
  XOFFTXC: ro32(0x4054),
  FCRUC: ro32(0x4058),
  PRC64: ro32(0x405c),
  PRC127: ro32(0x4060),
  PRC255: ro32(0x4064),
  PRC511: ro32(0x4068),
  PRC1023: ro32(0x406c),
  PRC1522: ro32(0x4070),
  GPRC: ro32(0x4074),
  BPRC: ro32(0x4078),
  MPRC: ro32(0x407c),
  GPTC: ro32(0x4080),
  GORCL: ro32(0x4088),
  GORCH: ro32(0x408c),
  GOTCL: ro32(0x4090),
  GOTCH: ro32(0x4094),
  RNBC: ro32(0x40a0),
  RUC: ro32(0x40a4),
  RFC: ro32(0x40a8),
  ROC: ro32(0x40ac),
  RJC: ro32(0x40b0),
  MNGPRC: ro32(0x40b4),
  MPDC: ro32(0x40b8),
  MNGPTC: ro32(0x40bc),
  TORL: ro32(0x40c0),
  TORH: ro32(0x40c4),
  TOTL: ro32(0x40c8),
  TOTH: ro32(0x40cc),
  TPR: ro32(0x40d0),
  TPT: ro32(0x40d4),
  PTC64: ro32(0x40d8),
  PTC127: ro32(0x40dc),
  PTC255: ro32(0x40e0),
  PTC511: ro32(0x40e4),
  PTC1023: ro32(0x40e8),
  PTC1522: ro32(0x40ec),
  MPTC: ro32(0x40f0),
  BPTC: ro32(0x40f4),
  TSCTC: ro32(0x40f8),
  IAC: ro32(0x4100),
});
