/** ARP for IPv4 over Ethernet, RFC 826. MAC addresses: `getBytes`, `putBytes` at the table's offsets. */

/** Byte offsets from the first byte of the ARP packet. */
export const ARP = {
  hardwareType: 0,
  protocolType: 2,
  hardwareLength: 4,
  protocolLength: 5,
  operation: 6,
  senderMac: 8,
  senderAddress: 14,
  targetMac: 18,
  targetAddress: 24,
  size: 28,
} as const;

/** Operations (IANA arp-parameters). */
export const ARP_OPERATION = { request: 1, reply: 2 } as const;

const { operation: OPERATION, senderAddress: SENDER, targetAddress: TARGET, size: SIZE } = ARP;

// The first eight bytes but for the operation: Ethernet (1), IPv4 (0x0800), addresses of 6 and 4 bytes.
const TYPES = 0x0001_0800;
const LENGTHS = 0x0604;

/** Returns 28 when this is ARP for IPv4 over Ethernet and all there, otherwise 0. */
export const checkArp = (view: DataView, at: number, length: number): number =>
  length >= SIZE && view.getInt32(at) === TYPES && view.getUint16(at + 4) === LENGTHS ? SIZE : 0;

/** Writes the first eight bytes: ARP for IPv4 over Ethernet. */
export function setArpHeader(view: DataView, at: number, operation: number): void {
  view.setInt32(at, TYPES);
  view.setUint16(at + 4, LENGTHS);
  view.setUint16(at + OPERATION, operation);
}

/** Operation: see `ARP_OPERATION`. */
export const arpOperation = (view: DataView, at: number): number => view.getUint16(at + OPERATION);
/** Sender's IPv4 address, as an int32. */
export const arpSender = (view: DataView, at: number): number => view.getInt32(at + SENDER);
/** Sets the sender's IPv4 address. */
export const setArpSender = (view: DataView, at: number, address: number): void => view.setInt32(at + SENDER, address);
/** Target's IPv4 address, as an int32. */
export const arpTarget = (view: DataView, at: number): number => view.getInt32(at + TARGET);
/** Sets the target's IPv4 address. */
export const setArpTarget = (view: DataView, at: number, address: number): void => view.setInt32(at + TARGET, address);
