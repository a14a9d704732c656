import { fc, test } from '@fast-check/vitest';
import { describe, expect } from 'vitest';
import { makePacer } from '../../workers/apps/pacer.ts';
import { fakeClock } from '../fakes/queues.ts';

const BURST = 32;

function pace(rate: number, burst = BURST) {
  const clock = fakeClock(123_456_789);
  const missed = { total: 0 };
  const pacer = makePacer(clock, rate, burst, (n) => {
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

const rates = fc.integer({ min: 1, max: 50_000_000 });

describe('makePacer', () => {
  test.prop([
    rates,
    fc.array(fc.double({ min: 0, max: 1, noNaN: true }), { maxLength: 200 }),
    fc.constantFrom(3, 4, 32),
  ])('polled often enough, gives every packet exactly when it is due', (rate, intervals, burst) => {
    const { clock, missed, take } = pace(rate, burst);
    const most = Math.floor(((burst - 2) / rate) * 1e9);
    let taken = take();
    let elapsed = 0;
    for (const part of intervals) {
      const ns = Math.floor(part * most);
      clock.advance(ns);
      elapsed += ns;
      taken += take();
      expect(taken).toBe(dueAfter(elapsed, rate));
    }
    expect(missed.total).toBe(0);
  });

  test.prop([rates, fc.array(fc.nat({ max: 3_000_000 }), { minLength: 1, maxLength: 100 })])(
    'however it is polled, never sends before the time, and never more than burst + 2 * rate * t',
    (rate, intervals) => {
      const { clock, missed, take } = pace(rate);
      const sent = [{ at: 0, before: 0, after: take() }];
      let elapsed = 0;
      for (const ns of intervals) {
        clock.advance(ns);
        elapsed += ns;
        const before = sent.at(-1)!.after;
        sent.push({ at: elapsed, before, after: before + take() });
        expect(sent.at(-1)!.after + missed.total).toBeLessThanOrEqual(dueAfter(elapsed, rate));
      }
      for (const from of sent) {
        for (const to of sent) {
          if (to.at < from.at) continue;
          const limit = BURST + (2 * rate * (to.at - from.at)) / 1e9;
          expect(to.after - from.before).toBeLessThanOrEqual(limit + 1e-3);
        }
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

  test('after a stall sends one burst, catches up at twice the rate, and is then on time again', () => {
    const { clock, missed, take } = pace(1_000_000);
    expect(take()).toBe(1);
    clock.advance(1_000_000);
    const bursts = [take(), take()];
    for (let i = 0; i < 20; i++) {
      clock.advance(10_000);
      bursts.push(take());
    }
    expect(bursts).toEqual([32, 0, ...new Array(20).fill(20)]);
    for (let i = 0; i < 77; i++) {
      clock.advance(10_000);
      take();
    }
    clock.advance(10_000);
    expect(take()).toBe(10);
    expect(missed.total).toBe(0);
  });

  test('gives up, and says so, what is more than a tenth of a second late', () => {
    const { clock, missed, take } = pace(1_000_000);
    take();
    clock.advance(10_000_000_000);
    expect(take()).toBe(32);
    expect(missed.total).toBe(10_000_000 - 100_000);
  });

  test('gives up nothing within a burst, however slow the rate', () => {
    const { clock, missed, take } = pace(1);
    take();
    clock.advance(32_000_000_000);
    expect([take(), missed.total]).toEqual([32, 0]);
    clock.advance(40_000_000_000);
    expect([take(), missed.total]).toEqual([32, 8]);
  });

  test('what is due and not taken stays due', () => {
    const { clock, pacer } = pace(1_000_000);
    expect(pacer.due()).toBe(1);
    clock.advance(4000);
    expect(pacer.due()).toBe(5);
    pacer.take(2);
    expect(pacer.due()).toBe(3);
  });

  test.prop([fc.integer({ min: 1, max: 20_000_000 }), fc.nat({ max: 10_000_000 })])(
    'wait says when the next may be sent: to the microsecond, at least 1, at most a second',
    (rate, ns) => {
      const { clock, pacer, take } = pace(rate);
      take();
      clock.advance(ns);
      take();
      fc.pre(pacer.due() === 0);
      const us = pacer.wait();
      expect(us).toBeGreaterThanOrEqual(1);
      expect(us).toBeLessThanOrEqual(1_000_000);
      if (us > 2) {
        clock.advance((us - 2) * 1000);
        expect(pacer.due()).toBe(0);
        clock.advance(2000);
      } else {
        clock.advance(us * 1000);
      }
      if (us < 1_000_000) expect(pacer.due()).toBeGreaterThanOrEqual(1);
    },
  );

  test('rate 0 is always a burst, without a look at the clock', () => {
    const clock = { ...fakeClock(), now: () => expect.fail('the clock was read') };
    const pacer = makePacer(clock, 0, BURST, () => expect.fail('something was missed'));
    pacer.take(BURST);
    expect([pacer.due(), pacer.due()]).toEqual([BURST, BURST]);
  });
});
