import { describe, expect, test } from 'vitest';
import { LinecardError } from '../../lib/errors.ts';
import { type PingOptions, ping } from '../../workers/apps/ping.ts';
import { fakeContext, fakeFrames, fakePort, fakeRing } from '../fakes/queues.ts';

const POOL = 256;

/** A ping whose tx ring is its rx ring: what it sends is there at the next call. */
function start(options: PingOptions, parts: { capacity?: number; pool?: number } = {}) {
  const frames = fakeFrames(parts.pool ?? POOL);
  const ring = fakeRing(frames, parts.capacity);
  const context = fakeContext(options, { frames, rx: ring.rx, rxPort: fakePort(0), tx: [ring.tx] });
  const poll = ping(context);
  const settle = () => {
    while (poll() > 0);
    return context.counters;
  };
  return { frames, ring, context, poll, settle };
}

describe('ping', () => {
  test('sends as many as it was told to, checks each that comes back, and gives all frames back', () => {
    const { frames, settle } = start({ count: 1000, size: 200 });
    expect(settle()).toMatchObject({ sent: 1000, received: 1000, ok: 1000, skipped: 0 });
    expect(frames.count('free')).toBe(POOL);
  });

  test('never has more under way than its window', () => {
    const { frames, context, poll } = start({ count: 200, window: 40 });
    for (let most = 0; context.counters.received! < 200; ) {
      poll();
      most = Math.max(most, POOL - frames.count('free'));
      expect(most).toBeLessThanOrEqual(40);
    }
  });

  test('stands still once a whole window is lost, and counts nothing that was not', () => {
    const { ring, poll, context } = start({ count: 100, window: 8 });
    poll();
    while (ring.wire.length > 0) ring.lose(0);
    for (let i = 0; i < 10; i++) expect(poll()).toBe(0);
    expect(context.counters).toMatchObject({ sent: 8, received: 0 });
  });

  test('takes a frame of somebody else for none of its own', () => {
    const { ring, poll, settle, frames } = start({ count: 100, window: 4 });
    poll();
    for (let i = 0; i < 10; i++) ring.insert(new Uint8Array(60), 0);
    expect(settle()).toMatchObject({ sent: 100, received: 110, foreign: 10, ok: 100 });
    expect(frames.count('free')).toBe(POOL);
  });

  test('sees what was changed, what came twice, and what was passed over', () => {
    const { ring, poll, settle } = start({ count: 20, window: 8 });
    poll();
    ring.flip(1, 400);
    ring.duplicate(2, 3);
    ring.lose(5);
    expect(settle()).toMatchObject({ sent: 20, corrupt: 1, duplicate: 1, skipped: 2, received: 20 });
  });

  test('without a count it sends nothing, and judges what comes', () => {
    const { ring, settle } = start({});
    ring.insert(new Uint8Array(60), 0);
    expect(settle()).toMatchObject({ sent: 0, received: 1, foreign: 1 });
  });

  test('offers again what a full queue did not take, and asks to be called', () => {
    const { ring, poll, settle, context } = start({ count: 50 }, { capacity: 0 });
    expect(poll()).toBe(0);
    expect(context.wakes).toEqual([100]);
    ring.capacity = 10;
    expect(settle()).toMatchObject({ sent: 50, ok: 50 });
  });

  test('is silent for so long before each window', () => {
    const { poll, context } = start({ count: 3, window: 1, pauseUs: 5000 });
    for (let sent = 1; sent <= 3; sent++) {
      expect(poll()).toBe(0);
      expect(context.wakes.pop()).toBe(5000);
      context.clock.advance(4_000_000);
      expect(poll()).toBe(0);
      expect(context.wakes.pop()).toBe(1000);
      context.clock.advance(1_000_000);
      expect([poll(), context.counters.sent]).toEqual([1, sent]);
      poll(); // it is back
      context.wakes.length = 0;
    }
    expect([poll(), context.counters.ok, context.wakes]).toEqual([0, 3, []]);
  });

  test.each([
    [{ size: 59 }, /size.*59 is not a whole number from 60 to 1514/],
    [{ window: 0 }, /window/],
    [{ pauseUs: -1 }, /pauseUs/],
    [{ rate: 5 }, /there is no such option/],
  ])('refuses %j', (options, text) => {
    expect(() => start(options as PingOptions)).toThrow(text);
  });

  test('needs a queue to receive from and one to send to', () => {
    expect(() => ping(fakeContext({}))).toThrow(LinecardError);
    expect(() => ping(fakeContext({}, { rxPort: fakePort(0) }))).toThrow(/no tx port/);
  });
});
