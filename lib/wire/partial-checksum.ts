/**
 * Checksums that a sender left to hardware, which software between it and us did not finish: of a TCP or UDP packet with
 * a partial checksum the field holds the sum of the pseudo-header alone (Linux, Documentation/networking/
 * checksum-offloads.rst, "TX Checksum Offload"). Either half.
 */
import { fold, sum } from './checksum.ts';
import { ETHER_TYPE, ETHERNET, VLAN } from './ethernet.ts';
import { IP_PROTOCOL, IPV4, IPV4_FRAGMENT } from './ipv4.ts';
import { IPV6 } from './ipv6.ts';
import { TCP } from './tcp.ts';
import { UDP } from './udp.ts';

const { vlan, serviceVlan, ipv4, ipv6 } = ETHER_TYPE;
const { tcp, udp } = IP_PROTOCOL;
/** No fragment has a partial checksum: the kernel finishes it before it cuts the packet. */
const FRAGMENTED = IPV4_FRAGMENT.moreFragments | IPV4_FRAGMENT.offset;

/** The memory twice: words to sum up, halves of words to look at and write. */
export interface Halves {
  readonly i32: Int32Array;
  readonly u16: Uint16Array;
}

/** Halves are read as the host has them, the wire has them the other way round. */
const swap = (half: number): number => ((half & 0xff) << 8) | (half >>> 8);

/**
 * Returns the sum of `bytes` bytes of a packet that are behind its first frame; `odd`: an odd number of those that are
 * summed up is before them.
 */
export type Later = (bytes: number, odd: boolean) => number;

const nothing: Later = () => 0;

/**
 * Finishes the checksum of the segment of `length` bytes at `at`, `here` of them in this frame, whose addresses are the
 * halves [from, to).
 */
function finish(
  m: Halves,
  at: number,
  length: number,
  here: number,
  protocol: number,
  from: number,
  to: number,
  later: Later,
): boolean {
  const isTcp = protocol === tcp;
  if (!isTcp && protocol !== udp) return false;
  const first = length < here ? length : here;
  if (first < (isTcp ? TCP.size : UDP.size)) return false;
  const field = (at + (isTcp ? TCP.checksum : UDP.checksum)) >>> 1;
  let addresses = 0;
  for (let i = from; i < to; i = (i + 1) | 0) addresses = (addresses + m.u16[i]) | 0;
  if (swap(m.u16[field]) !== fold((swap(fold(addresses)) + protocol + length) | 0)) return false;
  // The pseudo-header's sum is in the field, and so part of the segment's. A packet that happens to have it as its valid
  // checksum stays as it is: it is the only value that makes the whole consistent.
  let total = sum(m.i32, at, first);
  if (first < length) total = fold((total + later((length - first) | 0, (first & 1) !== 0)) | 0);
  m.u16[field] = swap(~total & 0xffff || 0xffff);
  return true;
}

/**
 * Finishes the TCP or UDP checksum of the frame of `length` bytes at `at`, an even offset, if it is partial; says
 * whether it was. Looks behind up to two VLAN tags; not into tunnels, nor behind IPv6 extension headers. Of a packet of
 * several frames this is the first, with all headers; `beyond` bytes are in others, and `later` sums them up.
 */
export function finishChecksum(m: Halves, at: number, length: number, beyond = 0, later = nothing): boolean {
  const { u16 } = m;
  const end = (at + length) | 0;
  let l3 = (at + ETHERNET.size) | 0;
  let type = swap(u16[(at + ETHERNET.type) >>> 1]);
  for (let tags = 0; tags < 2 && (type === vlan || type === serviceVlan); tags = (tags + 1) | 0) {
    l3 = (l3 + VLAN.size) | 0;
    type = swap(u16[(l3 - 2) >>> 1]);
  }
  if (type === ipv4 && ((l3 + IPV4.size) | 0) <= end) {
    const first = u16[l3 >>> 1] & 0xff;
    const header = (first & 0xf) << 2;
    const total = swap(u16[(l3 + IPV4.totalLength) >>> 1]);
    const fragment = swap(u16[(l3 + IPV4.fragment) >>> 1]) & FRAGMENTED;
    if (header < IPV4.size || fragment !== 0 || ((l3 + total) | 0) > ((end + beyond) | 0)) return false;
    const protocol = u16[(l3 + IPV4.ttl) >>> 1] >>> 8;
    const from = (l3 + IPV4.source) >>> 1;
    const l4 = (l3 + header) | 0;
    return finish(m, l4, (total - header) | 0, (end - l4) | 0, protocol, from, from + 4, later);
  }
  if (type === ipv6 && ((l3 + IPV6.size) | 0) <= end) {
    const payload = swap(u16[(l3 + IPV6.payloadLength) >>> 1]);
    const l4 = (l3 + IPV6.size) | 0;
    if (((l4 + payload) | 0) > ((end + beyond) | 0)) return false;
    const protocol = u16[(l3 + IPV6.nextHeader) >>> 1] & 0xff;
    const from = (l3 + IPV6.source) >>> 1;
    return finish(m, l4, payload, (end - l4) | 0, protocol, from, from + 16, later);
  }
  return false;
}
