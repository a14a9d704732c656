/** The field tables, written down a second time: sizes in the order of the specification, offsets by adding up. */
import { expect, test } from 'vitest';
import { ARP } from '../../lib/wire/arp.ts';
import { ETHERNET, VLAN } from '../../lib/wire/ethernet.ts';
import { ICMP } from '../../lib/wire/icmp.ts';
import { IPV4 } from '../../lib/wire/ipv4.ts';
import { IPV6 } from '../../lib/wire/ipv6.ts';
import { PROBE } from '../../lib/wire/probe.ts';
import { TCP } from '../../lib/wire/tcp.ts';
import { UDP } from '../../lib/wire/udp.ts';

type Sizes = readonly (readonly [name: string, bytes: number])[];

/** The table that fields of these sizes, one after the other, make. */
function add(sizes: Sizes): Record<string, number> {
  const table: Record<string, number> = {};
  let offset = 0;
  for (const [name, bytes] of sizes) {
    table[name] = offset;
    offset += bytes;
  }
  return { ...table, size: offset };
}

const cases: readonly (readonly [string, Readonly<Record<string, number>>, Sizes])[] = [
  [
    'Ethernet (IEEE 802.3 §3.1.1)',
    ETHERNET,
    [
      ['destination', 6],
      ['source', 6],
      ['type', 2],
    ],
  ],
  [
    'VLAN tag (IEEE 802.1Q §9.5)',
    VLAN,
    [
      ['protocol', 2],
      ['control', 2],
    ],
  ],
  [
    'ARP (RFC 826, "Packet format", with 6 and 4 bytes of address)',
    ARP,
    [
      ['hardwareType', 2],
      ['protocolType', 2],
      ['hardwareLength', 1],
      ['protocolLength', 1],
      ['operation', 2],
      ['senderMac', 6],
      ['senderAddress', 4],
      ['targetMac', 6],
      ['targetAddress', 4],
    ],
  ],
  [
    'IPv4 (RFC 791 §3.1)',
    IPV4,
    [
      ['versionLength', 1],
      ['trafficClass', 1],
      ['totalLength', 2],
      ['identification', 2],
      ['fragment', 2],
      ['ttl', 1],
      ['protocol', 1],
      ['checksum', 2],
      ['source', 4],
      ['destination', 4],
    ],
  ],
  [
    'IPv6 (RFC 8200 §3)',
    IPV6,
    [
      ['versionClassLabel', 4],
      ['payloadLength', 2],
      ['nextHeader', 1],
      ['hopLimit', 1],
      ['source', 16],
      ['destination', 16],
    ],
  ],
  [
    'UDP (RFC 768)',
    UDP,
    [
      ['source', 2],
      ['destination', 2],
      ['length', 2],
      ['checksum', 2],
    ],
  ],
  [
    'TCP (RFC 9293 §3.1)',
    TCP,
    [
      ['source', 2],
      ['destination', 2],
      ['sequence', 4],
      ['acknowledgment', 4],
      ['offset', 1],
      ['flags', 1],
      ['window', 2],
      ['checksum', 2],
      ['urgent', 2],
    ],
  ],
  [
    'ICMP echo (RFC 792 p. 14)',
    ICMP,
    [
      ['type', 1],
      ['code', 1],
      ['checksum', 2],
      ['identifier', 2],
      ['sequence', 2],
    ],
  ],
  [
    'probe (lib/wire/probe.ts)',
    PROBE,
    [
      ['magic', 4],
      ['flow', 2],
      ['length', 2],
      ['tx', 2],
      ['sequenceHigh', 4],
      ['sequence', 4],
    ],
  ],
];

test.each(cases)('the table of %s has the specified sizes in the specified order', (_name, table, sizes) => {
  expect(table).toEqual(add(sizes));
});
