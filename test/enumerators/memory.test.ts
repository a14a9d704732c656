import { describe, expect, it } from 'vitest';
import { MEMORY_ENUMERATOR_API, memoryClass } from '../../lib/enumerators/memory.ts';
import { PortError } from '../../lib/errors.ts';
import type { DeviceFacts, Enumerator } from '../../lib/framework/types.ts';
import { thrown } from '../fakes/errors.ts';

interface Added {
  readonly address: string;
  readonly facts: DeviceFacts;
}

/** The class's one enumerator, started, and the devices that it added. */
async function started(): Promise<{ request: (name: string) => unknown; enumerator: Enumerator; added: Added[] }> {
  const enumerators: Enumerator[] = [];
  await memoryClass().start({ addEnumerator: (e) => enumerators.push(e), removeEnumerator: async () => {} });
  expect(enumerators).toHaveLength(1);
  const [enumerator] = enumerators as [Enumerator];
  const added: Added[] = [];
  await enumerator.start({ addDevice: (device) => added.push(device), removeDevice: async () => {} });
  return { request: (name) => enumerator.request?.(name), enumerator, added };
}

describe('the memory enumerator', () => {
  it('offers its api, says which names it takes, and has no device before one is asked for', async () => {
    const { enumerator, added } = await started();
    expect(enumerator.api).toEqual(MEMORY_ENUMERATOR_API);
    expect(enumerator.portNames).toBe('null:NAME[,size=BYTES], loop:NAME[,ring=N], pair:NAME/0|1[,ring=N]');
    expect(added).toEqual([]);
  });

  it.each([
    ['null:a', { address: 'null:a', facts: { kind: 'null', name: 'a', size: 60 } }],
    ['null:a,size=1500', { address: 'null:a', facts: { kind: 'null', name: 'a', size: 1500 } }],
    ['loop:0', { address: 'loop:0', facts: { kind: 'loop', name: '0', ring: 1024 } }],
    ['loop:0,ring=64', { address: 'loop:0', facts: { kind: 'loop', name: '0', ring: 64 } }],
    ['pair:wire/0', { address: 'pair:wire/0', facts: { kind: 'pair', name: 'wire', side: 0, ring: 1024 } }],
    [
      'pair:wire/1,ring=32768',
      { address: 'pair:wire/1', facts: { kind: 'pair', name: 'wire', side: 1, ring: 32_768 } },
    ],
  ])('makes a device of %s; its options are no part of its address', async (name, device) => {
    const { request, added } = await started();
    expect(request(name)).toBe(device.address);
    expect(added).toEqual([device]);
  });

  it.each(['pcap:x', 'null', 'nullx:a', 'Null:a', 'eth0', '', ':', ':a', '__proto__:x', 'toString:x'])(
    'leaves the name "%s" to others',
    async (name) => {
      const { request, added } = await started();
      expect(request(name)).toBeUndefined();
      expect(added).toEqual([]);
    },
  );

  it.each([
    ['null:', 'it has no name; write null:NAME[,size=BYTES] or loop:NAME[,ring=N] or pair:NAME/0|1[,ring=N]'],
    ['loop:,ring=64', 'it has no name'],
    ['loop:ring=64', 'it has no name'],
    ['pair:', 'it has no name'],
    ['null:a,size=13', 'size=13 is not a whole number from 14 to 65000; give one, or leave it out for 60'],
    ['null:a,size=65001', 'size=65001 is not a whole number from 14 to 65000'],
    ['null:a,size=', 'size= is not a whole number'],
    ['null:a,size=6e1', 'size=6e1 is not a whole number'],
    ['null:a,size=0x40', 'size=0x40 is not a whole number'],
    ['null:a,size=-60', 'size=-60 is not a whole number'],
    ['null:a,size=60,size=61', 'option "size" is given twice; give it once'],
    ['null:a,ring=64', 'it has no option "ring=64"; options are size, as key=value'],
    ['null:a,size', 'it has no option "size"; options are size, as key=value'],
    ['null:a,', 'it has no option ""'],
    ['loop:a,ring=100', 'ring=100 is not a power of two; use 64, 128 … 32768'],
    ['loop:a,ring=32', 'ring=32 is not a whole number from 64 to 32768'],
    ['loop:a,ring=65536', 'ring=65536 is not a whole number from 64 to 32768'],
    ['loop:a,size=60', 'it has no option "size=60"; options are ring, as key=value'],
    ['pair:a', 'it does not say which end of which pair; write pair:NAME/0 or pair:NAME/1'],
    ['pair:a/2', 'it does not say which end of which pair'],
    ['pair:/0', 'it does not say which end of which pair'],
    ['pair:a/b/0', 'it does not say which end of which pair'],
    ['pair:a/0,ring=96', 'ring=96 is not a power of two'],
  ])('refuses %s and adds nothing', async (name, message) => {
    const { request, added } = await started();
    const error = thrown(() => request(name));
    expect(error).toBeInstanceOf(PortError);
    expect(error.code).toBe('BAD_PORT_NAME');
    expect(error.message).toContain(`port name "${name}": ${message}`);
    expect(error.detail).toEqual({ port: name });
    expect(added).toEqual([]);
  });
});
