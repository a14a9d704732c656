/** IPv4 header, RFC 791 §3.1 (DSCP and ECN: RFC 2474, RFC 3168). */
import { checksum, type Views } from './checksum.ts';

/** Byte offsets from the first byte of the header. `size` is the header's, without options. */
export const IPV4 = {
  versionLength: 0,
  trafficClass: 1,
  totalLength: 2,
  identification: 4,
  fragment: 6,
  ttl: 8,
  protocol: 9,
  checksum: 10,
  source: 12,
  destination: 16,
  size: 20,
} as const;

/** Protocol numbers, for IPv4's `protocol` and IPv6's `nextHeader` (IANA protocol-numbers). */
export const IP_PROTOCOL = { icmp: 1, tcp: 6, udp: 17, icmpv6: 58 } as const;

/** Bits of the `fragment` field: the flags and the mask of the offset, which counts units of eight bytes. */
export const IPV4_FRAGMENT = { dontFragment: 0x4000, moreFragments: 0x2000, offset: 0x1fff } as const;

const { trafficClass: CLASS, totalLength: LENGTH, identification: ID, fragment: FRAGMENT, ttl: TTL } = IPV4;
const { protocol: PROTOCOL, checksum: CHECKSUM, source: SOURCE, destination: DESTINATION, size: SIZE } = IPV4;

/**
 * Returns the header's length with options (20 to 60), or 0 when it is not an IPv4 packet that is all there. The
 * checksum is not looked at: `checksumOk(i32, at, header, 0)`. `length` may be more than the packet's (padding).
 */
export function checkIpv4(view: DataView, at: number, length: number): number {
  if (length < SIZE) return 0;
  const first = view.getUint8(at);
  const header = (first & 0xf) << 2;
  const total = view.getUint16(at + LENGTH);
  return first >>> 4 === 4 && header >= SIZE && header <= total && total <= length ? header : 0;
}

/** Writes version and header length (bytes, a multiple of 4). */
export const setIpv4Header = (view: DataView, at: number, header: number): void =>
  view.setUint8(at, 0x40 | (header >>> 2));

/** DSCP (upper six bits) and ECN (lower two). */
export const ipv4TrafficClass = (view: DataView, at: number): number => view.getUint8(at + CLASS);
/** Sets DSCP and ECN. */
export const setIpv4TrafficClass = (view: DataView, at: number, value: number): void =>
  view.setUint8(at + CLASS, value);
/** Length of header and payload, in bytes. */
export const ipv4TotalLength = (view: DataView, at: number): number => view.getUint16(at + LENGTH);
/** Sets the length of header and payload. */
export const setIpv4TotalLength = (view: DataView, at: number, bytes: number): void =>
  view.setUint16(at + LENGTH, bytes);
/** Identification of the packet that fragments belong to. */
export const ipv4Identification = (view: DataView, at: number): number => view.getUint16(at + ID);
/** Sets the identification. */
export const setIpv4Identification = (view: DataView, at: number, id: number): void => view.setUint16(at + ID, id);
/** Flags and fragment offset: see `IPV4_FRAGMENT`. */
export const ipv4Fragment = (view: DataView, at: number): number => view.getUint16(at + FRAGMENT);
/** Sets flags and fragment offset. */
export const setIpv4Fragment = (view: DataView, at: number, value: number): void =>
  view.setUint16(at + FRAGMENT, value);
/** Time to live. */
export const ipv4Ttl = (view: DataView, at: number): number => view.getUint8(at + TTL);
/** Sets the time to live. */
export const setIpv4Ttl = (view: DataView, at: number, ttl: number): void => view.setUint8(at + TTL, ttl);
/** Protocol of the payload: see `IP_PROTOCOL`. */
export const ipv4Protocol = (view: DataView, at: number): number => view.getUint8(at + PROTOCOL);
/** Sets the protocol of the payload. */
export const setIpv4Protocol = (view: DataView, at: number, value: number): void => view.setUint8(at + PROTOCOL, value);
/** Header checksum. */
export const ipv4Checksum = (view: DataView, at: number): number => view.getUint16(at + CHECKSUM);
/** Sets the header checksum. */
export const setIpv4Checksum = (view: DataView, at: number, value: number): void =>
  view.setUint16(at + CHECKSUM, value);
/** Source address, as an int32: compare with `===`, print with `>>> 0`. */
export const ipv4Source = (view: DataView, at: number): number => view.getInt32(at + SOURCE);
/** Sets the source address. */
export const setIpv4Source = (view: DataView, at: number, address: number): void => view.setInt32(at + SOURCE, address);
/** Destination address, as an int32. */
export const ipv4Destination = (view: DataView, at: number): number => view.getInt32(at + DESTINATION);
/** Sets the destination address. */
export const setIpv4Destination = (view: DataView, at: number, address: number): void =>
  view.setInt32(at + DESTINATION, address);

/** Computes and writes the header checksum. `header` is the header's length in bytes. */
export function writeIpv4Checksum({ view, i32 }: Views, at: number, header: number): void {
  view.setUint16(at + CHECKSUM, 0);
  view.setUint16(at + CHECKSUM, checksum(i32, at, header, 0));
}

/**
 * Returns the sum of the pseudo-header of the packet whose header is at `at`, for the checksums of UDP and TCP
 * (RFC 768, RFC 9293 §3.1). `length` is that of the UDP or TCP header with its payload.
 */
export const ipv4PseudoSum = (view: DataView, at: number, length: number): number =>
  view.getUint16(at + SOURCE) +
  view.getUint16(at + SOURCE + 2) +
  view.getUint16(at + DESTINATION) +
  view.getUint16(at + DESTINATION + 2) +
  view.getUint8(at + PROTOCOL) +
  length;
