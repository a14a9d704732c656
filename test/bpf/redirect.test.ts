import { expect } from 'vitest';
import { parseMatch } from '../../lib/bpf/match.ts';
import { redirectProgram, XDP } from '../../lib/bpf/redirect.ts';
import { createXskMap, loadXdp } from '../../lib/bpf/syscalls.ts';
import { loadNative } from '../../native/index.ts';
import { testAsRoot } from '../fakes/netns.ts';
import { ethernet, ipv4, ipv6, udp } from '../fakes/packets.ts';

const TEST_RUN = 10;

/** Has the kernel run the program over a packet (BPF_PROG_TEST_RUN); returns its verdict. */
function verdict(code: (map: number) => Uint8Array, packet: Uint8Array): number {
  const native = loadNative();
  const map = createXskMap(native, 4);
  const program = loadXdp(native, code(map), { frags: false });
  try {
    const attr = new Uint8Array(80);
    const view = new DataView(attr.buffer);
    view.setUint32(0, program, true);
    view.setUint32(8, packet.length, true);
    view.setUint32(32, 1, true);
    native.bpf(TEST_RUN, attr, [[16, packet]]);
    return view.getUint32(4, true);
  } finally {
    native.close(program);
    native.close(map);
  }
}

/** What happens to a packet while no socket is there: ours are dropped (closed), the others pass. */
const isOurs = (match: string, packet: Uint8Array): boolean =>
  verdict((map) => redirectProgram(map, parseMatch(match), XDP.drop), packet) === XDP.drop;

const A4 = [192, 0, 2, 1];
const B4 = [192, 0, 2, 2];
const A6 = [0x20, 1, 0x0d, 0xb8, ...Array(11).fill(0), 1];
const B6 = [0x20, 1, 0x0d, 0xb8, ...Array(11).fill(0), 2];
const dns4 = ipv4({ source: B4, destination: A4, protocol: 17 }, udp(5353, 53));
const dns6 = ipv6({ source: B6, destination: A6, next: 17 }, udp(5353, 53));
/** A TCP header's ports are where UDP's are. */
const web4 = ipv4({ source: B4, destination: A4, protocol: 6 }, udp(5353, 80));
const web6 = ipv6({ source: B6, destination: A6, next: 6 }, udp(5353, 80));
const arpFor = (target: number[]) => [
  0,
  1,
  8,
  0,
  6,
  4,
  0,
  1,
  ...Array(6).fill(2),
  ...B4,
  ...Array(6).fill(0),
  ...target,
];
const solicit = (target: number[], type = 135) =>
  ipv6({ source: B6, destination: [0xff, 2, ...Array(14).fill(0)], next: 58 }, [type, 0, 0, 0, 0, 0, 0, 0, ...target]);

