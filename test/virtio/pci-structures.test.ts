/** Rules of virtio 1.2 §4.1.4 for finding a PCI device's structures, and devices that lie about them. */
import { afterEach, describe, expect, test } from 'vitest';
import { COMMON, ISR, NOTIFY, NOTIFY_DATA } from '../../lib/virtio/pci/regs.ts';
import { findStructures } from '../../lib/virtio/pci/structures.ts';
import { codeOf } from '../fakes/errors.ts';
import { CAPS, FakeVirtioPci, type PciOptions, type VirtioCap } from '../fakes/virtio-pci.ts';

const made: FakeVirtioPci[] = [];
afterEach(() => {
  for (const fake of made.splice(0)) fake.close();
});

function device(options: PciOptions = {}): FakeVirtioPci {
  const fake = new FakeVirtioPci(options);
  made.push(fake);
  return fake;
}

/** The device with capabilities as given, and those that are not given as usual. */
const withCaps = (caps: Partial<Record<keyof typeof CAPS, VirtioCap | null>>, more: PciOptions = {}) =>
  device({ ...more, caps: Object.values({ ...CAPS, ...caps }).filter((cap) => cap !== null) });

const find = (fake: FakeVirtioPci) => findStructures(fake, 24);
const refusal = (fake: FakeVirtioPci) => codeOf(() => find(fake));
const messageOf = (fake: FakeVirtioPci): string => {
  try {
    find(fake);
    return 'nothing';
  } catch (error) {
    return (error as Error).message;
  }
};

describe('The tables', () => {
  // struct virtio_pci_common_cfg in its order: name and bytes.
  const fields = [
    ...[['deviceFeatureSelect', 4] as const, ['deviceFeature', 4] as const, ['driverFeatureSelect', 4] as const],
    ...[['driverFeature', 4] as const, ['configMsixVector', 2] as const, ['numQueues', 2] as const],
    ...[['deviceStatus', 1] as const, ['configGeneration', 1] as const, ['queueSelect', 2] as const],
    ...[['queueSize', 2] as const, ['queueMsixVector', 2] as const, ['queueEnable', 2] as const],
    ...[['queueNotifyOff', 2] as const, ['queueDesc', 8] as const, ['queueDriver', 8] as const],
    ...[['queueDevice', 8] as const, ['queueNotifyData', 2] as const, ['queueReset', 2] as const],
  ] as const;

  test('have the fields of the specification, one after the other', () => {
    let at = 0;
    for (const [name, bytes] of fields) {
      expect([name, COMMON[name]]).toEqual([name, at]);
      at += bytes;
    }
    expect([at, Object.keys(COMMON).length]).toEqual([60, fields.length]);
    expect([ISR.status, NOTIFY.index, NOTIFY_DATA.data].map(Number)).toEqual([0, 0, 0]);
  });
});

