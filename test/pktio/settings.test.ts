import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { PortError } from '../../lib/errors.ts';
import { memoryCapability } from '../../lib/pktio/memory-port.ts';
import { checkSettings } from '../../lib/pktio/settings.ts';
import type { Capability, PortConfig } from '../../lib/pktio/types.ts';
import { thrown } from '../fakes/errors.ts';

const CURRENT: PortConfig = {
  rxQueues: 1,
  txQueues: 1,
  rxRing: 0,
  txRing: 1024,
  mtu: 1500,
  promiscuous: true,
  mac: '02:00:00:00:00:01',
};

const check = (changes: object, capability: Capability = memoryCapability): PortConfig =>
  checkSettings('eth9', capability, CURRENT, changes as Partial<PortConfig>);

describe('settings', () => {
  it('are changed together, the others stay', () => {
    expect(check({ mtu: 9000, txQueues: 4, mac: '02:00:00:00:00:AA' })).toEqual({
      ...CURRENT,
      mtu: 9000,
      txQueues: 4,
      mac: '02:00:00:00:00:aa',
    });
    expect(check({})).toEqual(CURRENT);
  });

  it('that are so already, or undefined, may always be said', () => {
    const rigid = { ...memoryCapability, setMac: false, mtu: { min: 1500, max: 1500 } };
    expect(check({ ...CURRENT }, rigid)).toEqual(CURRENT);
    expect(check({ mtu: undefined, mac: undefined })).toEqual(CURRENT);
  });

  const refusals: [string, object, string, Partial<Capability>?][] = [
    [
      'UNKNOWN_SETTING',
      { mtuu: 1500 },
      'setting mtuu: there is no such setting; settings are rxQueues, txQueues, rxRing, txRing, mtu, promiscuous, mac',
    ],
    ['UNKNOWN_SETTING', { mtu: 1400, speed: undefined }, 'setting speed: there is no such setting'],
    ['UNKNOWN_SETTING', JSON.parse('{"__proto__": {}}'), 'setting __proto__: there is no such setting'],
    ['UNKNOWN_SETTING', { toString: 1 }, 'setting toString: there is no such setting'],
    ['UNSUPPORTED_SETTING', { rxRing: 512 }, 'setting rxRing: this port cannot change it; leave it out'],
    [
      'UNSUPPORTED_SETTING',
      { promiscuous: false },
      'setting promiscuous: this port is always promiscuous; leave it out',
    ],
    [
      'UNSUPPORTED_SETTING',
      { mac: '02:00:00:00:00:02' },
      'setting mac: this port cannot change its address',
      { setMac: false },
    ],
    ['BAD_SETTING', { mtu: 67 }, 'setting mtu: 67 is not a whole number from 68 to 65000; give one in that range'],
    ['BAD_SETTING', { mtu: 65_001 }, 'setting mtu: 65001 is not a whole number'],
    ['BAD_SETTING', { mtu: 1500.5 }, 'setting mtu: 1500.5 is not a whole number'],
    ['BAD_SETTING', { mtu: '1400' }, 'setting mtu: 1400 is not a whole number'],
    ['BAD_SETTING', { mtu: Number.NaN }, 'setting mtu: NaN is not a whole number'],
    ['BAD_SETTING', { mtu: null }, 'setting mtu: null is not a whole number'],
    ['BAD_SETTING', { mtu: { toString: null } }, 'setting mtu: an object is not a whole number'],
    ['BAD_MAC', { mac: ['02:00:00:00:00:02'] }, 'setting mac: "an object" is not six'],
    ['BAD_SETTING', { rxQueues: 0 }, 'setting rxQueues: 0 is not a whole number from 1 to 8'],
    ['BAD_SETTING', { txQueues: 9 }, 'setting txQueues: 9 is not a whole number from 1 to 8'],
    ['BAD_SETTING', { txRing: 100 }, 'setting txRing: 100 is not a power of two; use 256, 512, 1024'],
    ['BAD_SETTING', { txRing: 65_536 }, 'setting txRing: 65536 is not a whole number from 64 to 32768'],
    ['BAD_SETTING', { promiscuous: 1 }, 'setting promiscuous: it is not true or false', { setPromiscuous: true }],
    [
      'BAD_MAC',
      { mac: '02:00:00:00:00' },
      'setting mac: "02:00:00:00:00" is not six hexadecimal bytes with colons between them; write it like 02:00:00:00:00:01',
    ],
    ['BAD_MAC', { mac: 12 }, 'setting mac: "12" is not six hexadecimal bytes'],
    ['BAD_MAC', { mac: '01:00:5e:00:00:01' }, 'setting mac: 01:00:5e:00:00:01 is a group address'],
    ['BAD_MAC', { mac: 'ff:ff:ff:ff:ff:ff' }, 'is a group address'],
    ['BAD_MAC', { mac: '00:00:00:00:00:00' }, 'setting mac: it is all zeros'],
  ];
  it.each(refusals)('are refused by name: %s for %j', (code, changes, message, capability = {}) => {
    const error = thrown(() => check(changes, { ...memoryCapability, ...capability }));
    expect(error).toBeInstanceOf(PortError);
    expect(error.code).toBe(code);
    expect(error.message).toContain('port eth9: ');
    expect(error.message).toContain(message);
    expect(error.detail).toMatchObject({ port: 'eth9', setting: expect.any(String) });
  });

  it('are all or nothing, whatever is asked', () => {
    const anything = fc.record(
      {
        rxQueues: fc.oneof(fc.integer({ min: -1, max: 10 }), fc.anything()),
        txRing: fc.oneof(fc.constantFrom(64, 128, 96, 32_768), fc.anything()),
        mtu: fc.oneof(fc.integer({ min: 0, max: 70_000 }), fc.anything()),
        promiscuous: fc.oneof(fc.boolean(), fc.anything()),
        mac: fc.oneof(fc.constantFrom('02:00:00:00:00:05', '03:00:00:00:00:05'), fc.anything()),
      },
      { requiredKeys: [] },
    );
    fc.assert(
      fc.property(anything, (changes) => {
        const before = JSON.stringify(CURRENT);
        try {
          const next = check(changes);
          expect(Object.keys(next)).toEqual(Object.keys(CURRENT));
          for (const [key, value] of Object.entries(changes))
            if (value !== undefined) expect(next[key as keyof PortConfig]).toBe(value);
        } catch (error) {
          expect(error).toBeInstanceOf(PortError);
        }
        expect(JSON.stringify(CURRENT)).toBe(before);
      }),
      { numRuns: 1000 },
    );
  });
});
