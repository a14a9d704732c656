/**
 * udp-echo: a host of its own on a port. Answers ARP, neighbour discovery, ping and a UDP echo port (RFC 862) for the
 * addresses that it is given. With `xdp:eth0,match=host/ADDRESS` the rest of the interface's traffic stays the kernel's.
 */
import { PlanError } from '../../lib/errors.ts';
import { type App, type AppContext, DROP, MORE, type PortFacts } from '../../lib/queue.ts';
import { addressBytes } from '../../lib/wire/address.ts';
import {
  ARP,
  ARP_OPERATION,
  arpOperation,
  arpSender,
  arpTarget,
  checkArp,
  setArpHeader,
  setArpSender,
  setArpTarget,
} from '../../lib/wire/arp.ts';
import { getBytes, putBytes, sameBytes } from '../../lib/wire/bytes.ts';
import { checksumOk, fold, update16 } from '../../lib/wire/checksum.ts';
import { checkEthernet, ETHER_TYPE, ETHERNET, etherType } from '../../lib/wire/ethernet.ts';
import {
  checkIcmp,
  ICMP_TYPE,
  ICMPV6_TYPE,
  icmpChecksum,
  icmpCode,
  icmpType,
  isIcmpError,
  isIcmpv6Error,
  setIcmpType,
  writeIcmpChecksum,
} from '../../lib/wire/icmp.ts';
import {
  checkIpv4,
  IP_PROTOCOL,
  IPV4_FRAGMENT,
  ipv4Destination,
  ipv4Fragment,
  ipv4Protocol,
  ipv4PseudoSum,
  ipv4Source,
  ipv4TotalLength,
  setIpv4Destination,
  setIpv4Source,
  setIpv4Ttl,
  writeIpv4Checksum,
} from '../../lib/wire/ipv4.ts';
import {
  checkIpv6,
  IPV6,
  ipv6HopLimit,
  ipv6NextHeader,
  ipv6PayloadLength,
  ipv6PseudoSum,
  setIpv6HopLimit,
  setIpv6PayloadLength,
} from '../../lib/wire/ipv6.ts';
import { isGroupMac, MAC_SIZE } from '../../lib/wire/mac.ts';
import {
  checkUdp,
  setUdpDestination,
  setUdpSource,
  udpChecksum,
  udpDestination,
  udpLength,
  udpSource,
  writeUdpChecksum,
} from '../../lib/wire/udp.ts';
import { checkOptions, wholeNumber } from './options.ts';

/** Options of `udp-echo`. */
export interface UdpEchoOptions {
  /** Its addresses: one or more, IPv4 and IPv6. */
  readonly addresses: readonly string[];
  /** UDP port that is echoed: 7 if absent. */
  readonly port?: number;
}

/** What a frame was answered with, or taken for: indices of its counters. */
const ANSWERS = ['arp', 'neighbor', 'ping', 'udp', 'icmp_error'] as const;
const [IS_ARP, IS_NEIGHBOR, IS_PING, IS_UDP, IS_ERROR] = [0, 1, 2, 3, 4];
/** Verdicts on what is not answered. */
const NOT_OURS = -1;
const MALFORMED = -2;

const ECHO_PORT = 7;
const HOPS = 64;
/** Neighbour discovery never crosses a router (RFC 4861 §7.1). */
const ND_HOPS = 255;
/** Byte offsets in a neighbour solicitation or advertisement (RFC 4861 §4.3, §4.4), and in its link-layer option (§4.6.1). */
const ND = { flags: 4, target: 8, size: 24, option: 24, optionMac: 26, full: 32 } as const;
const ND_FLAG = { solicited: 0x4000_0000, override: 0x2000_0000 } as const;
const ND_TARGET_LINK_LAYER = 0x0201; // option 2, of one unit of eight bytes
const ALL_NODES = Uint8Array.of(0xff, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1);
const ALL_NODES_MAC = Uint8Array.of(0x33, 0x33, 0, 0, 0, 1);
const UNSPECIFIED = new Uint8Array(16);

/** Answers the frame in place. Returns what it was, or a verdict; `lengths` holds its length, which may change. */
type Answer = (lengths: Int32Array, i: number, at: number) => number;

/**
 * Answers, takes or drops each frame. Counters: `arp`, `neighbor`, `ping` and `udp`, by what was answered; `icmp_error` are
 * messages that an answer did not arrive (whoever asked has closed his socket), which nothing follows from; dropped as
 * `filter` is what was for somebody else, asked for nothing, or does not fit one frame; as `malformed` what was cut off or
 * contradicts itself.
 *
 * Throws PlanError `BAD_APP_OPTION`, `NO_TX_QUEUE`.
 */
