import { closeSync } from 'node:fs';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { reserve } from '../../lib/arena/reserve.ts';
import { loadNative, type Native } from '../../native/index.ts';

const PAGE = 4096;
const ARENA_BYTES = 4 * 65_536;

/** Anything, but no number that could be one of this process's own file descriptors, cpus or signals. */
const rubbish = fc.oneof(
  fc.integer({ max: -1 }),
  fc.integer({ min: 1_000_000 }),
  fc.maxSafeNat().map((n) => n + 1_000_000),
  fc.double().map((n) => n + 0.5),
  fc.constantFrom<unknown>(
    Number.NaN,
    Number.POSITIVE_INFINITY,
    2 ** 32,
    2 ** 53,
    2 ** 64,
    -0.5,
    1n,
    null,
    undefined,
    '',
    '1',
    true,
  ),
  fc.constantFrom<unknown>(Symbol('x'), () => 0, {}, [], [1, 2], new Date(0), /x/),
  fc.nat(64).map((n) => new Uint8Array(n)),
  fc.nat(64).map((n) => new Uint8Array(new SharedArrayBuffer(n))),
  fc.nat(64).map((n) => new Int32Array(n)),
  fc.nat(64).map((n) => new Float64Array(n)),
  fc.nat(64).map((n) => new DataView(new ArrayBuffer(n))),
  fc.nat(64).map((n) => new SharedArrayBuffer(n)),
);

/** What takes arguments: the others (`eventfd`, `tid` …) have nothing to be given. */
function functionsOf(native: Native): [string, (...args: unknown[]) => unknown][] {
  const without = ['eventfd', 'socketPair', 'epollCreate', 'affinity', 'tid', 'memlockLimit', 'clock', 'utc'];
  return Object.entries(native).filter(([name]) => !without.includes(name));
}

describe('the addon, given rubbish', () => {
  const native = loadNative();

  it.each(functionsOf(native))('%s throws or returns, and the process lives', (_name, call) => {
    let threw = 0;
    fc.assert(
      fc.property(fc.array(rubbish, { maxLength: 7 }), (args) => {
        try {
          call(...args);
        } catch (error) {
          expect(error).toBeInstanceOf(Error);
          threw++;
        }
      }),
      { numRuns: 2000 },
    );
    expect(threw).toBeGreaterThan(0);
  });

  it('functions without arguments do not mind being given some', () => {
    fc.assert(
      fc.property(fc.array(rubbish), (args) => {
        const { tid, affinity, memlockLimit } = native as unknown as Record<string, (...args: unknown[]) => unknown>;
        expect(tid!(...args)).toBe(process.pid);
        expect(affinity!(...args)).toEqual(native.affinity());
        expect(memlockLimit!(...args)).toBe(native.memlockLimit());
      }),
    );
  });

  it('maps ranges of whole pages inside the arena, and refuses all others', () => {
    const arena = new Uint8Array(reserve(ARENA_BYTES).buffer);
    const near = fc.oneof(
      fc.nat(2 * ARENA_BYTES),
      fc.nat(2 * (ARENA_BYTES / PAGE)).map((n) => n * PAGE),
      fc.constantFrom(2 ** 32, 2 ** 53 - PAGE, 2 ** 53, 2 ** 64 - PAGE, Number.NaN),
    );
    fc.assert(
      fc.property(near, near, (offset, length) => {
        const whole = offset % PAGE === 0 && length % PAGE === 0 && length > 0 && offset + length <= ARENA_BYTES;
        if (!whole) {
          expect(() => native.mapMemory(arena, offset, length, false)).toThrow(RangeError);
          expect(() => native.unmap(arena, offset, length)).toThrow(RangeError);
          return;
        }
        closeSync(native.mapMemory(arena, offset, length, false));
        arena.fill(1);
        native.unmap(arena, offset, length);
        expect(arena.reduce((sum, byte) => sum + byte, 0)).toBe(ARENA_BYTES - length);
      }),
      { numRuns: 300 },
    );
  });
});
