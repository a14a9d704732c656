/** Reverse ARP (RFC 903), as what moves announces where it is: a request about itself, to all. Either half. */

/** EtherType. */
export const ETHERTYPE_RARP = 0x8035;
/** Bytes of the frame, padded to the least that Ethernet has. */
export const RARP_BYTES = 60;

/** Ethernet, IPv4, addresses of 6 and 4 bytes; operation 3 asks for an address. */
const HEADER = [0x0001_0800, 0x0604_0003] as const;

/**
 * Writes the frame at byte `at`: from the address whose bytes are those of the little-endian words `low` and, in its lower
 * half, `high`, to everybody; about itself.
 */
export function putRarp(view: DataView, at: number, low: number, high: number): void {
  for (let i = 0; i < RARP_BYTES; i += 4) view.setInt32(at + i, 0);
  view.setInt32(at, -1);
  view.setInt16(at + 4, -1);
  for (const field of [6, 22, 32]) {
    view.setInt32(at + field, low, true);
    view.setInt16(at + field + 4, high, true);
  }
  view.setUint16(at + 12, ETHERTYPE_RARP);
  view.setInt32(at + 14, HEADER[0]);
  view.setInt32(at + 18, HEADER[1]);
}