export const udpEcho: App<UdpEchoOptions> = (context) => {
  const { rx, tx, frames } = context;
  const answer = makeAnswer(context);
  const count = ANSWERS.map((name) => context.counter(name));
  const tally = new Int32Array(ANSWERS.length);
  const burst = frames.burst(context.burst);
  const taken = frames.burst(1);
  const [out] = tx;

  return () => {
    const n = rx.receive(burst);
    if (n === 0) return 0;
    const { offsets, lengths } = burst;
    let kept = 0;
    let goesOn = false;
    for (let i = 0; i < n; i = (i + 1) | 0) {
      const at = offsets[i];
      const isPart = goesOn || lengths[i] >= MORE;
      goesOn = lengths[i] >= MORE;
      const verdict = isPart ? NOT_OURS : answer(lengths, i, at);
      if (verdict < 0) {
        taken.offsets[0] = at;
        frames.drop(taken, 0, 1, verdict === MALFORMED ? DROP.malformed : DROP.filter);
        continue;
      }
      tally[verdict] = (tally[verdict] + 1) | 0;
      if (verdict === IS_ERROR) {
        taken.offsets[0] = at;
        frames.free(taken, 0, 1);
        continue;
      }
      offsets[kept] = at;
      lengths[kept] = lengths[i];
      kept = (kept + 1) | 0;
    }
    const sent = kept === 0 ? 0 : out.transmit(burst, 0, kept);
    if (sent < kept) frames.drop(burst, sent, kept, DROP.tx_full);
    for (let v = 0; v < tally.length; v = (v + 1) | 0) {
      if (tally[v] > 0) count[v](tally[v]);
      tally[v] = 0;
    }
    return n;
  };
};

/** By its short name, as every built-in application is found. */
export { udpEcho as 'udp-echo' };

function refuse(option: string, why: string, fix: string): PlanError {
  return new PlanError(
    'BAD_APP_OPTION',
    { what: `option "${option}" of udp-echo`, why, fix },
    { detail: { app: 'udp-echo', option } },
  );
}

function readAddresses({ addresses }: UdpEchoOptions): { v4: Int32Array; v6: Uint8Array[] } {
  const fix = 'give one or more, as ["192.0.2.1", "2001:db8::1"]';
  if (!Array.isArray(addresses) || addresses.length === 0) throw refuse('addresses', 'there are none', fix);
  const bytes = addresses.map((text) => {
    const address = addressBytes(String(text));
    if (address === undefined) throw refuse('addresses', `"${String(text)}" is not an IP address`, fix);
    return address;
  });
  const v4 = bytes.filter(({ length }) => length === 4).map((b) => new DataView(b.buffer).getInt32(0));
  return { v4: Int32Array.from(v4), v6: bytes.filter(({ length }) => length === 16) };
}

function makeAnswer({ frames, options, tx, txPorts }: AppContext<UdpEchoOptions>): Answer {
  checkOptions('udp-echo', options, ['addresses', 'port']);
  if (tx.length === 0) {
    throw new PlanError('NO_TX_QUEUE', { what: 'udp-echo', why: 'it has no port to answer by', fix: 'name one as tx' });
  }
  const port = wholeNumber('udp-echo', 'port', options.port, { min: 1, max: 65_535, absent: ECHO_PORT });
  const { v4, v6 } = readAddresses(options);
  const { mac } = txPorts[0] as PortFacts;
  const { u8, view } = frames;
  const answerArp = makeArp(frames, v4, mac);
  const answer4 = makeIpv4(frames, v4, mac, port);
  const answer6 = makeIpv6(frames, v6, mac, port);

  return (lengths, i, at) => {
    const length = lengths[i];
    const header = checkEthernet(view, at, length);
    if (header === 0) return MALFORMED;
    if (isGroupMac(u8, at + ETHERNET.source)) return MALFORMED;
    const type = etherType(view, at, header);
    const inside = (at + header) | 0;
    const rest = (length - header) | 0;
    if (type === ETHER_TYPE.arp) return answerArp(at, inside, rest);
    if (type === ETHER_TYPE.ipv4) return answer4(at, inside, rest);
    if (type !== ETHER_TYPE.ipv6) return NOT_OURS;
    const verdict = answer6(at, inside, rest);
    // An advertisement has an option that the solicitation need not have had.
    if (verdict === IS_NEIGHBOR) lengths[i] = (header + IPV6.size + ND.full) | 0;
    return verdict;
  };
}

