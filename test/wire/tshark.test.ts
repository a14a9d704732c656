/** Packets built with the accessors, read back by tshark: fields and checksums. */
import { describe, expect, test } from 'vitest';
import { ARP, ARP_OPERATION, setArpHeader, setArpSender, setArpTarget } from '../../lib/wire/arp.ts';
import { putBytes } from '../../lib/wire/bytes.ts';
import { ETHER_TYPE, ETHERNET, setEtherType, setVlan, vlanControl } from '../../lib/wire/ethernet.ts';
import {
  ICMP_TYPE,
  ICMPV6_TYPE,
  setIcmpCode,
  setIcmpIdentifier,
  setIcmpSequence,
  setIcmpType,
  writeIcmpChecksum,
} from '../../lib/wire/icmp.ts';
import * as ipv4 from '../../lib/wire/ipv4.ts';
import * as ipv6 from '../../lib/wire/ipv6.ts';
import { parseMac } from '../../lib/wire/mac.ts';
import * as tcp from '../../lib/wire/tcp.ts';
import * as udp from '../../lib/wire/udp.ts';
import { dissect, noTshark } from './tshark.ts';

const FROM = parseMac('02:00:00:00:00:01');
const TO = parseMac('02:00:00:00:00:02');
const protocol = ipv4.IP_PROTOCOL;
const GOOD = '1'; // tshark: 0 bad, 1 good, 2 unverified, 3 not present

/** A frame under construction. */
interface Draft {
  readonly u8: Uint8Array;
  readonly view: DataView;
  readonly i32: Int32Array;
}

function draft(size: number, type: number): Draft {
  const buffer = new ArrayBuffer((size + 3) & ~3);
  const made = { u8: new Uint8Array(buffer, 0, size), view: new DataView(buffer), i32: new Int32Array(buffer) };
  putBytes(made.u8, ETHERNET.destination, TO);
  putBytes(made.u8, ETHERNET.source, FROM);
  setEtherType(made.view, 0, type);
  // A payload that is not all zeros, of odd length where `size` is odd.
  for (let i = 34; i < size; i++) made.u8[i] = (i * 37) & 0xff;
  return made;
}

function ip4(size: number, of: number): Draft {
  const made = draft(size, ETHER_TYPE.ipv4);
  const { view } = made;
  ipv4.setIpv4Header(view, 14, 20);
  ipv4.setIpv4TrafficClass(view, 14, 0xb8);
  ipv4.setIpv4TotalLength(view, 14, size - 14);
  ipv4.setIpv4Identification(view, 14, 0x1234);
  ipv4.setIpv4Fragment(view, 14, ipv4.IPV4_FRAGMENT.dontFragment);
  ipv4.setIpv4Ttl(view, 14, 63);
  ipv4.setIpv4Protocol(view, 14, of);
  ipv4.setIpv4Source(view, 14, 0xc0a8_0001);
  ipv4.setIpv4Destination(view, 14, 0xc0a8_00fe);
  ipv4.writeIpv4Checksum(made, 14, 20);
  return made;
}

function ip6(size: number, of: number): Draft {
  const made = draft(size, ETHER_TYPE.ipv6);
  const { view, u8 } = made;
  ipv6.setIpv6Header(view, 14, 0xb8, 0xabcde);
  ipv6.setIpv6PayloadLength(view, 14, size - 54);
  ipv6.setIpv6NextHeader(view, 14, of);
  ipv6.setIpv6HopLimit(view, 14, 64);
  putBytes(u8, 14 + ipv6.IPV6.source, Uint8Array.of(0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1));
  putBytes(u8, 14 + ipv6.IPV6.destination, Uint8Array.of(0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2));
  return made;
}

function fillUdp(made: Draft, at: number, pseudo: number): void {
  const length = made.u8.length - at;
  udp.setUdpSource(made.view, at, 50_000);
  udp.setUdpDestination(made.view, at, 50_001);
  udp.setUdpLength(made.view, at, length);
  udp.writeUdpChecksum(made, at, length, pseudo);
}

