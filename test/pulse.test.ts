import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { everyMs } from '../lib/pulse.ts';

describe('A pulse', () => {
  beforeEach(() => vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] }));
  afterEach(() => vi.useRealTimers());

  it('comes as often as it says', () => {
    const look = vi.fn();
    const pulse = everyMs(100, look);
    vi.advanceTimersByTime(1010);
    expect(look).toHaveBeenCalledTimes(10);
    pulse.stop();
    pulse.stop();
    vi.advanceTimersByTime(1000);
    expect(look).toHaveBeenCalledTimes(10);
  });

  it('comes at the same moments as others, whenever they began', () => {
    const moments: number[] = [];
    const pulses = [0, 30, 7].map((later) => {
      vi.advanceTimersByTime(later);
      return everyMs(100, () => moments.push(performance.now()));
    });
    vi.advanceTimersByTime(500);
    for (const pulse of pulses) pulse.stop();
    expect(moments).toHaveLength(15);
    expect(new Set(moments).size).toBe(5);
  });

  it('can be stopped by what it calls', () => {
    const pulse = everyMs(100, () => pulse.stop());
    vi.advanceTimersByTime(1000);
    expect(vi.getTimerCount()).toBe(0);
  });
});
