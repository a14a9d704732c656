import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { parsePortName, wholeOption } from '../../lib/enumerators/options.ts';
import { PortError } from '../../lib/errors.ts';
import { codeOf } from '../fakes/errors.ts';

describe('port names', () => {
  it('are a kind, a name, and options', () => {
    const { kind, name, options } = parsePortName('pcap:in.pcap,out=a=b,loops=', ['out', 'loops']);
    expect({ kind, name }).toEqual({ kind: 'pcap', name: 'in.pcap' });
    expect([...options]).toEqual([['out', 'a=b'], ['loops', '']]); // biome-ignore format: pairs
  });

  it('have whatever stands after the first colon; a name with "=" is an option', () => {
    expect(parsePortName('a:b:c', [])).toMatchObject({ kind: 'a', name: 'b:c' });
    expect(parsePortName('a:x=1', ['x'])).toMatchObject({ name: '' });
    expect(parsePortName('a:', [])).toMatchObject({ kind: 'a', name: '' });
  });

  it('come apart as they were put together', () => {
    const word = fc.stringMatching(/^[a-z0-9/._:-]{1,8}$/);
    const options = fc.uniqueArray(fc.tuple(fc.constantFrom('a', 'b', 'c'), fc.stringMatching(/^[^,]{0,8}$/)), {
      selector: ([key]) => key,
    });
    fc.assert(
      fc.property(word, options, (name, given) => {
        const text = ['kind:'.concat(name), ...given.map(([key, value]) => `${key}=${value}`)].join(',');
        const parsed = parsePortName(text, ['a', 'b', 'c']);
        expect(parsed).toMatchObject({ kind: 'kind', name });
        expect([...parsed.options]).toEqual(given);
      }),
    );
  });

  it('either come apart or are refused, whatever they are', () => {
    fc.assert(
      fc.property(fc.string(), (text) => {
        try {
          parsePortName(text, ['a']);
        } catch (error) {
          expect(error).toBeInstanceOf(PortError);
          expect(error).toMatchObject({ code: 'BAD_PORT_NAME', detail: { port: text } });
        }
      }),
    );
  });

  it('are refused when they take no options and have some', () => {
    expect(() => parsePortName('a:b,c=1', [])).toThrow('port name "a:b,c=1": it has no option "c=1"; leave it out');
  });
});

describe('whole numbers in port names', () => {
  const option = (value: string) => {
    const text = `x:y,n=${value}`;
    return wholeOption(text, parsePortName(text, ['n']), 'n', 7, 5, 4_000_000_000);
  };

  it('have bounds, and a value when absent', () => {
    expect([option('5'), option('4000000000'), option('0006')]).toEqual([5, 4_000_000_000, 6]);
    expect(wholeOption('x:y', parsePortName('x:y', ['n']), 'n', 7, 5, 9)).toBe(7);
  });

  it.each(['4', '4000000001', '', ' 6', '6 ', '+6', '-6', '6.0', '6e0', '0x6', '٦', '99999999999999999999'])(
    'do not look like "%s"',
    (value) => {
      expect(codeOf(() => option(value))).toBe('BAD_PORT_NAME');
    },
  );
});
