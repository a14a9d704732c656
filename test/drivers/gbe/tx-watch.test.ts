import { describe, expect, it } from 'vitest';
import { HANG_LOOKS, TxWatch } from '../../../lib/drivers/gbe/tx-watch.ts';

/** Looks at `heads` with `flying` until there is a verdict, `most` times at the most; returns how many looks it took. */
function lookAgain(
  watch: TxWatch,
  heads: readonly number[],
  flying: readonly number[],
  most = 100,
): number | undefined {
  for (let look = 1; look <= most; look++) if (watch.hung(heads, flying) !== undefined) return look;
  return undefined;
}

describe('The watch over tx queues', () => {
  it('blames the one that has something to send and stands still for so many looks', () => {
    const watch = new TxWatch();
    expect(lookAgain(watch, [3, 7], [0, 5])).toBe(HANG_LOOKS + 2); // the first one sees where it stands
    expect(watch.hung([3, 7], [0, 5])).toBe(1);
  });

  it.each([
    ['moves', [4], [5]],
    ['has nothing to send', [3], [0]],
  ] as const)('leaves one alone that %s meanwhile', (_, heads, flying) => {
    const watch = new TxWatch();
    expect(lookAgain(watch, [3], [5], HANG_LOOKS)).toBeUndefined();
    expect(watch.hung(heads, flying)).toBeUndefined();
    expect(lookAgain(watch, heads, [5], HANG_LOOKS)).toBeUndefined();
  });

  it('counts looks, not time: after a pause of the whole process one look more', async () => {
    const watch = new TxWatch();
    watch.hung([3], [5]);
    const end = performance.now() + 50;
    while (performance.now() < end);
    expect(watch.hung([3], [5])).toBeUndefined();
  });

  it('begins anew when it is told to', () => {
    const watch = new TxWatch();
    lookAgain(watch, [3], [5], HANG_LOOKS);
    watch.forget();
    expect(lookAgain(watch, [3], [5], HANG_LOOKS)).toBeUndefined();
  });
});
