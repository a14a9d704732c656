import { fc, test as property } from '@fast-check/vitest';
import { describe, expect, test } from 'vitest';
import { DROP, MORE } from '../../lib/queue.ts';
import { type UdpEchoOptions, udpEcho } from '../../workers/apps/udp-echo.ts';
import { ethernet, ipv4, ipv6, udp } from '../fakes/packets.ts';
import { fakeContext, fakeFrames, fakePort, fakeRing } from '../fakes/queues.ts';

const OUR_MAC = [2, 0, 0, 0, 0, 1];
const THEIR_MAC = [2, 0, 0, 0, 0, 2];
const OUR4 = [192, 0, 2, 1];
const THEIR4 = [192, 0, 2, 2];
const OUR6 = [0x20, 1, 0x0d, 0xb8, ...Array(11).fill(0), 1];
const THEIR6 = [0x20, 1, 0x0d, 0xb8, ...Array(11).fill(0), 2];
const ADDRESSES = ['192.0.2.1', '2001:db8::1'];

/** The Internet checksum, slowly, from RFC 1071. */
function sum(bytes: readonly number[]): number {
  let total = 0;
  for (let i = 0; i < bytes.length; i += 2) total += (bytes[i]! << 8) | (bytes[i + 1] ?? 0);
  while (total > 0xffff) total = (total & 0xffff) + (total >>> 16);
  return total;
}

const put16 = (bytes: number[], at: number, value: number): number[] => {
  const copy = [...bytes];
  copy[at] = value >> 8;
  copy[at + 1] = value & 0xff;
  return copy;
};
const pseudo = (source: number[], destination: number[], protocol: number, length: number): number[] => [
  ...source,
  ...destination,
  0,
  protocol,
  length >> 8,
  length & 0xff,
];
/** Fills in the checksum at `at` of an upper-layer message. */
function summed(message: number[], at: number, header: number[]): number[] {
  return put16(message, at, ~sum([...header, ...put16(message, at, 0)]) & 0xffff);
}
const ip4 = (protocol: number, payload: number[], more: Partial<Parameters<typeof ipv4>[0]> = {}): number[] => {
  const packet = ipv4({ source: THEIR4, destination: OUR4, protocol, ...more }, payload);
  const header = 20 + (more.options ?? 0);
  return put16(packet, 10, ~sum(packet.slice(0, header)) & 0xffff);
};
const ip6 = (next: number, payload: number[], source = THEIR6, destination = OUR6): number[] =>
  ipv6({ source, destination, next }, payload);
const udp4 = (from: number, to: number) => summed(udp(from, to), 6, pseudo(THEIR4, OUR4, 17, 12));
const udp6 = (from: number, to: number) => summed(udp(from, to), 6, pseudo(THEIR6, OUR6, 17, 12));
const arp = (operation: number, target: number[]): number[] => [
  0,
  1,
  8,
  0,
  6,
  4,
  0,
  operation,
  ...THEIR_MAC,
  ...THEIR4,
  0,
  0,
  0,
  0,
  0,
  0,
  ...target,
];
const ping = (type: number, header: number[] = []) => summed([type, 0, 0, 0, 0x12, 0x34, 0, 1, 0xaa, 0xbb], 2, header);
const solicit = (target: number[], source = THEIR6, option = [1, 1, ...THEIR_MAC]): number[] => {
  const destination = [0xff, 2, ...Array(9).fill(0), 1, 0xff, ...target.slice(13)];
  const message = [135, 0, 0, 0, 0, 0, 0, 0, ...target, ...option];
  return ip6(58, summed(message, 2, pseudo(source, destination, 58, message.length)), source, destination);
};
const toUs = (type: number, payload: readonly number[]): Uint8Array => {
  const frame = ethernet(type, payload);
  frame.set(OUR_MAC, 0);
  frame.set(THEIR_MAC, 6);
  return frame;
};

/** A host with these options; `ask` gives it a frame and returns its answer. */
function host(options: UdpEchoOptions = { addresses: ADDRESSES }) {
  const frames = fakeFrames(64);
  const [wire, back] = [fakeRing(frames), fakeRing(frames)];
  const context = fakeContext(options, { frames, rx: wire.rx, tx: [back.tx], txPorts: [fakePort(1)] });
  const poll = udpEcho(context);
  const ask = (frame: Uint8Array): Uint8Array | undefined => {
    wire.insert(frame, wire.wire.length);
    expect(poll()).toBe(1);
    if (back.wire.length === 0) return undefined;
    const answer = back.bytes(0);
    back.lose(0);
    return answer;
  };
  return { frames, wire, back, context, poll, ask };
}

