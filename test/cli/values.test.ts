import { describe, expect, test } from 'vitest';
import { cpuList, jsonObject, moduleName, oneOf, quantity, seconds, wholeNumber } from '../../lib/cli/values.ts';

const refused = (action: () => unknown, text: RegExp) => {
  expect(action).toThrow(expect.objectContaining({ code: 'USAGE', message: expect.stringMatching(text) }));
};

describe('values of options', () => {
  const parseCount = wholeNumber('-q', { min: 1, max: 100 });

  test('whole numbers', () => {
    expect([parseCount('1'), parseCount('100'), parseCount('007')]).toEqual([1, 100, 7]);
  });

  test.each(['0', '101', '-1', '1.5', '1e1', '0x10', '', ' 1', 'two'])(
    '"%s" is no whole number from 1 to 100',
    (text) => {
      refused(() => parseCount(text), /^option -q: ".*" is not a whole number from 1 to 100; /);
    },
  );

  const parseTime = seconds('--time', { min: 0, max: 60 });

  test('seconds', () => {
    expect(['0', '10', '0.5', '.25', '60', '1.'].map(parseTime)).toEqual([0, 10, 0.5, 0.25, 60, 1]);
  });

  test.each(['-1', '61', '', '1s', 'Infinity', '.', '0.0001'])('"%s" are no seconds', (text) => {
    refused(() => parseTime(text), /not a number of seconds from 0 to 60/);
  });

  const parseRate = quantity('--rate', { min: 0, max: 1e9 });

  test('quantities have units of thousands', () => {
    expect(['0', '1500', '10k', '1.5M', '1g', '2.5K'].map(parseRate)).toEqual([0, 1500, 10_000, 1_500_000, 1e9, 2500]);
  });

  test.each(['', 'k', '10 k', '-1', '2g', '10kk', '1e6'])('"%s" is no rate', (text) => {
    refused(() => parseRate(text), /--rate.*1\.5M$/);
  });

  const parseCpus = cpuList('--cpus');

  test('cpus as the kernel lists them', () => {
    expect([parseCpus('0'), parseCpus('0,2-4'), parseCpus('3,1'), parseCpus('5-5')]).toEqual([
      [0],
      [0, 2, 3, 4],
      [3, 1],
      [5],
    ]);
  });

  test.each(['', ',', '1,', '3-1', 'a', '-1', '1-', '0,,1', '99999'])('"%s" is no list of cpus', (text) => {
    refused(() => parseCpus(text), /no list of cpus; write it as 0,2-3/);
  });

  test('one of some words', () => {
    const parse = oneOf('--mode', ['busy', 'adaptive']);
    expect(parse('busy')).toBe('busy');
    refused(() => parse('Busy'), /"Busy" is none of its values; use busy, adaptive/);
  });

  test('applications: the part after the last # is the export', () => {
    const parse = moduleName('option --app');
    expect(parse('./a.js')).toEqual({ module: './a.js' });
    expect(parse('./a.js#fw')).toEqual({ module: './a.js', export: 'fw' });
    expect(parse('./a#b.js#fw')).toEqual({ module: './a#b.js', export: 'fw' });
  });

  test.each(['', '#', '#x', './a.js#'])('"%s" names no module and export', (text) => {
    refused(() => moduleName('option --app')(text), /names no module and export/);
  });

  test('JSON objects', () => {
    expect(jsonObject('--app-options')('{"a": [1]}')).toEqual({ a: [1] });
  });

  test.each(['{', '[]', 'null', '1', ''])('%s is no JSON object', (text) => {
    refused(() => jsonObject('--app-options')(text), /JSON/);
  });
});
