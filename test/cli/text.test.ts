import { describe, expect, test } from 'vitest';
import { byteCount, count, fit, packetRate, percent, plural, shortCount, table } from '../../lib/cli/text.ts';

describe('numbers', () => {
  test.each([
    [0, '0'],
    [999, '999'],
    [1000, '1,000'],
    [123_456, '123,456'],
    [1_234_567n, '1,234,567'],
    [2n ** 64n - 1n, '18,446,744,073,709,551,615'],
  ])('%s has its digits in groups of three', (n, text) => {
    expect(count(n)).toBe(text);
  });

  test.each([
    [9_999_999_999n, '9,999,999,999'],
    [10_000_000_000n, '10,000 M'],
    [99_999_999_999_999n, '99,999,999 M'],
    [10n ** 14n, '100,000 G'],
    [2n ** 64n - 1n, '18,446,744,073 G'],
  ])('%s in a table is %s', (n, text) => {
    expect(shortCount(n)).toBe(text);
  });

  test.each([
    [0, '0 pps'],
    [0.4, '0 pps'],
    [999, '999 pps'],
    [999.4, '999 pps'],
    [999.6, '1.0 kpps'],
    [1000, '1.0 kpps'],
    [99_949, '99.9 kpps'],
    [99_960, '0.10 Mpps'],
    [1_234_567, '1.23 Mpps'],
    [148_809_523, '148.81 Mpps'],
  ])('%d packets per second are %s', (pps, text) => {
    expect(packetRate(pps)).toBe(text);
  });

  test.each([
    [0, '0 bytes'],
    [1023, '1023 bytes'],
    [1024, '1 KiB'],
    [8 * 2 ** 20, '8 MiB'],
    [1.5 * 2 ** 30, '1.5 GiB'],
    [5000 * 2 ** 40, '5000 TiB'],
  ])('%d bytes are %s', (bytes, text) => {
    expect(byteCount(bytes)).toBe(text);
  });

  test('shares are whole percents', () => {
    expect([percent(0), percent(0.974), percent(0.999), percent(1)]).toEqual(['0 %', '97 %', '100 %', '100 %']);
  });

  test('one is singular, as number and as bigint', () => {
    expect([plural(1, 'packet'), plural(1n, 'packet'), plural(0, 'packet'), plural(2000n, 'packet')]).toEqual([
      '1 packet',
      '1 packet',
      '0 packets',
      '2,000 packets',
    ]);
  });
});

describe('fit', () => {
  test('leaves alone what fits', () => {
    expect(fit('pcap:in.pcap', 12)).toBe('pcap:in.pcap');
  });

  test.each([1, 2, 3, 7, 11])('cuts to exactly %d columns', (width) => {
    expect(fit('pcap:in.pcap', width)).toHaveLength(width);
  });

  test('keeps the beginning and the end', () => {
    expect(fit('pcap:/very/long/path/in.pcap', 13)).toBe('pcap:/…n.pcap');
  });

  test('is nothing where there is no room', () => {
    expect(fit('abc', 0)).toBe('');
  });
});

describe('table', () => {
  const columns = [{ title: 'Name', most: 5 }, { title: 'N', align: 'right' as const, width: 4 }, { title: 'Last' }];

  test('columns are as wide as their widest cell, their title, or what was asked for', () => {
    expect(
      table(columns, [
        ['a', '1', 'x'],
        ['abcd', '12345', 'yyyyyy'],
      ]),
    ).toEqual(['Name      N  Last', 'a         1  x', 'abcd  12345  yyyyyy']);
  });

  test('cells longer than a column may be are cut', () => {
    expect(table(columns, [['abcdefgh', '1', '']])[1]).toBe('ab…gh     1');
  });

  test('no line ends with spaces', () => {
    for (const line of table(columns, [
      ['', '', ''],
      ['a', '1', ''],
    ]))
      expect(line).toBe(line.trimEnd());
  });
});