test('ARP for its address is answered', () => {
  const { ask, context } = host();
  const answer = ask(ethernet(0x806, arp(1, OUR4)))!;
  expect([...answer]).toEqual([
    ...THEIR_MAC,
    ...OUR_MAC,
    8,
    6,
    0,
    1,
    8,
    0,
    6,
    4,
    0,
    2,
    ...OUR_MAC,
    ...OUR4,
    ...THEIR_MAC,
    ...THEIR4,
  ]);
  expect(context.counters).toEqual({ arp: 1, neighbor: 0, ping: 0, udp: 0, icmp_error: 0 });
});

test('Ping is answered, with checksums that are right', () => {
  const { ask, context } = host();
  const answer = ask(toUs(0x800, ip4(1, ping(8))))!;
  expect([...answer.slice(0, 14)]).toEqual([...THEIR_MAC, ...OUR_MAC, 8, 0]);
  expect([...answer.slice(26, 34)]).toEqual([...OUR4, ...THEIR4]);
  expect([...answer.slice(34)]).toEqual(ping(0));
  expect(sum([...answer.slice(14, 34)])).toBe(0xffff);
  expect(context.counters.ping).toBe(1);
});

test('Ping over IPv6 is answered, with a checksum that is right', () => {
  const { ask } = host();
  const answer = ask(toUs(0x86dd, ip6(58, ping(128, pseudo(THEIR6, OUR6, 58, 10)))))!;
  expect([...answer.slice(22, 54)]).toEqual([...OUR6, ...THEIR6]);
  expect([...answer.slice(54)]).toEqual(ping(129, pseudo(OUR6, THEIR6, 58, 10)));
});

test('A neighbour solicitation becomes an advertisement with our link-layer address', () => {
  const { ask, context } = host();
  const answer = ask(ethernet(0x86dd, solicit(OUR6)))!;
  const message = [136, 0, 0, 0, 0x60, 0, 0, 0, ...OUR6, 2, 1, ...OUR_MAC];
  expect([...answer]).toEqual([
    ...THEIR_MAC,
    ...OUR_MAC,
    0x86,
    0xdd,
    ...ipv6({ source: OUR6, destination: THEIR6, next: 58 }, summed(message, 2, pseudo(OUR6, THEIR6, 58, 32))),
  ]);
  expect(context.counters.neighbor).toBe(1);
});

test('Who asks whether our address is free is told, and so is everybody', () => {
  const { ask } = host();
  const answer = ask(ethernet(0x86dd, solicit(OUR6, Array(16).fill(0), [])))!;
  const all = [0xff, 2, ...Array(13).fill(0), 1];
  const message = [136, 0, 0, 0, 0x20, 0, 0, 0, ...OUR6, 2, 1, ...OUR_MAC];
  expect([...answer.slice(0, 6)]).toEqual([0x33, 0x33, 0, 0, 0, 1]);
  expect([...answer.slice(14)]).toEqual(
    ipv6({ source: OUR6, destination: all, next: 58 }, summed(message, 2, pseudo(OUR6, all, 58, 32))),
  );
});

describe.each([
  ['IPv4', 0x800, (port: number, to: number) => ip4(17, udp4(port, to)), 34, pseudo(OUR4, THEIR4, 17, 12)],
  ['IPv6', 0x86dd, (port: number, to: number) => ip6(17, udp6(port, to)), 54, pseudo(OUR6, THEIR6, 17, 12)],
])('UDP over %s', (_, type, datagram, at, header) => {
  test('is echoed from the port', () => {
    const answer = host().ask(toUs(type, datagram(5000, 7)))!;
    expect([...answer.slice(at, at + 6), ...answer.slice(at + 8)]).toEqual([
      0,
      7,
      5000 >> 8,
      5000 & 0xff,
      0,
      12,
      1,
      2,
      3,
      4,
    ]);
    expect(sum([...header, ...answer.slice(at)])).toBe(0xffff);
  });

  test('is echoed from the port that was chosen, and from no other', () => {
    const { ask } = host({ addresses: ADDRESSES, port: 9000 });
    expect(ask(toUs(type, datagram(5000, 9000)))).toBeDefined();
    expect(ask(toUs(type, datagram(5000, 7)))).toBeUndefined();
  });

  test('whose checksum its sender left to hardware gets a right one', () => {
    const frame = toUs(type, datagram(5000, 7));
    const partial = sum(header); // source and destination count alike
    frame.set([partial >> 8, partial & 0xff], at + 6);
    expect(sum([...header, ...host().ask(frame)!.slice(at)])).toBe(0xffff);
  });

  test('whose payload was damaged comes back damaged: its sender sees it', () => {
    const frame = toUs(type, datagram(5000, 7));
    frame[frame.length - 1]! ^= 0xff;
    expect(sum([...header, ...host().ask(frame)!.slice(at)])).not.toBe(0xffff);
  });

  test('from an echo port is not answered: two of them would never end', () => {
    expect(host().ask(toUs(type, datagram(7, 7)))).toBeUndefined();
  });
});

