/** Templates of probes: everything but the sequence, written once per flow. Control half. */
import { fold, sum } from './checksum.ts';
import { ETHER_TYPE, ETHERNET, setEtherType } from './ethernet.ts';
import {
  IP_PROTOCOL,
  IPV4,
  IPV4_FRAGMENT,
  ipv4PseudoSum,
  setIpv4Destination,
  setIpv4Fragment,
  setIpv4Header,
  setIpv4Protocol,
  setIpv4Source,
  setIpv4TotalLength,
  setIpv4Ttl,
  writeIpv4Checksum,
} from './ipv4.ts';
import { macWords, putMacs } from './mac.ts';
import { PROBE, PROBE_AT, PROBE_FRAME_MIN, PROBE_MAGIC, TEMPLATE_WORDS } from './probe.ts';
import { setUdpDestination, setUdpLength, setUdpSource } from './udp.ts';

/** What makes one flow's packets differ from another's. */
export interface ProbeFlow {
  /** MAC addresses, six bytes each. */
  readonly destinationMac: Uint8Array;
  readonly sourceMac: Uint8Array;
  /** IPv4 addresses, as int32. */
  readonly source: number;
  readonly destination: number;
  /** UDP ports. */
  readonly sourcePort: number;
  readonly destinationPort: number;
  /** Number of the flow, below `PROBE_FLOWS`, and of the tx queue. */
  readonly flow: number;
  readonly tx: number;
  /** Length of the frame in bytes, without FCS. */
  readonly size: number;
}

const IP_AT = ETHERNET.size;
const UDP_AT = IP_AT + IPV4.size;
const TTL = 64;

/** Returns the `TEMPLATE_WORDS` words for `makeProbeWriter`. */
export function makeProbeTemplate(of: ProbeFlow): Int32Array {
  const i32 = new Int32Array(TEMPLATE_WORDS);
  const view = new DataView(i32.buffer);
  putMacs(i32, 0, macWords(of.destinationMac, of.sourceMac));
  setEtherType(view, 0, ETHER_TYPE.ipv4);
  setIpv4Header(view, IP_AT, IPV4.size);
  setIpv4TotalLength(view, IP_AT, of.size - IP_AT);
  setIpv4Fragment(view, IP_AT, IPV4_FRAGMENT.dontFragment);
  setIpv4Ttl(view, IP_AT, TTL);
  setIpv4Protocol(view, IP_AT, IP_PROTOCOL.udp);
  setIpv4Source(view, IP_AT, of.source);
  setIpv4Destination(view, IP_AT, of.destination);
  writeIpv4Checksum({ view, i32 }, IP_AT, IPV4.size);
  setUdpSource(view, UDP_AT, of.sourcePort);
  setUdpDestination(view, UDP_AT, of.destinationPort);
  setUdpLength(view, UDP_AT, of.size - UDP_AT);
  view.setUint16(PROBE_AT + PROBE.magic, PROBE_MAGIC.first, true);
  view.setUint16(PROBE_AT + PROBE.magic + 2, PROBE_MAGIC.second, true);
  view.setUint16(PROBE_AT + PROBE.flow, of.flow, true);
  view.setUint16(PROBE_AT + PROBE.length, of.size, true);
  view.setUint16(PROBE_AT + PROBE.tx, of.tx, true);
  // The sum of the whole datagram with an empty pattern and sequence 0, in the byte order in which the writer adds.
  const datagram = sum(i32, UDP_AT, PROBE_FRAME_MIN - UDP_AT);
  const total = fold(datagram + ipv4PseudoSum(view, IP_AT, of.size - UDP_AT));
  i32[TEMPLATE_WORDS - 1] = ((total & 0xff) << 8) | (total >>> 8);
  return i32;
}
