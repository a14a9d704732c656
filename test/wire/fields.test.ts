/** Every accessor pair: it reads and writes the bits that the specification says, and no others. */
import { fc } from '@fast-check/vitest';
import { describe, expect, test } from 'vitest';
import * as arp from '../../lib/wire/arp.ts';
import * as ethernet from '../../lib/wire/ethernet.ts';
import * as icmp from '../../lib/wire/icmp.ts';
import * as ipv4 from '../../lib/wire/ipv4.ts';
import * as ipv6 from '../../lib/wire/ipv6.ts';
import * as tcp from '../../lib/wire/tcp.ts';
import * as udp from '../../lib/wire/udp.ts';

type Get = (view: DataView, at: number) => number;
type Set = (view: DataView, at: number, value: number) => void;

/** A field: the bit at which it starts, counted as the RFCs do (0 is the first on the wire), and its width. */
type Field = readonly [name: string, bit: number, bits: number, get: Get, set: Set | null];

const fields: readonly Field[] = [
  ['Ethernet type', 96, 16, (v, at) => ethernet.etherType(v, at, 14), ethernet.setEtherType],
  ['VLAN priority', 16, 3, ethernet.vlanPriority, null],
  ['VLAN drop eligible', 19, 1, ethernet.vlanDropEligible, null],
  ['VLAN id', 20, 12, ethernet.vlanId, null],
  ['ARP operation', 48, 16, arp.arpOperation, null],
  ['ARP sender', 112, 32, arp.arpSender, arp.setArpSender],
  ['ARP target', 192, 32, arp.arpTarget, arp.setArpTarget],
  ['IPv4 traffic class', 8, 8, ipv4.ipv4TrafficClass, ipv4.setIpv4TrafficClass],
  ['IPv4 total length', 16, 16, ipv4.ipv4TotalLength, ipv4.setIpv4TotalLength],
  ['IPv4 identification', 32, 16, ipv4.ipv4Identification, ipv4.setIpv4Identification],
  ['IPv4 fragment', 48, 16, ipv4.ipv4Fragment, ipv4.setIpv4Fragment],
  ['IPv4 ttl', 64, 8, ipv4.ipv4Ttl, ipv4.setIpv4Ttl],
  ['IPv4 protocol', 72, 8, ipv4.ipv4Protocol, ipv4.setIpv4Protocol],
  ['IPv4 checksum', 80, 16, ipv4.ipv4Checksum, ipv4.setIpv4Checksum],
  ['IPv4 source', 96, 32, ipv4.ipv4Source, ipv4.setIpv4Source],
  ['IPv4 destination', 128, 32, ipv4.ipv4Destination, ipv4.setIpv4Destination],
  ['IPv6 traffic class', 4, 8, ipv6.ipv6TrafficClass, null],
  ['IPv6 flow label', 12, 20, ipv6.ipv6FlowLabel, null],
  ['IPv6 payload length', 32, 16, ipv6.ipv6PayloadLength, ipv6.setIpv6PayloadLength],
  ['IPv6 next header', 48, 8, ipv6.ipv6NextHeader, ipv6.setIpv6NextHeader],
  ['IPv6 hop limit', 56, 8, ipv6.ipv6HopLimit, ipv6.setIpv6HopLimit],
  ['UDP source', 0, 16, udp.udpSource, udp.setUdpSource],
  ['UDP destination', 16, 16, udp.udpDestination, udp.setUdpDestination],
  ['UDP length', 32, 16, udp.udpLength, udp.setUdpLength],
  ['UDP checksum', 48, 16, udp.udpChecksum, udp.setUdpChecksum],
  ['TCP source', 0, 16, tcp.tcpSource, tcp.setTcpSource],
  ['TCP destination', 16, 16, tcp.tcpDestination, tcp.setTcpDestination],
  ['TCP sequence', 32, 32, tcp.tcpSequence, tcp.setTcpSequence],
  ['TCP acknowledgment', 64, 32, tcp.tcpAcknowledgment, tcp.setTcpAcknowledgment],
  ['TCP flags', 104, 8, tcp.tcpFlags, tcp.setTcpFlags],
  ['TCP window', 112, 16, tcp.tcpWindow, tcp.setTcpWindow],
  ['TCP checksum', 128, 16, tcp.tcpChecksum, null],
  ['TCP urgent', 144, 16, tcp.tcpUrgent, tcp.setTcpUrgent],
  ['ICMP type', 0, 8, icmp.icmpType, icmp.setIcmpType],
  ['ICMP code', 8, 8, icmp.icmpCode, icmp.setIcmpCode],
  ['ICMP checksum', 16, 16, icmp.icmpChecksum, null],
  ['ICMP identifier', 32, 16, icmp.icmpIdentifier, icmp.setIcmpIdentifier],
  ['ICMP sequence', 48, 16, icmp.icmpSequence, icmp.setIcmpSequence],
];

