import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { counterBytes, makeCounters, mendCounters, readCounter, readCounters } from '../../lib/arena/counters.ts';
import { startThread } from '../fakes/threads.ts';

const TWO_32 = 2n ** 32n;

/** A counter that stands at `value`. */
function counterAt(value: bigint): SharedArrayBuffer {
  const memory = new SharedArrayBuffer(counterBytes(1));
  new BigUint64Array(memory)[0] = value;
  return memory;
}

describe('counters', () => {
  it('are u64 in memory, low half first, with room for each', () => {
    expect(counterBytes(5)).toBe(40);
    const memory = counterAt(0x1234_5678_9abc_def0n);
    expect(readCounter(memory, 0, 0)).toBe(0x1234_5678_9abc_def0n);
  });

  it('add up, each on its own', () => {
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.nat(2), fc.integer({ min: 0, max: 2 ** 31 - 1 })), { maxLength: 60 }),
        (adds) => {
          const memory = new SharedArrayBuffer(8 + counterBytes(3));
          const count = makeCounters(memory, 8, 3);
          const sums = [0n, 0n, 0n];
          for (const [index, n] of adds) {
            count(index, n);
            sums[index] = sums[index]! + BigInt(n);
            expect(readCounter(memory, 8, index)).toBe(sums[index]);
          }
          expect(readCounters(memory, 8, ['a', 'b', 'c'])).toEqual({ a: sums[0], b: sums[1], c: sums[2] });
        },
      ),
    );
  });

  it.each([TWO_32 / 2n - 2n, TWO_32 - 2n, 7n * TWO_32 - 2n, 2n ** 62n - 2n])('go on from %d', (start) => {
    const memory = counterAt(start);
    const count = makeCounters(memory, 0, 1);
    for (let i = 1n; i <= 4n; i++) {
      count(0, 1);
      expect(readCounter(memory, 0, 0)).toBe(start + i);
    }
    count(0, 0);
    count(0, 2 ** 31 - 1);
    expect(readCounter(memory, 0, 0)).toBe(start + 4n + 2n ** 31n - 1n);
  });

  it('are read right at each step of a carry, and mended when their writer ended there', () => {
    const n = 2 ** 31 - 1;
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 30 }), fc.integer({ min: 1, max: n }), (high, below) => {
        // Before: `below` to go until the low half wraps; the addition is `n`.
        const low = -below | 0;
        const before = (BigInt(high) << 32n) | BigInt(low >>> 0);
        const after = before + BigInt(n);
        const mark = 0x8000_0000 | 0;
        const steps: [number, number, bigint][] = [
          [high | mark, low, before],
          [high | mark, (low + n) | 0, after],
          [high + 1, (low + n) | 0, after],
        ];
        for (const [highWord, lowWord, value] of steps) {
          const memory = new SharedArrayBuffer(8);
          new Int32Array(memory).set([lowWord, highWord]);
          expect(readCounter(memory, 0, 0)).toBe(value);
          mendCounters(memory, 0, 1);
          expect(readCounter(memory, 0, 0)).toBe(value);
          makeCounters(memory, 0, 1)(0, n);
          expect(readCounter(memory, 0, 0)).toBe(value + BigInt(n));
        }
      }),
    );
  });

  it('never go back or jump for who reads them while a thread counts, four carries in ten additions', async () => {
    const memory = counterAt(0n);
    const n = 0x6ab1_2345; // odd: a sum of halves that do not belong together is no multiple of it
    const thread = startThread(import.meta.url, './threads/counter.mjs', { memory, n });
    await thread.result;
    const start = performance.now();
    let last = 0n;
    let reads = 0;
    let changes = 0;
    let wrong = 0;
    const enough = () => reads > 10_000 && changes > 1000 && last > 1000n * TWO_32;
    // A second, and on a busy machine until both have had a cpu often enough.
    for (let ms = 0; ms < 1000 || (ms < 15_000 && !enough()); ms = performance.now() - start) {
      const now = readCounter(memory, 0, 0);
      if (now < last || now % BigInt(n) !== 0n) wrong++;
      if (now !== last) changes++;
      last = now;
      reads++;
    }
    await thread.stop();
    expect({ wrong, enough: enough() }).toEqual({ wrong: 0, enough: true });
  });
});
