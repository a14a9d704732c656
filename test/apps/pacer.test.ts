import { fc, test } from '@fast-check/vitest';
import { describe, expect } from 'vitest';
import { makePacer } from '../../workers/apps/pacer.ts';
import { fakeClock } from '../fakes/queues.ts';

const BURST = 32;

function pace(rate: number) {
  const clock = fakeClock(123_456_789);
  const missed = { total: 0 };
  const pacer = makePacer(clock, rate, BURST, (n) => {
    missed.total += n;
  });
  /** Takes all that is due. */
  const take = () => {
    const n = pacer.due();
    pacer.take(n);
    return n;
  };
  return { clock, missed, pacer, take };
}

/** Packets due `ns` after the start: the first at once, packet k at k / rate. */
const dueAfter = (ns: number, rate: number): number => Number((BigInt(ns) * BigInt(rate)) / 1_000_000_000n) + 1;

describe('makePacer', () => {
  test.prop([fc.integer({ min: 1, max: 50_000_000 }), fc.array(fc.nat({ max: 1_000_000 }), { maxLength: 200 })])(
    'every packet is either due exactly when it should be or missed, whatever the intervals',
    (rate, intervals) => {
      const { clock, missed, take } = pace(rate);
      let taken = take();
      let elapsed = 0;
      for (const ns of intervals) {
        clock.advance(ns);
        elapsed += ns;
        const now = take();
        expect(now).toBeLessThanOrEqual(BURST);
        taken += now;
        expect(taken + missed.total).toBe(dueAfter(elapsed, rate));
      }
    },
  );

  test.each([
    ['a day at 7 packets per second', 7, 864_000, 100_000_000],
    ['line rate of 10 Gbit/s, which no nanosecond divides', 14_880_952, 100_000, 1999],
  ])('does not drift: %s is exact to the packet', (_name, rate, polls, ns) => {
    const { clock, missed, take } = pace(rate);
    let taken = take();
    for (let i = 0; i < polls; i++) {
      clock.advance(ns);
      taken += take();
    }
    expect([taken, missed.total]).toEqual([dueAfter(polls * ns, rate), 0]);
  });

  test('after a stall there is one burst, the rest is missed, and then the rate goes on', () => {
    const { clock, missed, take } = pace(1_000_000);
    expect(take()).toBe(1);
    clock.advance(1_000_000_000);
    expect(take()).toBe(BURST);
    expect(missed.total).toBe(1_000_000 - BURST);
    expect(take()).toBe(0);
    clock.advance(1000);
    expect(take()).toBe(1);
  });

  test('what is due and not taken stays due', () => {
    const { clock, pacer } = pace(1_000_000);
    clock.advance(0);
    expect(pacer.due()).toBe(1);
    clock.advance(4000);
    expect(pacer.due()).toBe(5);
    pacer.take(2);
    expect(pacer.due()).toBe(3);
  });

  test.prop([fc.integer({ min: 1, max: 20_000_000 }), fc.nat({ max: 10_000_000 })])(
    'wait says when the next is due: to the microsecond, at least 1, at most a second',
    (rate, ns) => {
      const { clock, pacer, take } = pace(rate);
      take();
      clock.advance(ns);
      take();
      const us = pacer.wait();
      expect(us).toBeGreaterThanOrEqual(1);
      expect(us).toBeLessThanOrEqual(1_000_000);
      if (us < 1_000_000) {
        clock.advance(us * 1000);
        expect(pacer.due()).toBeGreaterThanOrEqual(1);
      }
      if (us > 2) {
        clock.advance(-2000);
        expect(pacer.due()).toBe(0);
      }
    },
  );

  test('rate 0 is always a burst, without a look at the clock', () => {
    const clock = { ...fakeClock(), now: () => expect.fail('the clock was read') };
    const pacer = makePacer(clock, 0, BURST, () => expect.fail('something was missed'));
    pacer.take(BURST);
    expect([pacer.due(), pacer.due()]).toEqual([BURST, BURST]);
  });
});