/** The memory as one string of bits: the reference knows nothing of bytes. */
const bitsOf = (u8: Uint8Array): string => Array.from(u8, (byte) => byte.toString(2).padStart(8, '0')).join('');

const memory = fc.uint8Array({ minLength: 48, maxLength: 48 });
const at = fc.integer({ min: 0, max: 12 });

describe.each(fields)('%s', (_name, bit, bits, get, set) => {
  test('is read from its bits', () => {
    fc.assert(
      fc.property(memory, at, (u8, start) => {
        const from = start * 8 + bit;
        const expected = Number.parseInt(bitsOf(u8).slice(from, from + bits), 2);
        expect(get(new DataView(u8.buffer), start)).toBe(bits === 32 ? expected | 0 : expected);
      }),
    );
  });

  if (set === null) return; // written together with its neighbours, or computed
  test('is written to its bits and no others', () => {
    fc.assert(
      fc.property(memory, at, fc.nat({ max: 2 ** bits - 1 }), (u8, start, value) => {
        const from = start * 8 + bit;
        const before = bitsOf(u8);
        set(new DataView(u8.buffer), start, bits === 32 ? value | 0 : value);
        const written = value.toString(2).padStart(bits, '0');
        expect(bitsOf(u8)).toBe(before.slice(0, from) + written + before.slice(from + bits));
      }),
    );
  });
});

describe('fields that are written together', () => {
  const view = () => new DataView(new ArrayBuffer(48));

  test('setVlan writes protocol, priority, drop eligible and id', () => {
    const v = view();
    ethernet.setVlan(v, 12, ethernet.ETHER_TYPE.vlan, ethernet.vlanControl(0xabc, 5, 1));
    expect(v.getUint32(12)).toBe(0x8100_babc);
    expect(ethernet.vlanControl(7)).toBe(7);
    expect(ethernet.vlanControl(0xf_ffff, 0xff, 0xff)).toBe(0xffff);
  });

  test('setIpv4Header writes version 4 and the length in words', () => {
    const v = view();
    ipv4.setIpv4Header(v, 0, 20);
    ipv4.setIpv4Header(v, 1, 60);
    expect([v.getUint8(0), v.getUint8(1)]).toEqual([0x45, 0x4f]);
  });

  test('setIpv6Header writes version 6, traffic class and flow label', () => {
    const v = view();
    ipv6.setIpv6Header(v, 0, 0xb8, 0x12345);
    expect(v.getUint32(0)).toBe(0x6b81_2345);
    ipv6.setIpv6Header(v, 0, 0x1ff, 0xfff_ffff);
    expect(v.getUint32(0)).toBe(0x6fff_ffff);
  });

  test('setTcpHeader writes the data offset in words', () => {
    const v = view();
    tcp.setTcpHeader(v, 0, 60);
    expect(v.getUint8(12)).toBe(0xf0);
  });

  test('setArpHeader writes what RFC 826 gives for IPv4 over Ethernet', () => {
    const v = view();
    arp.setArpHeader(v, 0, arp.ARP_OPERATION.reply);
    expect([v.getUint16(0), v.getUint16(2), v.getUint8(4), v.getUint8(5), v.getUint16(6)]).toEqual([1, 0x800, 6, 4, 2]);
  });
});
