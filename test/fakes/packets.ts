/** Packets written byte by byte from the RFCs, for tests of what reads them. Checksums are left zero. */

/** An Ethernet frame. */
export const ethernet = (type: number, payload: readonly number[]): Uint8Array =>
  Uint8Array.from([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, type >> 8, type & 0xff, ...payload]);

/** A UDP header with four bytes of payload. */
export const udp = (from: number, to: number): number[] => [
  from >> 8,
  from & 0xff,
  to >> 8,
  to & 0xff,
  0,
  12,
  0,
  0,
  1,
  2,
  3,
  4,
];

/** An IPv4 packet; `options` are bytes of no-operation options. */
export function ipv4(
  header: { source: number[]; destination: number[]; protocol: number; options?: number; fragment?: number },
  payload: readonly number[],
): number[] {
  const { source, destination, protocol, options = 0, fragment = 0 } = header;
  const total = 20 + options + payload.length;
  const first = [
    0x40 | (5 + options / 4),
    0,
    total >> 8,
    total & 0xff,
    0,
    1,
    fragment >> 8,
    fragment & 0xff,
    64,
    protocol,
    0,
    0,
  ];
  return [...first, ...source, ...destination, ...Array(options).fill(1), ...payload];
}

/** An IPv6 packet. */
export const ipv6 = (
  header: { source: number[]; destination: number[]; next: number },
  payload: readonly number[],
): number[] => [
  0x60,
  0,
  0,
  0,
  payload.length >> 8,
  payload.length & 0xff,
  header.next,
  255,
  ...header.source,
  ...header.destination,
  ...payload,
];
