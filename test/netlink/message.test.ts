import { fc, test as property } from '@fast-check/vitest';
import { expect, test } from 'vitest';
import { decodeAttributes, decodeMessages, encodeMessage, NLM_F, text, u32 } from '../../lib/netlink/message.ts';
import { decodeXdpSocket } from '../../lib/netlink/owners.ts';
import { decodeAddress, decodeDefaultRoute, decodeLink } from '../../lib/netlink/rtnetlink.ts';
import { attribute, linkPayload, message, routePayload } from '../fakes/netlink.ts';

const bytes = (...parts: number[][]): Uint8Array => Uint8Array.from(parts.flat());
const only = (payload: number[], type = 16) => decodeMessages(bytes(message(type, payload)))[0]!;

test('A message is laid out as netlink(7) says', () => {
  const encoded = encodeMessage(18, NLM_F.request | NLM_F.dump, 7, Uint8Array.of(1, 2, 3));
  expect([...encoded]).toEqual([19, 0, 0, 0, 18, 0, 1, 3, 7, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 0]);
});

test('Several messages of a datagram are found, each on a multiple of four', () => {
  const found = decodeMessages(bytes(message(16, [1], 5, 2), message(17, [1, 2, 3, 4, 5], 6), message(3, [])));
  expect(found.map(({ type, flags, sequence, payload }) => [type, flags, sequence, [...payload]])).toEqual([
    [16, 2, 5, [1]],
    [17, 0, 6, [1, 2, 3, 4, 5]],
    [3, 0, 0, []],
  ]);
});

test.each([
  ['shorter than a header', [15, 0, 0, 0]],
  ['of length 0, which would be read for ever', [0, 0, 0, 0]],
  ['longer than the datagram', [21, 0, 0, 0]],
  ['of length 2^32 - 1', [255, 255, 255, 255]],
])('A message %s ends the datagram; those before count', (_, length) => {
  const bad = message(16, [1, 2, 3, 4]);
  bad.splice(0, 4, ...length);
  expect(decodeMessages(bytes(message(17, [9]), bad)).map(({ type }) => type)).toEqual([17]);
});

test.each([
  ['shorter than its header', [3, 0]],
  ['of length 0', [0, 0]],
  ['longer than the payload', [9, 0]],
])('An attribute %s ends them; those before count', (_, length) => {
  const bad = attribute(4, 1);
  bad.splice(0, 2, ...length);
  expect([...decodeAttributes(bytes(attribute(3, 'a'), bad), 0).keys()]).toEqual([3]);
});

test("Flags in an attribute's type are not part of it", () => {
  expect(decodeAttributes(bytes(attribute(0x8000 | 18, 1)), 0).has(18)).toBe(true);
});

test('A number that is too short, and a text without an end, are what is there', () => {
  const attributes = decodeAttributes(bytes(attribute(4, Uint8Array.of(1, 2)), attribute(3, Uint8Array.of(97, 98))), 0);
  expect([u32(attributes, 4), text(attributes, 3), u32(attributes, 9), text(attributes, 9)]).toEqual([
    undefined,
    'ab',
    undefined,
    undefined,
  ]);
});

test('A link is read', () => {
  const xdp = attribute(43, Uint8Array.from([...attribute(2, Uint8Array.of(2)), ...attribute(4, 77)]));
  const link = decodeLink(
    only(linkPayload({ index: 5, name: 'eth5', mtu: 9000 }, [...attribute(31, 8), ...attribute(32, 4), ...xdp])),
  );
  expect(link).toEqual({
    index: 5,
    name: 'eth5',
    ethernet: true,
    loopback: false,
    up: true,
    carrier: true,
    mtu: 9000,
    mac: '02:00:00:00:00:05',
    kind: 'veth',
    rxQueues: 4,
    txQueues: 8,
    xdp: 'generic',
    xdpProgram: 77,
    moved: false,
  });
});

test('A link that moved says so, and one of another kind is no Ethernet', () => {
  expect(decodeLink(only(linkPayload({ index: 5, name: 'a' }, attribute(45, 1))))!.moved).toBe(true);
  expect(decodeLink(only(linkPayload({ index: 5, name: 'a', type: 65534 })))!.ethernet).toBe(false);
});