describe('A device’s capabilities', () => {
  test('lead to its structures, at their places', () => {
    const fake = device();
    const { notify, isr, common, device: config } = find(fake);
    expect([notify.offset, notify.bytes, notify.multiplier]).toEqual([0x3000, 0x1000, 4]);
    expect(isr - notify.arena).toBe(0x1000);
    expect([common.bytes, config?.bytes]).toEqual([0x1000, 0x1000]);
    expect([fake.log, fake.violations]).toEqual([['bar 4'], []]);
  });

  test.each([0, 6, 7, 10, 0xff])('V57: a reserved cfg_type (%d) is ignored, whatever it says', (type) => {
    const fake = withCaps({ pciCfg: { type, bar: 4, offset: 0xffff_ffff, length: 0xffff_ffff } });
    expect(find(fake).notify.offset).toBe(0x3000);
  });

  test('V57: capabilities of shared memory are none of ours', () => {
    expect(find(withCaps({ pciCfg: { type: 8, bar: 2, offset: 0, length: 0 } })).notify.offset).toBe(0x3000);
  });

  test('V58: of several of a type the first that can be used is', () => {
    const first = { ...CAPS.notify, bar: 0 }; // I/O ports: workers cannot reach them
    const caps = [first, CAPS.notify, { ...CAPS.notify, offset: 0x2800 }, CAPS.common, CAPS.isr, CAPS.device];
    expect(find(device({ caps, bars: { 0: 'io', 4: 0x4000 } })).notify.offset).toBe(0x3000);
    const swapped = [CAPS.common, { ...CAPS.common, offset: 0x500 }, CAPS.notify, CAPS.isr, CAPS.device];
    expect(find(device({ caps: swapped })).common.bytes).toBe(0x1000);
  });

  test('V59: a cap_len larger than its kind needs is accepted', () => {
    for (const capLen of [20, 24, 64, 255])
      expect(find(withCaps({ common: { ...CAPS.common, capLen } })).common.bytes).toBe(0x1000);
  });

  test.each([
    [15, 'common'],
    [0, 'common'],
    [16, 'notify'],
    [19, 'notify'],
  ] as const)('H9: a cap_len of %d, less than the %s structure needs, is no such capability', (capLen, name) => {
    expect(refusal(withCaps({ [name]: { ...CAPS[name], capLen } }))).toBe('NO_STRUCTURE');
  });

  test.each([6, 7, 0xff])('V60: a capability with a reserved bar (%d) is ignored', (bar) => {
    const caps = [{ ...CAPS.common, bar }, CAPS.common, CAPS.notify, CAPS.isr, CAPS.device];
    expect(find(device({ caps })).common.bytes).toBe(0x1000);
    expect(refusal(withCaps({ common: { ...CAPS.common, bar } }))).toBe('NO_STRUCTURE');
  });

  test('V61: an unexpectedly large length is accepted; of it as much is used as is needed', () => {
    const bars = { 4: 0x80_0000 };
    const fake = withCaps({ device: { type: 4, bar: 4, offset: 0x10_0000, length: 0x60_0000 } }, { bars });
    expect(find(fake).device?.bytes).toBe(4096);
  });

  test('V61: a length of exactly what is needed is enough, one byte less is not', () => {
    expect(find(withCaps({ common: { ...CAPS.common, length: 56 } })).common.bytes).toBe(56);
    expect(messageOf(withCaps({ common: { ...CAPS.common, length: 55 } }))).toContain('55 bytes, and 56 are needed');
    expect(find(withCaps({ notify: { ...CAPS.notify, length: 2 } })).notify.bytes).toBe(2);
    expect(refusal(withCaps({ notify: { ...CAPS.notify, length: 1 } }))).toBe('NO_STRUCTURE');
  });

  test('V62: MUST NOT write to capabilities', () => {
    const fake = device();
    find(fake);
    expect([fake.config.writes, fake.violations]).toEqual([[], []]);
  });

  test('V70: vendor data is left alone', () => {
    const fake = withCaps({ pciCfg: { type: 9, bar: 0x34, offset: 0, length: 0, capLen: 8 } });
    const at = 0x50; // its place
    const reads: number[] = [];
    const read = fake.config.read.bind(fake.config);
    fake.config.read = (offset, width) => {
      reads.push(offset);
      return read(offset, width);
    };
    find(fake);
    // Id, link and cfg_type, and nothing of what the vendor has put there.
    expect(reads.filter((offset) => offset >= at && offset < at + 8).sort()).toEqual([at, at + 1, at + 3]);
  });

  test('A device without an ISR status is used without its line; one without a configuration has none', () => {
    const { isr, device: config } = find(withCaps({ isr: null, device: null }));
    expect([isr, config]).toEqual([0, undefined]);
  });
});