function fillTcp(made: Draft, at: number, pseudo: number): void {
  const { view } = made;
  tcp.setTcpSource(view, at, 50_000);
  tcp.setTcpDestination(view, at, 50_001);
  tcp.setTcpSequence(view, at, 0xfedc_ba98 | 0);
  tcp.setTcpAcknowledgment(view, at, 0x8000_0001 | 0);
  tcp.setTcpHeader(view, at, 20);
  tcp.setTcpFlags(view, at, tcp.TCP_FLAG.ACK | tcp.TCP_FLAG.PSH);
  tcp.setTcpWindow(view, at, 4321);
  tcp.setTcpUrgent(view, at, 0);
  tcp.writeTcpChecksum(made, at, made.u8.length - at, pseudo);
}

function fillEcho(made: Draft, at: number, type: number, pseudo: number): void {
  setIcmpType(made.view, at, type);
  setIcmpCode(made.view, at, 0);
  setIcmpIdentifier(made.view, at, 0xbeef);
  setIcmpSequence(made.view, at, 7);
  writeIcmpChecksum(made, at, made.u8.length - at, pseudo);
}

const pseudo4 = (made: Draft) => ipv4.ipv4PseudoSum(made.view, 14, made.u8.length - 34);
const pseudo6 = (made: Draft, of: number) => ipv6.ipv6PseudoSum(made.view, 14, of, made.u8.length - 54);
const sizes = [62, 63, 64, 65, 1000, 1514];

