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

  it('comes though another one throws, whose error is uncaught', async () => {
    const caught = vi.fn();
    const before = process.listeners('uncaughtException');
    process.removeAllListeners('uncaughtException').once('uncaughtException', caught);
    const error = new Error('its own');
    const look = vi.fn();
    const pulses = [
      everyMs(100, () => {
        throw error;
      }),
      everyMs(100, look),
    ];
    vi.advanceTimersByTime(110);
    await new Promise((resolve) => setImmediate(resolve));
    for (const pulse of pulses) pulse.stop();
    for (const listener of before) process.on('uncaughtException', listener);
    expect([look.mock.calls.length, caught.mock.calls[0]?.[0]]).toEqual([1, error]);
  });

  it('takes one timer with others of its period, which keeps the process alive if one of them is to', () => {
    const pulses = [everyMs(100, () => {}), everyMs(100, () => {}, true)];
    expect(vi.getTimerCount()).toBe(1);
    for (const pulse of pulses) pulse.stop();
    expect(vi.getTimerCount()).toBe(0);
    vi.useRealTimers();
    const keeping = () => process.getActiveResourcesInfo().filter((name) => name === 'Timeout').length;
    const before = keeping();
    const idle = everyMs(100, () => {});
    expect(keeping()).toBe(before);
    const needed = [everyMs(100, () => {}, true), everyMs(100, () => {}, true)];
    expect(keeping()).toBe(before + 1);
    for (const pulse of needed) pulse.stop();
    expect(keeping()).toBe(before);
    idle.stop();
  });

  it('can be stopped by what it calls', () => {
    const pulse = everyMs(100, () => pulse.stop());
    vi.advanceTimersByTime(1000);
    expect(vi.getTimerCount()).toBe(0);
  });
});
