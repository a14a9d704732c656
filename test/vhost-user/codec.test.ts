/** Payloads and framing of vhost-user messages, against offsets that are written down a second time (vhost-user.rst). */
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { DeviceError } from '../../lib/errors.ts';
import { frame } from '../../lib/vhost-user/channel.ts';
import { decode, encode, fits, type Payloads } from '../../lib/vhost-user/payload.ts';
import { MESSAGE, messageName, protocolNames, type Shape } from '../../lib/vhost-user/protocol.ts';
import { codeOf } from '../fakes/errors.ts';
import { ID, words } from '../fakes/raw-front-end.ts';

const SHAPES: readonly Shape[] = [
  'none',
  'u64',
  'state',
  'address',
  'table',
  'region',
  'log',
  'config',
  'inflight',
  'ring',
];

const u64 = fc.bigInt({ min: 0n, max: 2n ** 64n - 1n });
const u32 = fc.nat({ max: 2 ** 32 - 1 });
const u16 = fc.nat({ max: 65_535 });
const region = fc.record({ gpa: u64, bytes: u64, uva: u64, offset: u64 });

const VALUES: { readonly [S in Shape]: fc.Arbitrary<Payloads[S]> } = {
  none: fc.constant(undefined),
  u64,
  state: fc.record({ index: u32, num: u32 }),
  address: fc.record({ index: u32, flags: u32, desc: u64, used: u64, avail: u64, log: u64 }),
  table: fc.array(region, { minLength: 1, maxLength: 8 }),
  region,
  log: fc.record({ bytes: u64, offset: u64 }),
  config: fc
    .record({ offset: u32, flags: u32, bytes: fc.uint8Array({ maxLength: 256 }) })
    .map((value) => ({ ...value, size: value.bytes.length })),
  inflight: fc.record({ bytes: u64, offset: u64, queues: u16, queueSize: u16 }),
  ring: fc.record({ index: fc.nat({ max: 255 }), hasFd: fc.boolean() }),
};

describe('payloads', () => {
  it.each(SHAPES)('%s: what is written is read', (shape) => {
    fc.assert(
      fc.property(VALUES[shape] as fc.Arbitrary<never>, (value) => {
        const bytes = encode(shape, value);
        expect(fits(shape, bytes.length)).toBe(true);
        expect(decode(shape, bytes)).toEqual(value);
      }),
    );
  });

  it.each(SHAPES)('%s: any bytes are either read or refused', (shape) => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
        try {
          decode(shape, bytes);
        } catch (error) {
          expect(error).toBeInstanceOf(DeviceError);
        }
      }),
      { numRuns: 2000 },
    );
  });

  it('lie where the protocol says', () => {
    expect(encode('state', { index: 1, num: 2 })).toEqual(words(1, 2));
    const address = { index: 1, flags: 2, desc: 3n, used: 4n, avail: 5n, log: 6n };
    expect(encode('address', address)).toEqual(words(1, 2, 3n, 4n, 5n, 6n));
    const one = { gpa: 1n, bytes: 2n, uva: 3n, offset: 4n };
    expect(encode('table', [one, one])).toEqual(words(2, 0, 1n, 2n, 3n, 4n, 1n, 2n, 3n, 4n));
    expect(encode('region', one)).toEqual(words(0n, 1n, 2n, 3n, 4n));
    expect(encode('log', { bytes: 1n, offset: 2n })).toEqual(words(1n, 2n));
    const config = { offset: 1, size: 4, flags: 3, bytes: Uint8Array.of(9, 8, 7, 6) };
    expect(encode('config', config)).toEqual(words(1, 4, 3, 0x0607_0809));
    const inflight = { bytes: 1n, offset: 2n, queues: 3, queueSize: 4 };
    expect(encode('inflight', inflight)).toEqual(words(1n, 2n, 0x4_0003, 0));
    expect(decode('inflight', words(1n, 2n, 0x4_0003))).toEqual(inflight);
    expect(encode('ring', { index: 5, hasFd: true })).toEqual(words(5n));
    expect(encode('ring', { index: 5, hasFd: false })).toEqual(words(0x105n));
  });

  it('of the wrong size are refused', () => {
    expect(codeOf(() => decode('u64', new Uint8Array(7)))).toBe('VHOST_REFUSED');
    expect(fits('table', 8)).toBe(false);
    expect(fits('table', 8 + 9 * 32)).toBe(false);
    expect(fits('config', 12 + 257)).toBe(false);
  });
});

describe('the table of messages', () => {
  it('has the numbers of the protocol', () => {
    const { IOTLB_MSG: _, ...known } = ID;
    expect(Object.fromEntries(Object.entries(MESSAGE).map(([name, { id }]) => [name, id]))).toEqual(known);
    expect(messageName(11)).toBe('GET_VRING_BASE');
    expect(messageName(22)).toBeUndefined();
  });

  it('names protocol features, and bits without a name', () => {
    expect(protocolNames(0x1_8001n | (1n << 40n))).toEqual(['MQ', 'CONFIGURE_MEM_SLOTS', 'STATUS', 'bit 40']);
  });
});

describe('a frame', () => {
  it('has a header of 12 bytes', () => {
    expect(frame(2, 9, words(7n))).toEqual(Uint8Array.from([...words(2, 9, 8), ...words(7n)]));
  });
});
