import { describe, expect, it } from 'vitest';
import { makeJudge, OVERSIZE, packetEnd, RUNT, segmentsOf } from '../../lib/arena/segments.ts';
import { MORE } from '../../lib/queue.ts';

const on = (length: number): number => MORE + length;

describe('the end of a packet', () => {
  const lengths = Int32Array.of(60, on(100), on(100), 5, -1, on(7), on(7));
  it.each([
    [0, 7, 1],
    [1, 7, 4],
    [2, 7, 4],
    [3, 7, 4],
    [4, 7, 5],
    [5, 7, 7],
    [1, 3, 3],
  ])('that begins at %d of [0, %d) is %d: behind the first entry without MORE', (at, end, behind) => {
    expect(packetEnd(lengths, at, end)).toBe(behind);
  });
});

describe('a judge of packets up to 300 bytes in 3 segments of 100', () => {
  const judge = makeJudge(300, 100, 3);
  it.each<[string, number[], number]>([
    ['the least', [14], 14],
    ['one segment', [100], 100],
    ['three full ones', [on(100), on(100), 100], 300],
    ['later segments of a byte', [on(14), on(1), 1], 16],
    ['no header', [13], RUNT],
    ['no length', [0], RUNT],
    ['less than nothing', [-1], RUNT],
    ['the least that there is', [-(2 ** 31)], RUNT],
    ['no header in the first segment', [on(13), 100], RUNT],
    ['nothing in a later one', [on(14), on(0), 1], RUNT],
    ['less than nothing in the last one', [on(14), -5], RUNT],
    ['more than a frame has', [101], OVERSIZE],
    ['more than a frame has, first', [on(101), 14], OVERSIZE],
    ['more than a frame has, last', [on(14), 101], OVERSIZE],
    ['too many segments', [on(14), on(1), on(1), 1], OVERSIZE],
    ['no last segment', [on(14), on(14)], OVERSIZE],
    ['the most that can be said', [2 ** 31 - 1], OVERSIZE],
  ])('finds %s in %j', (_, lengths, verdict) => {
    expect(judge(Int32Array.from(lengths), 0, lengths.length)).toBe(verdict);
  });

  it('adds up to the limit of the port, and not a byte more', () => {
    const strict = makeJudge(250, 100, 3);
    expect(strict(Int32Array.of(9, on(100), on(100), 50, 9), 1, 4)).toBe(250);
    expect(strict(Int32Array.of(on(100), on(100), 51), 0, 3)).toBe(OVERSIZE);
  });
});

it('Packets have several segments only where the longest does not fit a frame', () => {
  expect([segmentsOf(1518, 1792), segmentsOf(1792, 1792), segmentsOf(1793, 1792), segmentsOf(9018, 1792, 17)]).toEqual([
    1, 1, 64, 17,
  ]);
});