test('UDP without a checksum stays without over IPv4, and is malformed over IPv6', () => {
  const { ask, frames } = host();
  const answer = ask(toUs(0x800, ip4(17, udp(5000, 7))))!;
  expect([answer[40], answer[41]]).toEqual([0, 0]);
  expect(ask(toUs(0x86dd, ip6(17, udp(5000, 7))))).toBeUndefined();
  expect(frames.dropped.get(DROP.malformed)).toBe(1);
});

test('A frame in a VLAN is answered in it', () => {
  const answer = host().ask(toUs(0x8100, [0, 5, 8, 0, ...ip4(1, ping(8))]))!;
  expect([...answer.slice(12, 18)]).toEqual([0x81, 0, 0, 5, 8, 0]);
});

const swapped = (frame: Uint8Array): Uint8Array => {
  const copy = frame.slice();
  copy.set([2, 0, 0, 0, 0, 9], 0);
  return copy;
};
const fragments = (fragment: number) => toUs(0x800, ip4(17, udp4(5000, 7), { fragment }));

test.each<[string, Uint8Array, number]>([
  ['ARP for another', ethernet(0x806, arp(1, THEIR4)), DROP.filter],
  ['an ARP reply', ethernet(0x806, arp(2, OUR4)), DROP.filter],
  ['a solicitation for another', ethernet(0x86dd, solicit(THEIR6)), DROP.filter],
  ['a packet for another address', toUs(0x800, ip4(1, ping(8), { destination: [192, 0, 2, 3] })), DROP.filter],
  ['a packet from our own address', toUs(0x800, ip4(1, ping(8), { source: OUR4 })), DROP.filter],
  ['a packet for another MAC address', swapped(toUs(0x800, ip4(1, ping(8)))), DROP.filter],
  ['a packet with IP options', toUs(0x800, ip4(1, ping(8), { options: 4 })), DROP.filter],
  ['the first fragment', fragments(0x2000), DROP.filter],
  ['the last fragment', fragments(0x0010), DROP.filter],
  ['an echo reply', toUs(0x800, ip4(1, ping(0))), DROP.filter],
  ['an echo reply over IPv6', toUs(0x86dd, ip6(58, ping(129))), DROP.filter],
  ['TCP', toUs(0x800, ip4(6, udp4(5000, 7))), DROP.filter],
  ['another ethertype', toUs(0x88cc, Array(46).fill(0)), DROP.filter],
  ['ARP that is cut off', ethernet(0x806, arp(1, OUR4).slice(0, 27)), DROP.malformed],
  ['IPv4 that is cut off', toUs(0x800, ip4(1, ping(8)).slice(0, 25)), DROP.malformed],
  ['IPv6 that is cut off', toUs(0x86dd, ip6(58, ping(128)).slice(0, 45)), DROP.malformed],
  ['UDP that is longer than its packet', toUs(0x800, ip4(17, put16(udp4(5000, 7), 4, 13))), DROP.malformed],
  ['ping that is cut off', toUs(0x800, ip4(1, [8, 0, 0, 0])), DROP.malformed],
  [
    'a solicitation that crossed a router',
    ((frame) => frame.fill(64, 21, 22))(ethernet(0x86dd, solicit(OUR6))),
    DROP.malformed,
  ],
  [
    'a solicitation whose checksum is wrong',
    ((frame) => frame.fill(1, 56, 58))(ethernet(0x86dd, solicit(OUR6))),
    DROP.malformed,
  ],
  ['a frame from a group', ((frame) => frame.fill(3, 6, 7))(toUs(0x800, ip4(1, ping(8)))), DROP.malformed],
])('%s is not answered', (_, frame, reason) => {
  const { ask, frames } = host();
  expect(ask(frame)).toBeUndefined();
  expect([...frames.dropped]).toEqual([[reason, 1]]);
  expect(frames.count('free')).toBe(64);
});