describe.skipIf(noTshark !== undefined)(
  `tshark agrees${noTshark === undefined ? '' : `: skipped, ${noTshark}`}`,
  () => {
    test('about Ethernet and IPv4 fields and the header checksum', () => {
      const [row] = dissect(
        [ip4(60, protocol.udp).u8],
        [
          'eth.src',
          'eth.dst',
          'ip.dsfield',
          'ip.len',
          'ip.id',
          'ip.flags.df',
          'ip.ttl',
          'ip.proto',
          'ip.src',
          'ip.dst',
          'ip.checksum.status',
        ],
      );
      expect(row).toEqual([
        '02:00:00:00:00:01',
        '02:00:00:00:00:02',
        '0xb8',
        '46',
        '0x1234',
        '1',
        '63',
        '17',
        '192.168.0.1',
        '192.168.0.254',
        GOOD,
      ]);
    });

    test('about UDP over IPv4, of even and odd lengths', () => {
      const frames = sizes.map((size) => {
        const made = ip4(size, protocol.udp);
        fillUdp(made, 34, pseudo4(made));
        return made.u8;
      });
      const rows = dissect(frames, ['udp.srcport', 'udp.dstport', 'udp.length', 'udp.checksum.status']);
      expect(rows).toEqual(sizes.map((size) => ['50000', '50001', String(size - 34), GOOD]));
    });

    test('about a UDP checksum that would be zero and is sent as 0xffff', () => {
      const made = ip4(60, protocol.udp);
      fillUdp(made, 34, pseudo4(made));
      // Makes the rest add up to 0xffff, by giving the checksum's value to a word of the payload.
      made.view.setUint16(50, 0);
      fillUdp(made, 34, pseudo4(made));
      made.view.setUint16(50, udp.udpChecksum(made.view, 34));
      fillUdp(made, 34, pseudo4(made));
      expect(udp.udpChecksum(made.view, 34)).toBe(0xffff);
      expect(dissect([made.u8], ['udp.checksum.status'])).toEqual([[GOOD]]);
    });

    test('about UDP over IPv6, and the IPv6 fields', () => {
      const frames = sizes.map((size) => {
        const made = ip6(size, protocol.udp);
        fillUdp(made, 54, pseudo6(made, protocol.udp));
        return made.u8;
      });
      const fields = [
        'ipv6.tclass',
        'ipv6.flow',
        'ipv6.plen',
        'ipv6.nxt',
        'ipv6.hlim',
        'ipv6.src',
        'ipv6.dst',
        'udp.checksum.status',
      ];
      const rows = dissect(frames, fields);
      expect(rows.map(([c, flow, ...rest]) => [Number(c), Number(flow), ...rest])).toEqual(
        sizes.map((size) => [0xb8, 0xabcde, String(size - 54), '17', '64', '2001:db8::1', '2001:db8::2', GOOD]),
      );
    });

    test('about TCP over IPv4 and IPv6', () => {
      const frames = [
        ...sizes
          .map((s) => s + 20)
          .map((size) => {
            const made = ip4(size, protocol.tcp);
            fillTcp(made, 34, pseudo4(made));
            return made.u8;
          }),
        ...sizes
          .map((s) => s + 20)
          .map((size) => {
            const made = ip6(size, protocol.tcp);
            fillTcp(made, 54, pseudo6(made, protocol.tcp));
            return made.u8;
          }),
      ];
      const fields = [
        'tcp.srcport',
        'tcp.dstport',
        'tcp.seq_raw',
        'tcp.ack_raw',
        'tcp.hdr_len',
        'tcp.flags',
        'tcp.window_size_value',
        'tcp.checksum.status',
      ];
      const expected = ['50000', '50001', String(0xfedc_ba98), String(0x8000_0001), '20', '0x0018', '4321', GOOD];
      expect(dissect(frames, fields)).toEqual(frames.map(() => expected));
    });

    test('about ICMP and ICMPv6 echo requests', () => {
      const four = ip4(75, protocol.icmp);
      fillEcho(four, 34, ICMP_TYPE.echoRequest, 0);
      const six = ip6(95, protocol.icmpv6);
      fillEcho(six, 54, ICMPV6_TYPE.echoRequest, pseudo6(six, protocol.icmpv6));
      expect(
        dissect([four.u8], ['icmp.type', 'icmp.code', 'icmp.ident', 'icmp.seq', 'icmp.checksum.status'])[0]?.map(
          (v) => v.split(',')[0],
        ),
      ).toEqual(['8', '0', String(0xbeef), '7', GOOD]);
      expect(
        dissect(
          [six.u8],
          [
            'icmpv6.type',
            'icmpv6.code',
            'icmpv6.echo.identifier',
            'icmpv6.echo.sequence_number',
            'icmpv6.checksum.status',
          ],
        ),
      ).toEqual([['128', '0', '0xbeef', '7', GOOD]]);
    });

    test('about ARP', () => {
      const made = draft(60, ETHER_TYPE.arp);
      setArpHeader(made.view, 14, ARP_OPERATION.request);
      putBytes(made.u8, 14 + ARP.senderMac, FROM);
      putBytes(made.u8, 14 + ARP.targetMac, TO);
      setArpSender(made.view, 14, 0x0a00_0001);
      setArpTarget(made.view, 14, 0x0a00_0002);
      const fields = [
        'arp.hw.type',
        'arp.proto.type',
        'arp.opcode',
        'arp.src.hw_mac',
        'arp.src.proto_ipv4',
        'arp.dst.hw_mac',
        'arp.dst.proto_ipv4',
      ];
      expect(dissect([made.u8], fields)).toEqual([
        ['1', '0x0800', '1', '02:00:00:00:00:01', '10.0.0.1', '02:00:00:00:00:02', '10.0.0.2'],
      ]);
    });

    test('about VLAN tags, single and double', () => {
      const inner = ip4(60, protocol.udp).u8;
      const tag = (frame: Uint8Array, ether: number, control: number): Uint8Array => {
        const tagged = new Uint8Array(frame.length + 4);
        tagged.set(frame.subarray(0, 12));
        tagged.set(frame.subarray(12), 16);
        setVlan(new DataView(tagged.buffer), 12, ether, control);
        return tagged;
      };
      const single = tag(inner, ETHER_TYPE.vlan, vlanControl(123, 5, 1));
      const double = tag(single, ETHER_TYPE.serviceVlan, vlanControl(4000, 1));
      const outer = ['ieee8021ad.id', 'ieee8021ad.priority', 'ieee8021ad.dei'];
      const rows = dissect([single, double], [...outer, 'vlan.id', 'vlan.priority', 'vlan.dei', 'ip.src']);
      expect(rows).toEqual([
        ['', '', '', '123', '5', '1', '192.168.0.1'],
        ['4000', '1', '0', '123', '5', '1', '192.168.0.1'],
      ]);
    });

    test('and calls a wrong checksum bad: the oracle can fail', () => {
      const made = ip4(60, protocol.udp);
      fillUdp(made, 34, pseudo4(made));
      made.u8[59]! ^= 1;
      made.u8[22]! ^= 1;
      expect(dissect([made.u8], ['ip.checksum.status', 'udp.checksum.status'])).toEqual([['0', '0']]);
    });
  },
);
