import { fc, test as property } from '@fast-check/vitest';
import { describe, expect, test } from 'vitest';
import { defaultPortMap, parsePortMap } from '../../lib/cli/portmap.ts';

const NAMES = ['a', 'b', 'c', 'd'];

describe('without --portmap', () => {
  test.each([
    [1, [0]],
    [2, [1, 0]],
    [3, [1, 2, 0]],
    [4, [1, 0, 3, 2]],
    [5, [1, 2, 3, 4, 0]],
  ])('%d ports are neighbours, a ring, or their own', (ports, to) => {
    expect(defaultPortMap(ports)).toEqual(to);
  });

  property.prop([fc.integer({ min: 1, max: 64 })])('each port receives from exactly one', (ports) => {
    expect([...defaultPortMap(ports)].sort((a, b) => a - b)).toEqual(Array.from({ length: ports }, (_, i) => i));
  });
});

describe('--portmap', () => {
  test.each(['(0,2),(1,3)', '[(0,2),(1,3)]', ' ( 0 , 2 ) , ( 1 , 3 ) ', '(2,0),(3,1)'])(
    '%s pairs 0 with 2 and 1 with 3',
    (text) => {
      expect(parsePortMap(text, NAMES)).toEqual([2, 3, 0, 1]);
    },
  );

  test('a port in a pair with itself sends back what it receives', () => {
    expect(parsePortMap('(0,0),(1,2)', ['a', 'b', 'c'])).toEqual([0, 2, 1]);
  });

  test.each(['', '0,1', '(0,1', '(0;1)', '(0,1)(2,3)', '(0,1),', '(-1,0)', '(0,1,2)', '[(0,1)', '(a,b)'])(
    '"%s" is no list of pairs',
    (text) => {
      expect(() => parsePortMap(text, NAMES)).toThrow(
        expect.objectContaining({ code: 'USAGE', message: expect.stringContaining('no list of pairs') }),
      );
    },
  );

  test('a port that there is not is named', () => {
    expect(() => parsePortMap('(0,1),(2,4)', NAMES)).toThrow(/there is no port 4; ports are 0 to 3/);
  });

  test('a port in two pairs is named', () => {
    expect(() => parsePortMap('(0,1),(1,2)', NAMES)).toThrow(/port 1 \(b\) is in two pairs/);
  });

  test('a port in no pair is named: it would be opened for nothing', () => {
    expect(() => parsePortMap('(0,1)', ['a', 'b', 'c'])).toThrow(/port 2 \(c\) is in no pair/);
  });
});
