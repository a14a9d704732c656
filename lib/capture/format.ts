/**
 * Numbers of the two capture file formats, and nothing else.
 * Sources: draft-ietf-opsawg-pcapng (pcapng, version 1.0) and draft-ietf-opsawg-pcap (pcap, version 2.4).
 */

/** Link type Ethernet, draft-ietf-opsawg-pcaplinktype: the only one that linecard reads and writes. */
export const LINKTYPE_ETHERNET = 1;

/** Longest block or record that is believed, in bytes. Longer ones are taken for damage, as Wireshark does. */
export const MAX_BLOCK = 16 * 1024 * 1024;

/** Most interfaces that one file may describe: what is kept of a file must be bounded. */
export const MAX_INTERFACES = 65_536;

/** pcapng block types, §4 and §11.1. */
export const BLOCK = {
  sectionHeader: 0x0a0d0d0a,
  interfaceDescription: 1,
  /** Obsolete, appendix A. */
  packet: 2,
  simplePacket: 3,
  interfaceStatistics: 5,
  enhancedPacket: 6,
} as const;

/** Byte-order magic of a section header block, pcapng §4.1. */
export const BYTE_ORDER_MAGIC = 0x1a2b3c4d;

/** Smallest block total length, pcapng §3.1, and of the blocks with fixed fields, §4.1 to §4.6. */
export const MIN_LENGTH = {
  any: 12,
  sectionHeader: 28,
  interfaceDescription: 20,
  simplePacket: 16,
  /** Of the obsolete packet block too. */
  enhancedPacket: 32,
} as const;

/** Option codes, pcapng §3.5 and §4. */
export const OPTION = {
  end: 0,
  comment: 1,
  shbHardware: 2,
  shbOs: 3,
  shbApplication: 4,
  ifName: 2,
  ifDescription: 3,
  ifTsResolution: 9,
  ifFcsLength: 13,
  ifTsOffset: 14,
  epbFlags: 2,
  isbStart: 2,
  isbEnd: 3,
  isbReceived: 4,
  isbDropped: 5,
} as const;

/** `if_tsresol` of a file without that option: 10^-6, pcapng §4.2. */
export const MICROSECONDS = 6;
/** `if_tsresol` for nanoseconds. */
export const NANOSECONDS = 9;

/** Bits 0-1 of `epb_flags`, pcapng §4.3.1. */
export const DIRECTION = { unknown: 0, inbound: 1, outbound: 2 } as const;

/** One of the three directions. */
export type Direction = (typeof DIRECTION)[keyof typeof DIRECTION];

/** Magic numbers of pcap, pcap §4, and the nanoseconds that a unit of their fractions has. */
export const PCAP_MICROSECONDS = 0xa1b2c3d4;
export const PCAP_NANOSECONDS = 0xa1b23c4d;
/** Length of pcap's file header, §4, and of a packet record's header, §5. */
export const PCAP_HEADER = 24;
export const PCAP_RECORD_HEADER = 16;
