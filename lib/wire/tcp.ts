/** TCP header, RFC 9293 §3.1. */
import { checksum, type Views } from './checksum.ts';

/** Byte offsets from the first byte of the header. `size` is the header's, without options. */
export const TCP = {
  source: 0,
  destination: 2,
  sequence: 4,
  acknowledgment: 8,
  offset: 12,
  flags: 13,
  window: 14,
  checksum: 16,
  urgent: 18,
  size: 20,
} as const;

/** Bits of the flags. */
export const TCP_FLAG = { FIN: 1, SYN: 2, RST: 4, PSH: 8, ACK: 16, URG: 32, ECE: 64, CWR: 128 } as const;

const { source: SOURCE, destination: DESTINATION, sequence: SEQUENCE, acknowledgment: ACKNOWLEDGMENT } = TCP;
const { offset: OFFSET, flags: FLAGS, window: WINDOW, checksum: CHECKSUM, urgent: URGENT, size: SIZE } = TCP;

/** Returns the header's length with options (20 to 60), or 0 when it is not all there. */
export function checkTcp(view: DataView, at: number, length: number): number {
  if (length < SIZE) return 0;
  const header = (view.getUint8(at + OFFSET) >>> 4) << 2;
  return header >= SIZE && header <= length ? header : 0;
}

/** Sets the header's length (data offset), in bytes: a multiple of 4. */
export const setTcpHeader = (view: DataView, at: number, header: number): void =>
  view.setUint8(at + OFFSET, (header >>> 2) << 4);

/** Source port. */
export const tcpSource = (view: DataView, at: number): number => view.getUint16(at + SOURCE);
/** Sets the source port. */
export const setTcpSource = (view: DataView, at: number, port: number): void => view.setUint16(at + SOURCE, port);
/** Destination port. */
export const tcpDestination = (view: DataView, at: number): number => view.getUint16(at + DESTINATION);
/** Sets the destination port. */
export const setTcpDestination = (view: DataView, at: number, port: number): void =>
  view.setUint16(at + DESTINATION, port);
/** Sequence number, as an int32: compare by the sign of a difference `| 0`. */
export const tcpSequence = (view: DataView, at: number): number => view.getInt32(at + SEQUENCE);
/** Sets the sequence number. */
export const setTcpSequence = (view: DataView, at: number, value: number): void => view.setInt32(at + SEQUENCE, value);
/** Acknowledgment number, as an int32. */
export const tcpAcknowledgment = (view: DataView, at: number): number => view.getInt32(at + ACKNOWLEDGMENT);
/** Sets the acknowledgment number. */
export const setTcpAcknowledgment = (view: DataView, at: number, value: number): void =>
  view.setInt32(at + ACKNOWLEDGMENT, value);
/** Flags: see `TCP_FLAG`. */
export const tcpFlags = (view: DataView, at: number): number => view.getUint8(at + FLAGS);
/** Sets the flags. */
export const setTcpFlags = (view: DataView, at: number, flags: number): void => view.setUint8(at + FLAGS, flags);
/** Window, unscaled. */
export const tcpWindow = (view: DataView, at: number): number => view.getUint16(at + WINDOW);
/** Sets the window. */
export const setTcpWindow = (view: DataView, at: number, value: number): void => view.setUint16(at + WINDOW, value);
/** Checksum. */
export const tcpChecksum = (view: DataView, at: number): number => view.getUint16(at + CHECKSUM);
/** Urgent pointer. */
export const tcpUrgent = (view: DataView, at: number): number => view.getUint16(at + URGENT);
/** Sets the urgent pointer. */
export const setTcpUrgent = (view: DataView, at: number, value: number): void => view.setUint16(at + URGENT, value);

/** Computes and writes the checksum of the segment of `length` bytes; `pseudo` is the pseudo-header's sum. */
export function writeTcpChecksum({ view, i32 }: Views, at: number, length: number, pseudo: number): void {
  view.setUint16(at + CHECKSUM, 0);
  view.setUint16(at + CHECKSUM, checksum(i32, at, length, pseudo));
}
