/** IPv6 header, RFC 8200 §3. Addresses: `getBytes`, `putBytes`, `sameBytes` at the table's offsets. */

/** Byte offsets from the first byte of the header. */
export const IPV6 = {
  versionClassLabel: 0,
  payloadLength: 4,
  nextHeader: 6,
  hopLimit: 7,
  source: 8,
  destination: 24,
  size: 40,
} as const;

const { payloadLength: LENGTH, nextHeader: NEXT, hopLimit: HOPS, source: SOURCE, size: SIZE } = IPV6;

/**
 * Returns 40, or 0 when it is not an IPv6 packet that is all there. `length` may be more than the packet's (padding).
 * Extension headers would be walked here (RFC 8200 §4); so far they are what `nextHeader` says they are.
 */
export const checkIpv6 = (view: DataView, at: number, length: number): number =>
  length >= SIZE && view.getUint8(at) >>> 4 === 6 && SIZE + view.getUint16(at + LENGTH) <= length ? SIZE : 0;

/** Writes version, traffic class (8 bits) and flow label (20 bits). */
export const setIpv6Header = (view: DataView, at: number, trafficClass: number, flowLabel: number): void =>
  view.setInt32(at, 0x6000_0000 | ((trafficClass & 0xff) << 20) | (flowLabel & 0xf_ffff));

/** Traffic class: DSCP (upper six bits) and ECN (lower two). */
export const ipv6TrafficClass = (view: DataView, at: number): number => (view.getUint16(at) >>> 4) & 0xff;
/** Flow label, 20 bits. */
export const ipv6FlowLabel = (view: DataView, at: number): number => view.getInt32(at) & 0xf_ffff;
/** Length of what follows the header, in bytes. Zero for a jumbogram (RFC 2675), which no frame of ours can hold. */
export const ipv6PayloadLength = (view: DataView, at: number): number => view.getUint16(at + LENGTH);
/** Sets the length of what follows the header. */
export const setIpv6PayloadLength = (view: DataView, at: number, bytes: number): void =>
  view.setUint16(at + LENGTH, bytes);
/** What follows the header: see `IP_PROTOCOL`. */
export const ipv6NextHeader = (view: DataView, at: number): number => view.getUint8(at + NEXT);
/** Sets what follows the header. */
export const setIpv6NextHeader = (view: DataView, at: number, value: number): void => view.setUint8(at + NEXT, value);
/** Hop limit. */
export const ipv6HopLimit = (view: DataView, at: number): number => view.getUint8(at + HOPS);
/** Sets the hop limit. */
export const setIpv6HopLimit = (view: DataView, at: number, hops: number): void => view.setUint8(at + HOPS, hops);

/**
 * Returns the sum of the pseudo-header of the packet whose header is at `at` (RFC 8200 §8.1). `protocol` and `length`
 * are those of the UDP, TCP or ICMPv6 header with its payload.
 */
export function ipv6PseudoSum(view: DataView, at: number, protocol: number, length: number): number {
  let sum = (protocol + length) | 0;
  // Source and destination stand next to each other: sixteen 16-bit words.
  for (let i: number = SOURCE; i < SIZE; i = (i + 2) | 0) sum = (sum + view.getUint16(at + i)) | 0;
  return sum;
}
