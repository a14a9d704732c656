import { fc, test as property } from '@fast-check/vitest';
import { describe, expect, test } from 'vitest';
import { type Json, toJson } from '../../lib/cli/json.ts';

describe('JSON', () => {
  test('bigints are plain integers of all their digits', () => {
    expect(toJson({ n: 2n ** 64n - 1n, list: [-1n, 0n] })).toBe('{"n":18446744073709551615,"list":[-1,0]}');
  });

  test('keys without a value are left out, null is kept', () => {
    expect(toJson({ a: undefined, b: null, c: 1 })).toBe('{"b":null,"c":1}');
  });

  test('what is no number in JSON is null', () => {
    expect(toJson([Number.NaN, Number.POSITIVE_INFINITY])).toBe('[null,null]');
  });

  property.prop([fc.jsonValue()])('anything else is what JSON.stringify writes', (value) => {
    expect(toJson(value as Json)).toBe(JSON.stringify(value));
  });

  property.prop([fc.string()])('is always one line', (text) => {
    expect(toJson({ [text]: text })).not.toContain('\n');
  });
});
