/** The check-once functions: what passes one can be read without another look at lengths. */
import { fc } from '@fast-check/vitest';
import { describe, expect, test } from 'vitest';
import { checkArp, setArpHeader } from '../../lib/wire/arp.ts';
import { checkEthernet, etherType } from '../../lib/wire/ethernet.ts';
import { checkIcmp } from '../../lib/wire/icmp.ts';
import { checkIpv4 } from '../../lib/wire/ipv4.ts';
import { checkIpv6 } from '../../lib/wire/ipv6.ts';
import { checkTcp } from '../../lib/wire/tcp.ts';
import { checkUdp } from '../../lib/wire/udp.ts';

const AT = 3;

/** A view with `bytes` at `AT`. */
function view(...bytes: number[]): DataView {
  const u8 = new Uint8Array(128);
  u8.set(bytes, AT);
  return new DataView(u8.buffer);
}

const all = { checkArp, checkEthernet, checkIcmp, checkIpv4, checkIpv6, checkTcp, checkUdp };

test.each(Object.entries(all))('%s never claims more than there is, and reads nothing beyond it', (_name, check) => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 70 }), (bytes) => {
      // An exact view: reading beyond its end throws.
      const exact = bytes.slice();
      const header = check(new DataView(exact.buffer), 0, exact.length);
      expect(header).toBeGreaterThanOrEqual(0);
      expect(header).toBeLessThanOrEqual(exact.length);
    }),
  );
});

describe('checkEthernet', () => {
  const tagged = (...types: number[]) =>
    view(...new Array(12).fill(1), ...types.flatMap((t) => [t >>> 8, t & 255, 0, 0]));

  test('returns the length with up to two tags, and etherType then finds the payload type', () => {
    const cases: [DataView, number, number][] = [
      [tagged(0x0800), 14, 0x0800],
      [tagged(0x8100, 0x86dd), 18, 0x86dd],
      [tagged(0x88a8, 0x8100, 0x0806), 22, 0x0806],
      [tagged(0x8100, 0x8100, 0x8100, 0x0800), 22, 0x8100],
    ];
    for (const [v, header, type] of cases) {
      expect(checkEthernet(v, AT, header)).toBe(header);
      expect(etherType(v, AT, header)).toBe(type);
    }
  });

  test('refuses a frame that ends inside of its header', () => {
    expect(checkEthernet(tagged(0x0800), AT, 13)).toBe(0);
    expect(checkEthernet(tagged(0x8100, 0x86dd), AT, 17)).toBe(0);
    expect(checkEthernet(tagged(0x88a8, 0x8100, 0x0806), AT, 21)).toBe(0);
  });
});

describe('checkIpv4', () => {
  const packet = (first: number, total: number) => view(first, 0, total >>> 8, total & 255);

  test('returns the header length, with options, padding allowed', () => {
    expect(checkIpv4(packet(0x45, 20), AT, 20)).toBe(20);
    expect(checkIpv4(packet(0x45, 28), AT, 46)).toBe(20);
    expect(checkIpv4(packet(0x4f, 60), AT, 60)).toBe(60);
  });

  test.each([
    ['another version', packet(0x65, 40), 40],
    ['a header of 16 bytes', packet(0x44, 40), 40],
    ['a header longer than the packet', packet(0x46, 20), 40],
    ['a packet longer than the frame', packet(0x45, 41), 40],
    ['a total length of 0', packet(0x45, 0), 40],
    ['19 bytes', packet(0x45, 19), 19],
  ])('refuses %s', (_why, v, length) => {
    expect(checkIpv4(v, AT, length)).toBe(0);
  });
});

describe('checkIpv6', () => {
  const packet = (first: number, payload: number) => view(first, 0, 0, 0, payload >>> 8, payload & 255);

  test('returns 40, padding allowed', () => {
    expect(checkIpv6(packet(0x60, 0), AT, 40)).toBe(40);
    expect(checkIpv6(packet(0x6f, 8), AT, 60)).toBe(40);
  });

  test.each([
    ['another version', packet(0x45, 0), 60],
    ['39 bytes', packet(0x60, 0), 39],
    ['a payload longer than the frame', packet(0x60, 9), 48],
  ])('refuses %s', (_why, v, length) => {
    expect(checkIpv6(v, AT, length)).toBe(0);
  });
});

describe('checkUdp', () => {
  const datagram = (total: number) => view(0, 0, 0, 0, total >>> 8, total & 255);

  test('returns 8 when the datagram is all there', () => {
    expect(checkUdp(datagram(8), AT, 8)).toBe(8);
    expect(checkUdp(datagram(9), AT, 20)).toBe(8);
  });

  test('refuses a length below 8 or beyond the packet', () => {
    expect([checkUdp(datagram(7), AT, 20), checkUdp(datagram(21), AT, 20), checkUdp(datagram(7), AT, 7)]).toEqual([
      0, 0, 0,
    ]);
  });
});

describe('checkTcp', () => {
  const segment = (words: number) => view(...new Array(12).fill(0), words << 4);

  test('returns the header length, with options', () => {
    expect([checkTcp(segment(5), AT, 20), checkTcp(segment(15), AT, 60)]).toEqual([20, 60]);
  });

  test('refuses a header below 20 bytes or beyond the packet', () => {
    expect([checkTcp(segment(4), AT, 60), checkTcp(segment(6), AT, 23), checkTcp(segment(5), AT, 19)]).toEqual([
      0, 0, 0,
    ]);
  });
});

describe('checkArp', () => {
  test('returns 28 for IPv4 over Ethernet', () => {
    const v = view();
    setArpHeader(v, AT, 1);
    expect(checkArp(v, AT, 28)).toBe(28);
    expect(checkArp(v, AT, 46)).toBe(28);
  });

  test('refuses other hardware, protocol or lengths, and 27 bytes', () => {
    for (let byte = 0; byte < 6; byte++) {
      const v = view();
      setArpHeader(v, AT, 1);
      v.setUint8(AT + byte, v.getUint8(AT + byte) ^ 0x10);
      expect(checkArp(v, AT, 28), `byte ${byte}`).toBe(0);
    }
    const v = view();
    setArpHeader(v, AT, 1);
    expect(checkArp(v, AT, 27)).toBe(0);
  });
});

test('checkIcmp returns 8 for 8 bytes and refuses 7', () => {
  expect([checkIcmp(view(), AT, 8), checkIcmp(view(), AT, 7)]).toEqual([8, 0]);
});