test.each<[string, Uint8Array]>([
  ['its answer found no port', toUs(0x800, ip4(1, ping(3)))],
  ['its answer lived too short', toUs(0x800, ip4(1, ping(11)))],
  ['its answer has a problem', toUs(0x800, ip4(1, ping(12)))],
  ['its answer found no port over IPv6', toUs(0x86dd, ip6(58, ping(1)))],
  ['its answer was too big over IPv6', toUs(0x86dd, ip6(58, ping(2)))],
])('A message that %s is taken, and nothing follows', (_, frame) => {
  const { ask, frames, context } = host();
  expect(ask(frame)).toBeUndefined();
  expect([...frames.dropped]).toEqual([]);
  expect(context.counters.icmp_error).toBe(1);
  expect(frames.count('free')).toBe(64);
});

test('Of a burst, those that are answered leave in order; what finds the port full is dropped', () => {
  const { wire, back, poll, frames } = host();
  back.capacity = 2;
  for (const port of [5001, 5002, 5003, 5004]) {
    wire.insert(toUs(0x88cc, Array(46).fill(0)), wire.wire.length);
    wire.insert(toUs(0x800, ip4(17, udp4(port, 7))), wire.wire.length);
  }
  expect(poll()).toBe(8);
  expect([0, 1].map((i) => (back.bytes(i)[36]! << 8) | back.bytes(i)[37]!)).toEqual([5001, 5002]);
  expect([frames.dropped.get(DROP.filter), frames.dropped.get(DROP.tx_full)]).toEqual([4, 2]);
  expect(frames.count('app')).toBe(0);
});

test.each<[UdpEchoOptions, string]>([
  [{ addresses: [] }, 'there are none'],
  [{} as UdpEchoOptions, 'there are none'],
  [{ addresses: ['192.0.2'] }, '"192.0.2" is not an IP address'],
  [{ addresses: ADDRESSES, port: 0 }, '0 is not a whole number from 1 to 65535'],
  [{ addresses: ADDRESSES, ports: 7 } as UdpEchoOptions, 'there is no such option'],
])('Options %j are refused', (options, why) => {
  expect(() => host(options)).toThrow(
    expect.objectContaining({ code: 'BAD_APP_OPTION', message: expect.stringContaining(why) }),
  );
});

test('Without a port to answer by it is refused', () => {
  expect(() => udpEcho(fakeContext({ addresses: ADDRESSES }))).toThrow(
    expect.objectContaining({ code: 'NO_TX_QUEUE' }),
  );
});

const seeds = [
  ethernet(0x806, arp(1, OUR4)),
  toUs(0x800, ip4(1, ping(8))),
  toUs(0x800, ip4(17, udp4(5000, 7))),
  ethernet(0x86dd, solicit(OUR6)),
  toUs(0x86dd, ip6(17, udp6(5000, 7))),
];

property.prop([fc.constantFrom(...seeds), fc.array(fc.tuple(fc.nat(200), fc.nat(255)), { maxLength: 6 }), fc.nat(120)])(
  'Whatever is changed in a packet, or cut off, every frame is answered, taken or dropped',
  (seed, changes, cut) => {
    const frame = seed.slice(0, Math.max(14, seed.length - (cut % 40)));
    for (const [at, value] of changes) frame[at % frame.length] = value;
    const { ask, frames, context } = host();
    const answer = ask(frame);
    const dropped = [...frames.dropped.values()].reduce((a, b) => a + b, 0);
    expect(dropped + context.counters.icmp_error!).toBe(answer === undefined ? 1 : 0);
    expect(frames.count('free')).toBe(64);
    if (answer !== undefined) expect([...answer.slice(6, 12)]).toEqual(OUR_MAC);
  },
);

test('A packet of several frames is not answered: all its frames are dropped, and those beside it are answered', () => {
  const { frames, wire, back, context, poll } = host();
  const asked = toUs(0x800, ip4(17, udp4(1234, 7)));
  for (let i = 0; i < 5; i++) wire.insert(asked, i);
  for (const i of [1, 2]) wire.resize(i, MORE + asked.length);
  expect(poll()).toBe(5);
  expect([back.wire.length, context.counters.udp]).toEqual([2, 2]);
  expect([...frames.dropped]).toEqual([[DROP.filter, 3]]);
});
