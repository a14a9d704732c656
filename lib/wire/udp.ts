/** UDP header, RFC 768. */
import { checksum, update16, type Views } from './checksum.ts';

/** Byte offsets from the first byte of the header. */
export const UDP = { source: 0, destination: 2, length: 4, checksum: 6, size: 8 } as const;

const { source: SOURCE, destination: DESTINATION, length: LENGTH, checksum: CHECKSUM, size: SIZE } = UDP;

/** Returns 8, or 0 when the datagram is not all there. `length` is what the IP packet has for it. */
export function checkUdp(view: DataView, at: number, length: number): number {
  if (length < SIZE) return 0;
  const total = view.getUint16(at + LENGTH);
  return total >= SIZE && total <= length ? SIZE : 0;
}

/** Source port. */
export const udpSource = (view: DataView, at: number): number => view.getUint16(at + SOURCE);
/** Sets the source port. */
export const setUdpSource = (view: DataView, at: number, port: number): void => view.setUint16(at + SOURCE, port);
/** Destination port. */
export const udpDestination = (view: DataView, at: number): number => view.getUint16(at + DESTINATION);
/** Sets the destination port. */
export const setUdpDestination = (view: DataView, at: number, port: number): void =>
  view.setUint16(at + DESTINATION, port);
/** Length of header and payload, in bytes. */
export const udpLength = (view: DataView, at: number): number => view.getUint16(at + LENGTH);
/** Sets the length of header and payload. */
export const setUdpLength = (view: DataView, at: number, bytes: number): void => view.setUint16(at + LENGTH, bytes);
/** Checksum; 0 means that there is none, which only IPv4 allows (RFC 8200 §8.1). */
export const udpChecksum = (view: DataView, at: number): number => view.getUint16(at + CHECKSUM);
/** Sets the checksum. */
export const setUdpChecksum = (view: DataView, at: number, value: number): void => view.setUint16(at + CHECKSUM, value);

/** Computes and writes the checksum of the datagram of `length` bytes; `pseudo` is the pseudo-header's sum. */
export function writeUdpChecksum({ view, i32 }: Views, at: number, length: number, pseudo: number): void {
  view.setUint16(at + CHECKSUM, 0);
  // A computed zero is sent as its other form, since zero means "none".
  view.setUint16(at + CHECKSUM, checksum(i32, at, length, pseudo) || 0xffff);
}

/** As `update16`, and none stays none. */
export const updateUdp16 = (check: number, from: number, to: number): number =>
  check === 0 ? 0 : update16(check, from, to) || 0xffff;
