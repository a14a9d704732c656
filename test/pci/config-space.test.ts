import { fc, test as property } from '@fast-check/vitest';
import { describe, expect, it } from 'vitest';
import { COMMAND, capabilities, changeCommand, extendedCapabilities, isGone } from '../../lib/pci/config-space.ts';
import { codeOf, thrown } from '../fakes/errors.ts';
import { FakeConfig } from '../fakes/pci-config.ts';

/** A space with a list: pointer at 0x34, bit 4 of the status at 0x06. */
const listing = (first: number): FakeConfig => new FakeConfig().put(0x06, 0x10).put(0x34, first);

describe('The list of capabilities', () => {
  it('is followed in its order', () => {
    const config = listing(0x40).put(0x40, 0x11, 0x70).put(0x70, 0x09, 0x50).put(0x50, 0x09, 0);
    expect(capabilities(config)).toEqual([
      { id: 0x11, offset: 0x40 },
      { id: 0x09, offset: 0x70 },
      { id: 0x09, offset: 0x50 },
    ]);
  });

  it('is not looked for when the status says that there is none', () => {
    expect(capabilities(new FakeConfig().put(0x34, 0x40).put(0x40, 0x11, 0x40))).toEqual([]);
  });

  it('has reserved bits in its pointers, which are ignored', () => {
    const config = listing(0x43).put(0x40, 0x11, 0x51).put(0x50, 0x01, 0);
    expect(capabilities(config).map(({ offset }) => offset)).toEqual([0x40, 0x50]);
  });

  it.each([
    ['loops', listing(0x40).put(0x40, 0x09, 0x50).put(0x50, 0x09, 0x40), '0x40: the list comes back'],
    ['points to itself', listing(0x40).put(0x40, 0x09, 0x40), '0x40: the list comes back'],
    ['leads into the header', listing(0x40).put(0x40, 0x09, 0x04), '0x4: it lies outside'],
    ['begins in the header', listing(0x10), '0x10: it lies outside'],
  ])('that %s is refused', (_, config, message) => {
    const error = thrown(() => capabilities(config));
    expect((error as { code?: unknown }).code).toBe('BAD_CAPABILITIES');
    expect(String(error)).toContain(message);
  });

  it('does not lead out of a space of 64 bytes', () => {
    const config = new FakeConfig(64).put(0x06, 0x10).put(0x34, 0x40);
    expect(codeOf(() => capabilities(config))).toBe('BAD_CAPABILITIES');
  });

  property.prop([fc.uint8Array({ minLength: 256, maxLength: 256 })])('of any content ends', (bytes) => {
    const config = new FakeConfig().put(0, ...bytes);
    try {
      expect(capabilities(config).length).toBeLessThanOrEqual(48);
    } catch (error) {
      expect((error as { code?: unknown }).code).toBe('BAD_CAPABILITIES');
    }
  });
});

describe('The list of extended capabilities', () => {
  const express = () => new FakeConfig(4096);
  const put = (config: FakeConfig, at: number, id: number, next: number) => {
    const word = (next << 20) | (1 << 16) | id;
    return config.put(at, word & 0xff, (word >> 8) & 0xff, (word >> 16) & 0xff, (word >>> 24) & 0xff);
  };

  it('is followed in its order', () => {
    const config = put(put(express(), 0x100, 0x0001, 0x140), 0x140, 0x0003, 0);
    expect(extendedCapabilities(config)).toEqual([
      { id: 1, offset: 0x100 },
      { id: 3, offset: 0x140 },
    ]);
  });

  it('is empty for conventional functions, for none, and for a function that does not answer', () => {
    expect(extendedCapabilities(new FakeConfig(256))).toEqual([]);
    expect(extendedCapabilities(express())).toEqual([]);
    expect(extendedCapabilities(express().put(0x100, 0xff, 0xff, 0xff, 0xff))).toEqual([]);
  });

  it('that loops or leads outside is refused', () => {
    const loop = put(put(express(), 0x100, 1, 0x140), 0x140, 3, 0x100);
    expect(codeOf(() => extendedCapabilities(loop))).toBe('BAD_CAPABILITIES');
    expect(codeOf(() => extendedCapabilities(put(express(), 0x100, 1, 0x40)))).toBe('BAD_CAPABILITIES');
  });
});

describe('The command register', () => {
  it('is changed bit by bit, and written only when it changes', () => {
    const config = new FakeConfig().put(0x04, 0x03, 0x04);
    expect(changeCommand(config, COMMAND.busMaster, COMMAND.io)).toBe(0x0403);
    expect(config.read(0x04, 16)).toBe(0x0406);
    changeCommand(config, COMMAND.busMaster, 0);
    expect(config.writes).toEqual([[0x04, 16, 0x0406]]);
  });
});

it('A function that has gone answers with ones', () => {
  expect(isGone(new FakeConfig().put(0, 0xff, 0xff))).toBe(true);
  expect(isGone(new FakeConfig().put(0, 0xf4, 0x1a))).toBe(false);
});
