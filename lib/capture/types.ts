/** What a capture file consists of, whichever its format. */
import type { Direction } from './format.ts';

/** An interface that a file describes: pcapng's, or the one that a pcap file stands for. */
export interface CaptureInterface {
  /** `if_name`, or the empty string. */
  readonly name: string;
  /** Longest part of a packet that was kept, in bytes; 0 when there was no limit. */
  readonly snapLength: number;
  /** `if_tsresol` as it is in the file, pcapng §4.2. */
  readonly resolution: number;
  /** `if_tsoffset`: seconds to add to its time stamps. */
  readonly offset: bigint;
  /** Bytes of FCS at the end of each of its packets. */
  readonly fcs: number;
}

/**
 * The packet that a reader stands at: one object, overwritten by every step. Its bytes are
 * `bytes[start … start + captured)`, valid until the reader reads on.
 */
export interface PacketRecord {
  /** Index into the reader's `interfaces`. */
  interface: number;
  /** Nanoseconds since 1970, unsigned: `timeHi * 2^32 + timeLo`. 0 when the file has none (a simple packet block). */
  timeHi: number;
  timeLo: number;
  direction: Direction;
  bytes: Uint8Array;
  start: number;
  /** Bytes that are there, without FCS. */
  captured: number;
  /** Bytes that the packet had, without FCS: never less than `captured`. */
  original: number;
  /** Where in the file its block or record starts. */
  position: number;
}

/** A packet of one's own: what reading packet by packet gives, and what is written. */
export interface CapturePacket {
  readonly interface: number;
  /** Nanoseconds since 1970. */
  readonly timestamp: bigint;
  readonly data: Uint8Array;
  /** Length before the capture cut it; that of `data` when absent. */
  readonly originalLength?: number;
  /** Unknown when absent. */
  readonly direction?: Direction;
}