describe('By the window in configuration space', () => {
  const bars = { 0: 'io', 4: 0x4000 } as const;
  const common = { type: 1, bar: 0, offset: 0x40, length: 64 };

  test('V71: structures in a BAR that cannot be mapped are reached, each access aligned and inside of one', () => {
    const fake = withCaps({ common, device: { type: 4, bar: 0, offset: 0x100, length: 24 } }, { bars });
    const found = find(fake);
    expect(found.common.get8(COMMON.deviceStatus)).toBe(0);
    found.common.put8(COMMON.deviceStatus, 1);
    expect([fake.status, found.common.get16(COMMON.numQueues)]).toEqual([1, 3]);
    found.common.put32(COMMON.deviceFeatureSelect, 1);
    expect(found.common.get32(COMMON.deviceFeature)).toBe(3);
    found.common.put64(COMMON.queueDesc, 0x1_2345_6780n);
    expect(fake.queues[0].desc).toBe(0x1_2345_6780n);
    expect(found.common.get64(COMMON.queueDesc)).toBe(0n); // this device forgets it
    expect(fake.violations.filter((text) => text.startsWith('V71'))).toEqual([]);
  });

  test('V71: what lies outside of the structure is not accessed', () => {
    const fake = withCaps({ common: { ...common, length: 56 } }, { bars });
    expect(codeOf(() => find(fake).common.get16(COMMON.queueReset))).toBe('OUTSIDE_STRUCTURE');
    expect(fake.config.writes).toEqual([]);
  });

  test('without such a window they are not there, and the refusal says why', () => {
    expect(messageOf(withCaps({ common, pciCfg: null }, { bars }))).toContain('it is for I/O ports');
  });

  test('notifications and ISR status, which workers access, are not reached by it', () => {
    expect(refusal(withCaps({ notify: { ...CAPS.notify, bar: 0 } }, { bars }))).toBe('NO_STRUCTURE');
    expect(find(withCaps({ isr: { ...CAPS.isr, bar: 0 } }, { bars })).isr).toBe(0);
  });
});

describe('A hostile device', () => {
  test.each([
    ['H9: a list that comes back to where it was', 0x51, 0x40],
    ['H9: a list that is its own next', 0x51, 0x50],
    ['H9: a list that leads into the header', 0x51, 0x10],
  ])('%s', (_, at, next) => {
    const fake = device();
    fake.config.put(at, next);
    expect(refusal(fake)).toBe('BAD_CAPABILITIES');
    expect(fake.log).toEqual([]);
  });

  test('H9: a capability whose end is behind configuration space is none', () => {
    const fake = withCaps({ notify: null });
    // The last in the list leads to one that has four bytes and no more.
    fake.config.put(0x50 + 0x18 * 3 + 1, 0xf0).put(0xf0, 9, 0, 20, 2, 4, 0, 0, 0);
    expect(refusal(fake)).toBe('NO_STRUCTURE');
  });

  test.each([
    ['behind the BAR', { offset: 0x4000 }],
    ['across its end', { offset: 0x3800 }],
    ['with a sum of 2^32', { offset: 0xffff_f000, length: 0x1000 }],
    ['with a sum that wraps', { offset: 0x1000, length: 0xffff_f000 }],
    ['with all bits', { offset: 0xffff_fffc, length: 0xffff_ffff }],
    ['in a BAR that is not there', { bar: 5 }],
    ['at an offset that is not aligned', { offset: 2 }],
  ])('H9: a common configuration %s is refused, and nothing of it accessed', (_, wrong) => {
    const fake = withCaps({ common: { ...CAPS.common, ...wrong }, pciCfg: null });
    expect(refusal(fake)).toBe('NO_STRUCTURE');
    expect(fake.log.filter((line) => !line.startsWith('bar'))).toEqual([]);
  });

  test('H9: a BAR of size 0', () => {
    expect(refusal(device({ bars: { 4: 0 } }))).toBe('NO_STRUCTURE');
  });

  test.each([
    ['the device configuration in the common configuration', { device: { ...CAPS.device, offset: 0x20 } }],
    ['the ISR status in the common configuration', { isr: { ...CAPS.isr, offset: 59 } }],
  ])('H9: structures that overlap, %s: the later one is not used', (_, caps) => {
    const found = find(withCaps(caps));
    expect('isr' in caps ? found.isr : found.device).toBe('isr' in caps ? 0 : undefined);
  });

  test('H9: structures over the table of MSI-X vectors, or its pending bits, are refused', () => {
    const messageAt = (offset: number, msixAt: readonly [number, number]) =>
      messageOf(withCaps({ common: { ...CAPS.common, offset } }, { msixAt }));
    expect(messageAt(0, [4, 0x20])).toContain('the table of MSI-X vectors');
    expect(messageAt(0x800, [4, 0])).toContain('pending bits of MSI-X');
    expect(messageAt(0x800, [1, 0])).toBe('nothing');
  });

  test('A legacy device is refused by name, and told how to be another', () => {
    const fake = device({ caps: [] });
    expect(refusal(fake)).toBe('LEGACY_DEVICE');
    expect(messageOf(fake)).toContain('disable-modern');
  });
});
