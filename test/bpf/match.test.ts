import { fc, test as property } from '@fast-check/vitest';
import { expect, test } from 'vitest';
import { parseMatch } from '../../lib/bpf/match.ts';
import { addressBytes } from '../../lib/wire/address.ts';

test('Every kind of term is read', () => {
  expect(parseMatch('udp/53+tcp/80+vlan/100+ether/0x88cc+host/192.0.2.1+host/2001:db8::1')).toEqual([
    { kind: 'udp', port: 53 },
    { kind: 'tcp', port: 80 },
    { kind: 'vlan', id: 100 },
    { kind: 'ether', type: 0x88cc },
    { kind: 'host', address: Uint8Array.of(192, 0, 2, 1) },
    { kind: 'host', address: Uint8Array.of(0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1) },
  ]);
});

test.each([
  ['', 'there is no term ""'],
  ['udp', 'there is no term "udp"'],
  ['udp/', '"" is not a number from 1 to 65535'],
  ['udp/0', '"0" is not a number from 1 to 65535'],
  ['udp/65536', '"65536" is not a number from 1 to 65535'],
  ['udp/-1', '"-1" is not a number'],
  ['udp/5e1', '"5e1" is not a number'],
  ['udp/ 53', '" 53" is not a number'],
  ['tcp/80+', 'there is no term ""'],
  ['vlan/4096', '"4096" is not a number from 0 to 4095'],
  ['ether/0x5ff', '"0x5ff" is not a number from 1536 to 65535'],
  ['host/192.0.2', '"192.0.2" is not an IP address'],
  ['host/192.0.2.256', '"192.0.2.256" is not an IP address'],
  ['host/fe80::1%eth0', '"fe80::1%eth0" is not an IP address'],
  ['host/example.org', '"example.org" is not an IP address'],
  ['icmp/8', 'there is no term "icmp/8"'],
  [Array(17).fill('udp/53').join('+'), 'it has 17 terms; 16 are the most'],
])('"%s" is refused, and the error says why and what would do', (text, why) => {
  expect(() => parseMatch(text)).toThrow(
    expect.objectContaining({ code: 'BAD_MATCH', message: expect.stringContaining(why) }),
  );
  expect(() => parseMatch(text)).toThrow(/use udp\/PORT, tcp\/PORT, vlan\/ID, ether\/TYPE or host\/ADDRESS/);
});

test.each([
  ['::', Array(16).fill(0)],
  ['::1', [...Array(15).fill(0), 1]],
  ['1::', [0, 1, ...Array(14).fill(0)]],
  ['::ffff:192.0.2.1', [...Array(10).fill(0), 255, 255, 192, 0, 2, 1]],
  ['1:2:3:4:5:6:7:8', [0, 1, 0, 2, 0, 3, 0, 4, 0, 5, 0, 6, 0, 7, 0, 8]],
  ['FE80::A:0:0:B', [0xfe, 0x80, 0, 0, 0, 0, 0, 0, 0, 10, 0, 0, 0, 0, 0, 11]],
])('The IPv6 address %s is read', (text, bytes) => {
  expect([...addressBytes(text)!]).toEqual(bytes);
});

property.prop([fc.uint8Array({ minLength: 16, maxLength: 16 })])(
  'Any IPv6 address written in full is read as it is',
  (bytes) => {
    const words = Array.from({ length: 8 }, (_, i) => ((bytes[i * 2] << 8) | bytes[i * 2 + 1]).toString(16));
    expect(addressBytes(words.join(':'))).toEqual(bytes);
  },
);

property.prop([fc.string()])('Any text is read or refused, with nothing but BAD_MATCH', (text) => {
  try {
    parseMatch(text);
  } catch (error) {
    expect((error as { code: string }).code).toBe('BAD_MATCH');
  }
});
