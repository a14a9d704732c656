/** ICMP, RFC 792, and ICMPv6, RFC 4443: the same header; only ICMPv6 has a pseudo-header in its checksum. */
import { checksum, type Views } from './checksum.ts';

/** Byte offsets from the first byte of the header. `identifier` and `sequence` are an echo message's. */
export const ICMP = { type: 0, code: 1, checksum: 2, identifier: 4, sequence: 6, size: 8 } as const;

/** Types of ICMP messages (RFC 792). */
export const ICMP_TYPE = {
  echoReply: 0,
  unreachable: 3,
  echoRequest: 8,
  timeExceeded: 11,
  parameterProblem: 12,
} as const;

/** Types of ICMPv6 messages (RFC 4443 §2.1, RFC 4861 §4). */
export const ICMPV6_TYPE = {
  unreachable: 1,
  packetTooBig: 2,
  timeExceeded: 3,
  echoRequest: 128,
  echoReply: 129,
  neighborSolicitation: 135,
  neighborAdvertisement: 136,
} as const;

const { type: TYPE, code: CODE, checksum: CHECKSUM, identifier: ID, sequence: SEQUENCE, size: SIZE } = ICMP;

/** Returns 8, or 0 when the header is not all there. No message of either version is shorter. */
export const checkIcmp = (_view: DataView, _at: number, length: number): number => (length >= SIZE ? SIZE : 0);

/** Type: see `ICMP_TYPE`, `ICMPV6_TYPE`. */
export const icmpType = (view: DataView, at: number): number => view.getUint8(at + TYPE);
/** Sets the type. */
export const setIcmpType = (view: DataView, at: number, type: number): void => view.setUint8(at + TYPE, type);
/** Whether the message says that what its receiver sent did not arrive (RFC 1122 §3.2.2). */
export const isIcmpError = (type: number): boolean =>
  type === ICMP_TYPE.unreachable || type === ICMP_TYPE.timeExceeded || type === ICMP_TYPE.parameterProblem;
/** The same of ICMPv6 (RFC 4443 §2.1). */
export const isIcmpv6Error = (type: number): boolean => type < 128;
/** Code: what exactly, within the type. */
export const icmpCode = (view: DataView, at: number): number => view.getUint8(at + CODE);
/** Sets the code. */
export const setIcmpCode = (view: DataView, at: number, code: number): void => view.setUint8(at + CODE, code);
/** Checksum. */
export const icmpChecksum = (view: DataView, at: number): number => view.getUint16(at + CHECKSUM);
/** Identifier of an echo message. */
export const icmpIdentifier = (view: DataView, at: number): number => view.getUint16(at + ID);
/** Sets the identifier of an echo message. */
export const setIcmpIdentifier = (view: DataView, at: number, id: number): void => view.setUint16(at + ID, id);
/** Sequence number of an echo message. */
export const icmpSequence = (view: DataView, at: number): number => view.getUint16(at + SEQUENCE);
/** Sets the sequence number of an echo message. */
export const setIcmpSequence = (view: DataView, at: number, value: number): void =>
  view.setUint16(at + SEQUENCE, value);

/**
 * Computes and writes the checksum of the message of `length` bytes. `pseudo` is 0 for ICMP, `ipv6PseudoSum` for
 * ICMPv6 (RFC 4443 §2.3).
 */
export function writeIcmpChecksum({ view, i32 }: Views, at: number, length: number, pseudo: number): void {
  view.setUint16(at + CHECKSUM, 0);
  view.setUint16(at + CHECKSUM, checksum(i32, at, length, pseudo));
}