const cases: [string, string, Uint8Array, boolean][] = [
  ['udp/53', 'UDP over IPv4 to the port', ethernet(0x800, dns4), true],
  ['udp/53', 'UDP over IPv6 to the port', ethernet(0x86dd, dns6), true],
  ['udp/54', 'UDP to another port', ethernet(0x800, dns4), false],
  ['udp/54', 'UDP over IPv6 to another port', ethernet(0x86dd, dns6), false],
  ['udp/5353', 'UDP from the port', ethernet(0x800, dns4), false],
  ['udp/80', 'TCP to the port, not UDP', ethernet(0x800, web4), false],
  ['udp/80', 'TCP over IPv6 to the port, not UDP', ethernet(0x86dd, web6), false],
  ['tcp/80', 'TCP over IPv4 to the port', ethernet(0x800, web4), true],
  ['tcp/80', 'TCP over IPv6 to the port', ethernet(0x86dd, web6), true],
  ['udp/13568', 'a port whose bytes are the other way round', ethernet(0x800, dns4), false],
  [
    'udp/53',
    'behind IPv4 options',
    ethernet(0x800, ipv4({ source: B4, destination: A4, protocol: 17, options: 12 }, udp(5353, 53))),
    true,
  ],
  [
    'udp/53',
    'behind the longest IPv4 options',
    ethernet(0x800, ipv4({ source: B4, destination: A4, protocol: 17, options: 40 }, udp(5353, 53))),
    true,
  ],
  [
    'udp/53',
    'the first fragment',
    ethernet(0x800, ipv4({ source: B4, destination: A4, protocol: 17, fragment: 0x2000 }, udp(5353, 53))),
    true,
  ],
  [
    'udp/53',
    'a later fragment, whose bytes only look like ports',
    ethernet(0x800, ipv4({ source: B4, destination: A4, protocol: 17, fragment: 0x2010 }, udp(5353, 53))),
    false,
  ],
  [
    'udp/53',
    'the last fragment',
    ethernet(0x800, ipv4({ source: B4, destination: A4, protocol: 17, fragment: 0x0010 }, udp(5353, 53))),
    false,
  ],
  ['udp/53', 'cut off before the ports', ethernet(0x800, dns4).slice(0, 14 + 20 + 3), false],
  ['udp/53', 'cut off before the ports, IPv6', ethernet(0x86dd, dns6).slice(0, 14 + 43), false],
  ['udp/53', 'cut off in the IP header', ethernet(0x800, dns4).slice(0, 14 + 10), false],
  ['udp/53', 'only an Ethernet header', ethernet(0x800, []), false],
  ['udp/53', 'in a VLAN', ethernet(0x8100, [0, 5, 8, 0, ...dns4]), true],
  ['udp/53', 'in a service VLAN', ethernet(0x88a8, [0, 5, 8, 0, ...dns4]), true],
  [
    'udp/53',
    'in two VLANs: one tag is all that is looked behind',
    ethernet(0x88a8, [0, 5, 0x81, 0, 0, 6, 8, 0, ...dns4]),
    false,
  ],
  ['vlan/5', 'the VLAN', ethernet(0x8100, [0, 5, 8, 0, ...dns4]), true],
  ['vlan/5', 'the VLAN, with a priority', ethernet(0x8100, [0xf0, 5, 8, 0, ...dns4]), true],
  ['vlan/5', 'another VLAN', ethernet(0x8100, [0, 6, 8, 0, ...dns4]), false],
  ['vlan/5', 'the VLAN as a service VLAN', ethernet(0x88a8, [0, 5, 0x81, 0, 0, 9, 8, 0, ...dns4]), true],
  ['vlan/5', 'no VLAN', ethernet(0x800, dns4), false],
  ['vlan/5', 'a tag that is cut off', ethernet(0x8100, [0, 5]), false],
  ['ether/0x88cc', 'the ethertype', ethernet(0x88cc, Array(46).fill(0)), true],
  ['ether/0x88cc', 'the ethertype in a VLAN', ethernet(0x8100, [0, 5, 0x88, 0xcc, ...Array(46).fill(0)]), true],
  ['ether/0x8100', 'any VLAN', ethernet(0x8100, [0, 7, 8, 0, ...dns4]), true],
  ['ether/0x88cc', 'another ethertype', ethernet(0x800, dns4), false],
  ['host/192.0.2.1', 'to the host', ethernet(0x800, dns4), true],
  ['host/192.0.2.2', 'from the host', ethernet(0x800, dns4), false],
  ['host/192.0.2.1', 'ARP for the host', ethernet(0x806, arpFor(A4)), true],
  ['host/192.0.2.1', 'ARP for another', ethernet(0x806, arpFor(B4)), false],
  ['host/192.0.2.1', 'ARP cut off', ethernet(0x806, arpFor(A4)).slice(0, 14 + 27), false],
  ['host/2001:db8::1', 'to the host', ethernet(0x86dd, dns6), true],
  ['host/2001:db8::2', 'from the host', ethernet(0x86dd, dns6), false],
  ['host/2001:db8::1', 'a solicitation for the host', ethernet(0x86dd, solicit(A6)), true],
  ['host/2001:db8::1', 'a solicitation for another', ethernet(0x86dd, solicit(B6)), false],
  ['host/2001:db8::1', 'an advertisement of the host', ethernet(0x86dd, solicit(A6, 136)), false],
  ['host/2001:db8::1', 'a solicitation cut off', ethernet(0x86dd, solicit(A6)).slice(0, 14 + 63), false],
  ['host/192.0.2.1', 'IPv6 for a host of IPv4', ethernet(0x86dd, dns6), false],
  ['tcp/443+udp/53+vlan/9', 'the second of three terms', ethernet(0x800, dns4), true],
  ['tcp/443+udp/53+vlan/9', 'the last of three terms', ethernet(0x8100, [0, 9, 8, 0, ...web4]), true],
  ['tcp/443+udp/53+vlan/9', 'none of three terms', ethernet(0x800, web4), false],
  [
    Array.from({ length: 16 }, (_, i) => `host/2001:db8::${(17 - i).toString(16)}`).join('+'),
    'the last of sixteen',
    ethernet(0x86dd, solicit(B6)),
    true,
  ],
];

for (const [match, what, packet, ours] of cases) {
  testAsRoot(`match=${match.slice(0, 40)} ${ours ? 'takes' : 'leaves to the kernel'} ${what}`, () => {
    expect(isOurs(match, packet)).toBe(ours);
  });
}

testAsRoot('Without a match every packet is taken', () => {
  for (const otherwise of [XDP.drop, XDP.pass]) {
    expect(verdict((map) => redirectProgram(map, [], otherwise), ethernet(0x88cc, Array(46).fill(0)))).toBe(otherwise);
  }
});

testAsRoot('What matches passes while no socket is there, unless closed', () => {
  const packet = ethernet(0x800, dns4);
  expect(verdict((map) => redirectProgram(map, parseMatch('udp/53'), XDP.pass), packet)).toBe(XDP.pass);
  expect(verdict((map) => redirectProgram(map, parseMatch('udp/53'), XDP.drop), packet)).toBe(XDP.drop);
});

testAsRoot("A program that the kernel refuses is an error with the verifier's words", () => {
  const native = loadNative();
  const endless = new Uint8Array(8); // opcode 0
  expect(() => loadXdp(native, endless, { frags: false })).toThrow(
    expect.objectContaining({
      code: 'BPF_PROGRAM',
      message: expect.stringMatching(/the kernel says ".*(unknown opcode|last insn).*"/),
      detail: { syscall: 'bpf', errno: 'EINVAL' },
    }),
  );
});
