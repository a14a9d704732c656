import { describe, expect, test } from 'vitest';
import { FILE_ENUMERATOR_API, fileClass, pcapFacts } from '../../lib/enumerators/file.ts';
import type { DeviceFacts, Enumerator } from '../../lib/framework/types.ts';

interface Added {
  address: string;
  facts: DeviceFacts;
}

/** The class's one enumerator, started, and the devices that it added. */
async function started(): Promise<{ enumerator: Enumerator; added: Added[] }> {
  const enumerators: Enumerator[] = [];
  await fileClass().start({ addEnumerator: (e) => enumerators.push(e), removeEnumerator: async () => {} });
  const added: Added[] = [];
  await enumerators[0].start({ addDevice: (device) => added.push(device), removeDevice: async () => {} });
  expect(enumerators).toHaveLength(1);
  return { enumerator: enumerators[0], added };
}

describe('the file enumerator', () => {
  test('offers its api and says which names it takes', async () => {
    const { enumerator, added } = await started();
    expect(enumerator.api).toEqual({ name: 'file', version: 1 });
    expect(enumerator.api).toEqual(FILE_ENUMERATOR_API);
    expect(enumerator.portNames).toContain('pcap:IN');
    expect(added).toEqual([]);
  });

  test('makes a device of a name that starts with pcap:, whose address is the name', async () => {
    const { enumerator, added } = await started();
    const name = 'pcap:in.pcapng,out=out.pcapng,loops=0,timing=original';
    expect(enumerator.request?.(name)).toBe(name);
    const facts = { kind: 'pcap', in: 'in.pcapng', out: 'out.pcapng', loops: 0, timing: 'original' };
    expect(added).toEqual([{ address: name, facts }]);
  });

  test('leaves the names of others alone', async () => {
    const { enumerator, added } = await started();
    for (const name of ['null:0', 'pcap', 'xpcap:a', 'pcapng:a', ''])
      expect(enumerator.request?.(name)).toBeUndefined();
    expect(added).toEqual([]);
  });

  test('adds nothing for a name of its own that is wrong', async () => {
    const { enumerator, added } = await started();
    expect(() => enumerator.request?.('pcap:')).toThrow(expect.objectContaining({ code: 'BAD_PORT_NAME' }));
    expect(added).toEqual([]);
  });
});

describe('a pcap port name', () => {
  const DEFAULTS = { kind: 'pcap', in: '', out: '', loops: 1, timing: 'topspeed' };

  test.each([
    ['pcap:in.pcap', { in: 'in.pcap' }],
    ['pcap:in=in.pcap', { in: 'in.pcap' }],
    ['pcap:/a b/ü.pcap,out=c:d.pcapng', { in: '/a b/ü.pcap', out: 'c:d.pcapng' }],
    ['pcap:out=x.pcapng', { out: 'x.pcapng' }],
    ['pcap:in=a=b.pcap', { in: 'a=b.pcap' }],
    ['pcap:a,timing=original,loops=7', { in: 'a', timing: 'original', loops: 7 }],
    ['pcap:a,timing=topspeed,loops=2147483647', { in: 'a', loops: 2_147_483_647 }],
  ])('%s is understood', (name, facts) => {
    expect(pcapFacts(name)).toEqual({ ...DEFAULTS, ...facts });
  });

  test.each([
    ['pcap:', /names no file; write pcap:IN.* or pcap:out=OUT/],
    ['pcap:,loops=2', /names no file/],
    ['pcap:a,speed=9', /no option "speed=9"; options are in, out, loops, timing, as key=value/],
    ['pcap:a,loops', /no option "loops"/],
    ['pcap:a,', /no option ""/],
    ['pcap:a,out=', /out has no file; write out=FILE/],
    ['pcap:in=,out=x', /in has no file/],
    ['pcap:a,in=b', /an input file twice/],
    ['pcap:a,out=b,out=c', /"out" is given twice/],
    ['pcap:a,loops=-1', /loops=-1 is not a whole number from 0 to 2147483647/],
    ['pcap:a,loops=1.5', /loops=1\.5 is not/],
    ['pcap:a,loops=2147483648', /loops=2147483648 is not/],
    ['pcap:a,timing=fast', /no timing "fast"; use topspeed or original/],
    ['pcap:out=x,loops=2', /loops is about an input file/],
    ['pcap:out=x,timing=original', /timing is about an input file/],
  ])('%s is refused with what would be accepted', (name, message) => {
    expect(() => pcapFacts(name)).toThrow(message);
    expect(() => pcapFacts(name)).toThrow(expect.objectContaining({ code: 'BAD_PORT_NAME', detail: { port: name } }));
  });
});