test("A bridge's view of its port is no link", () => {
  const payload = linkPayload({ index: 5, name: 'a' });
  payload[0] = 7;
  expect(decodeLink(only(payload))).toBeUndefined();
});

test('Addresses are written as people do; on a point-to-point link the local one counts', () => {
  const at = (family: number, bits: number, ...attributes: number[][]) => [
    family,
    bits,
    0,
    0,
    5,
    0,
    0,
    0,
    ...attributes.flat(),
  ];
  const v4 = (...b: number[]) => Uint8Array.from(b);
  const v6 = Uint8Array.from([0x20, 1, 0x0d, 0xb8, ...Array(11).fill(0), 1]);
  expect(decodeAddress(only(at(2, 24, attribute(1, v4(192, 0, 2, 1)))))).toEqual({ index: 5, address: '192.0.2.1/24' });
  expect(decodeAddress(only(at(10, 64, attribute(1, v6))))).toEqual({ index: 5, address: '2001:db8::1/64' });
  expect(decodeAddress(only(at(2, 32, attribute(1, v4(10, 0, 0, 2)), attribute(2, v4(10, 0, 0, 1)))))!.address).toBe(
    '10.0.0.1/32',
  );
  expect(decodeAddress(only(at(2, 24, attribute(1, v4(1, 2, 3)))))).toBeUndefined();
});

test('A default route is one without a destination; all its next hops count', () => {
  const hop = (index: number) => [8, 0, 0, 0, index, 0, 0, 0];
  const several = attribute(9, Uint8Array.from([...hop(3), ...hop(4)]));
  expect(decodeDefaultRoute(only(routePayload(0, attribute(4, 7))))).toEqual([7]);
  expect(decodeDefaultRoute(only(routePayload(0, several)))).toEqual([3, 4]);
  expect(decodeDefaultRoute(only(routePayload(24, attribute(4, 7))))).toEqual([]);
  expect(decodeDefaultRoute(only(routePayload(0, attribute(4, 7), 7)))).toEqual([]); // unreachable
  expect(decodeDefaultRoute(only(routePayload(0, attribute(9, Uint8Array.of(0, 0, 0, 0, 3, 0, 0, 0)))))).toEqual([]);
});

test('An AF_XDP socket is read from sock_diag', () => {
  const info = attribute(1, Uint8Array.from([5, 0, 0, 0, 2, 0, 0, 0]));
  expect(decodeXdpSocket(only([44, 3, 0, 0, 0x39, 0x30, 0, 0, ...Array(8).fill(0), ...info]))).toEqual({
    inode: 12345,
    index: 5,
    queue: 2,
  });
});

property.prop([fc.uint8Array({ maxLength: 300 })])(
  'Whatever bytes come, nothing throws, and no payload reaches beyond them',
  (datagram) => {
    const surroundings = new Uint8Array(datagram.length + 64).fill(0xee);
    surroundings.set(datagram, 32);
    const inside = surroundings.subarray(32, 32 + datagram.length);
    const within = (part: Uint8Array) => part.byteOffset >= 32 && part.byteOffset + part.length <= 32 + datagram.length;
    for (const found of [...decodeMessages(inside), { type: 16, flags: 0, sequence: 0, payload: inside }]) {
      expect(within(found.payload)).toBe(true);
      for (const value of decodeAttributes(found.payload, 16).values()) expect(within(value)).toBe(true);
      decodeLink(found);
      decodeAddress(found);
      decodeDefaultRoute(found);
      decodeXdpSocket(found);
    }
  },
);

property.prop([fc.nat(400), fc.uint8Array({ minLength: 1, maxLength: 8 })])(
  'Whatever is overwritten in a good message, nothing throws',
  (at, junk) => {
    const good = bytes(
      message(16, linkPayload({ index: 5, name: 'eth5' })),
      message(24, routePayload(0, attribute(4, 7))),
    );
    good.set(junk.slice(0, Math.max(0, good.length - (at % good.length))), at % good.length);
    for (const found of decodeMessages(good)) {
      decodeLink(found);
      decodeAddress(found);
      decodeDefaultRoute(found);
    }
  },
);