/** Answers what is at `ip` (of `length` bytes), in the frame at `at`. */
type InnerAnswer = (at: number, ip: number, length: number) => number;
type Frames = AppContext['frames'];

/** Sends the frame back to where it came from. */
function returnTo(u8: Uint8Array, at: number, mac: Uint8Array): void {
  for (let i = 0; i < MAC_SIZE; i = (i + 1) | 0) u8[at + i] = u8[at + ETHERNET.source + i];
  putBytes(u8, at + ETHERNET.source, mac);
}

function makeArp({ u8, view }: Frames, addresses: Int32Array, mac: Uint8Array): InnerAnswer {
  return (at, arp, length) => {
    if (checkArp(view, arp, length) === 0) return MALFORMED;
    const wanted = arpTarget(view, arp);
    if (arpOperation(view, arp) !== ARP_OPERATION.request || !addresses.includes(wanted)) return NOT_OURS;
    const sender = arpSender(view, arp);
    for (let i = 0; i < MAC_SIZE; i = (i + 1) | 0) u8[arp + ARP.targetMac + i] = u8[arp + ARP.senderMac + i];
    setArpTarget(view, arp, sender);
    putBytes(u8, arp + ARP.senderMac, mac);
    setArpSender(view, arp, wanted);
    setArpHeader(view, arp, ARP_OPERATION.reply);
    returnTo(u8, at, mac);
    return IS_ARP;
  };
}

/** Turns ports around. The checksum stays right, or wrong, as it was: words only change places. */
function answerUdp(frames: Frames, udp: number, length: number, pseudo: number, port: number): number {
  const { view } = frames;
  if (checkUdp(view, udp, length) === 0) return MALFORMED;
  const source = udpSource(view, udp);
  // From an echo port to an echo port it would go on for ever.
  if (udpDestination(view, udp) !== port || source === port || source === 0) return NOT_OURS;
  setUdpSource(view, udp, port);
  setUdpDestination(view, udp, source);
  // Only the pseudo-header's sum: a kernel (of a veth's other end) left the rest to hardware that was not there.
  if (udpChecksum(view, udp) === fold(pseudo)) writeUdpChecksum(frames, udp, udpLength(view, udp), pseudo);
  return IS_UDP;
}

function answerEcho({ view }: Frames, icmp: number, reply: number): number {
  const from = icmpType(view, icmp) << 8;
  const check = icmpChecksum(view, icmp);
  setIcmpType(view, icmp, reply);
  view.setUint16(icmp + 2, update16(check, from, reply << 8));
  return IS_PING;
}

function makeIpv4(frames: Frames, addresses: Int32Array, mac: Uint8Array, port: number): InnerAnswer {
  const { u8, view } = frames;
  return (at, ip, length) => {
    const header = checkIpv4(view, ip, length);
    if (header === 0) return MALFORMED;
    const source = ipv4Source(view, ip);
    const destination = ipv4Destination(view, ip);
    if (!addresses.includes(destination) || addresses.includes(source) || !sameBytes(u8, at, mac)) return NOT_OURS;
    // Options could send the answer elsewhere (source routes); fragments are no whole packets.
    const fragment = ipv4Fragment(view, ip) & (IPV4_FRAGMENT.offset | IPV4_FRAGMENT.moreFragments);
    if (header !== 20 || fragment !== 0) return NOT_OURS;
    const inner = (ip + header) | 0;
    const rest = (ipv4TotalLength(view, ip) - header) | 0;
    const protocol = ipv4Protocol(view, ip);
    let verdict = NOT_OURS;
    if (protocol === IP_PROTOCOL.udp) {
      verdict = answerUdp(frames, inner, rest, ipv4PseudoSum(view, ip, rest), port);
    } else if (protocol === IP_PROTOCOL.icmp) {
      if (checkIcmp(view, inner, rest) === 0) return MALFORMED;
      if (isIcmpError(icmpType(view, inner))) return IS_ERROR;
      if (icmpType(view, inner) !== ICMP_TYPE.echoRequest || icmpCode(view, inner) !== 0) return NOT_OURS;
      verdict = answerEcho(frames, inner, ICMP_TYPE.echoReply);
    }
    if (verdict < 0) return verdict;
    setIpv4Source(view, ip, destination);
    setIpv4Destination(view, ip, source);
    setIpv4Ttl(view, ip, HOPS);
    writeIpv4Checksum(frames, ip, header);
    returnTo(u8, at, mac);
    return verdict;
  };
}

function isOneOf(u8: Uint8Array, at: number, addresses: readonly Uint8Array[]): boolean {
  for (let i = 0; i < addresses.length; i = (i + 1) | 0) if (sameBytes(u8, at, addresses[i])) return true;
  return false;
}

function makeIpv6(frames: Frames, addresses: readonly Uint8Array[], mac: Uint8Array, port: number): InnerAnswer {
  const { u8, view } = frames;
  const peer = new Uint8Array(16);
  const own = new Uint8Array(16);
  const answerNeighbor = makeNeighbor(frames, addresses, mac);

  return (at, ip, length) => {
    if (checkIpv6(view, ip, length) === 0) return MALFORMED;
    const inner = (ip + IPV6.size) | 0;
    const rest = ipv6PayloadLength(view, ip);
    const next = ipv6NextHeader(view, ip);
    if (next === IP_PROTOCOL.icmpv6) {
      if (checkIcmp(view, inner, rest) === 0) return MALFORMED;
      if (icmpType(view, inner) === ICMPV6_TYPE.neighborSolicitation) return answerNeighbor(at, ip, rest);
    }
    const ours = isOneOf(u8, ip + IPV6.destination, addresses) && sameBytes(u8, at, mac);
    if (!ours || u8[ip + IPV6.source] === 0xff || isOneOf(u8, ip + IPV6.source, addresses)) return NOT_OURS;
    let verdict = NOT_OURS;
    if (next === IP_PROTOCOL.udp) {
      const pseudo = ipv6PseudoSum(view, ip, IP_PROTOCOL.udp, rest);
      if (rest >= 8 && udpChecksum(view, inner) === 0) return MALFORMED; // RFC 8200 §8.1
      verdict = answerUdp(frames, inner, rest, pseudo, port);
    } else if (next === IP_PROTOCOL.icmpv6) {
      if (isIcmpv6Error(icmpType(view, inner))) return IS_ERROR;
      if (icmpType(view, inner) !== ICMPV6_TYPE.echoRequest || icmpCode(view, inner) !== 0) return NOT_OURS;
      verdict = answerEcho(frames, inner, ICMPV6_TYPE.echoReply);
    }
    if (verdict < 0) return verdict;
    getBytes(u8, ip + IPV6.source, peer);
    getBytes(u8, ip + IPV6.destination, own);
    putBytes(u8, ip + IPV6.source, own);
    putBytes(u8, ip + IPV6.destination, peer);
    setIpv6HopLimit(view, ip, HOPS);
    returnTo(u8, at, mac);
    return verdict;
  };
}

/** Turns a solicitation for one of the addresses into an advertisement (RFC 4861 §7.1.1, §7.2.4). */
function makeNeighbor(frames: Frames, addresses: readonly Uint8Array[], mac: Uint8Array): InnerAnswer {
  const { u8, view, i32 } = frames;
  const target = new Uint8Array(16);
  const peer = new Uint8Array(16);

  return (at, ip, length) => {
    const message = (ip + IPV6.size) | 0;
    if (length < ND.size || ipv6HopLimit(view, ip) !== ND_HOPS || icmpCode(view, message) !== 0) return MALFORMED;
    if (!checksumOk(i32, message, length, ipv6PseudoSum(view, ip, IP_PROTOCOL.icmpv6, length))) return MALFORMED;
    if (!isOneOf(u8, message + ND.target, addresses)) return NOT_OURS;
    getBytes(u8, message + ND.target, target);
    getBytes(u8, ip + IPV6.source, peer);
    // Somebody asks whether the address is free (RFC 4862 §5.4): the answer goes to all.
    const asksForItself = sameBytes(u8, ip + IPV6.source, UNSPECIFIED);
    returnTo(u8, at, mac);
    if (asksForItself) putBytes(u8, at, ALL_NODES_MAC);
    putBytes(u8, ip + IPV6.source, target);
    putBytes(u8, ip + IPV6.destination, asksForItself ? ALL_NODES : peer);
    setIpv6PayloadLength(view, ip, ND.full);
    setIcmpType(view, message, ICMPV6_TYPE.neighborAdvertisement);
    view.setInt32(message + ND.flags, ND_FLAG.override | (asksForItself ? 0 : ND_FLAG.solicited));
    view.setUint16(message + ND.option, ND_TARGET_LINK_LAYER);
    putBytes(u8, message + ND.optionMac, mac);
    writeIcmpChecksum(frames, message, ND.full, ipv6PseudoSum(view, ip, IP_PROTOCOL.icmpv6, ND.full));
    return IS_NEIGHBOR;
  };
}
