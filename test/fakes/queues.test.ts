/** The fakes catch what they are there to catch. */
import { describe, expect, test } from 'vitest';
import { fakeClock, fakeContext, fakeFrames, fakeRing } from './queues.ts';

describe('fakeFrames', () => {
  test('hands out each frame once, with room as stated, until there are none', () => {
    const frames = fakeFrames(3, 256, 64);
    const burst = frames.burst(4);
    expect(frames.allocate(burst, 0, 4)).toBe(3);
    expect(new Set(burst.offsets.subarray(0, 3)).size).toBe(3);
    expect(burst.offsets.subarray(0, 3).every((offset) => offset % 256 === 64)).toBe(true);
    expect(frames.room).toBe(192);
    expect([frames.count('app'), frames.count('free'), frames.stack.pop()]).toEqual([3, 0, 0]);
  });

  test('throws at a frame that is freed twice, or that nobody gave out', () => {
    const frames = fakeFrames(2);
    const burst = frames.burst(2);
    frames.allocate(burst, 0, 1);
    frames.free(burst, 0, 1);
    expect(() => frames.free(burst, 0, 1)).toThrow(/given from app to free, but it is free's/);
    expect(() => frames.drop(burst, 0, 1, 0)).toThrow(/but it is free's/);
    burst.offsets[0] = 4;
    expect(() => frames.free(burst, 0, 1)).toThrow(/in no frame/);
  });

  test('counts what was freed and what was dropped, and spoils their bytes', () => {
    const frames = fakeFrames(4);
    const burst = frames.burst(4);
    frames.allocate(burst, 0, 4);
    const at = burst.offsets[0]!;
    frames.u8[at] = 1;
    frames.free(burst, 0, 1);
    frames.drop(burst, 1, 4, 2);
    expect([frames.freed.total, frames.dropped.get(2), frames.u8[at]]).toEqual([1, 3, 0xa5]);
  });
});

describe('fakeRing', () => {
  const setup = () => {
    const frames = fakeFrames(8);
    const ring = fakeRing(frames, 2);
    const burst = frames.burst(4);
    frames.allocate(burst, 0, 3);
    burst.lengths.fill(60);
    return { frames, ring, burst };
  };

  test('accepts up to its capacity, delivers in order, and passes the ownership on', () => {
    const { frames, ring, burst } = setup();
    const sent = [...burst.offsets.subarray(0, 2)];
    expect(ring.tx.transmit(burst, 0, 3)).toBe(2);
    expect([frames.count('ring'), frames.count('app'), ring.tx.reclaim()]).toEqual([2, 1, 2]);
    const got = frames.burst(4);
    expect(ring.rx.receive(got)).toBe(2);
    expect([got.count, [...got.offsets.subarray(0, 2)], got.lengths[1]]).toEqual([2, sent, 60]);
    expect([ring.rx.receive(got), got.count]).toEqual([0, 0]);
  });

  test('throws at a frame that is sent twice, and at one that is freed after it was sent', () => {
    const { ring, burst, frames } = setup();
    ring.tx.transmit(burst, 0, 1);
    expect(() => ring.tx.transmit(burst, 0, 1)).toThrow(/given from app to ring, but it is ring's/);
    expect(() => frames.free(burst, 0, 1)).toThrow(/but it is ring's/);
  });

  test('loses, copies, changes and inserts frames as it is told', () => {
    const { ring, burst, frames } = setup();
    frames.u8.fill(7, burst.offsets[0], burst.offsets[0]! + 60);
    ring.tx.transmit(burst, 0, 2);
    ring.duplicate(0, 2);
    ring.flip(2, 8);
    expect([ring.bytes(0)[1], ring.bytes(2)[1]]).toEqual([7, 6]);
    ring.insert(Uint8Array.of(1, 2, 3), 0);
    ring.resize(0, 2);
    expect([...ring.bytes(0)]).toEqual([1, 2]);
    ring.lose(1);
    expect([ring.wire.length, frames.count('ring')]).toEqual([3, 3]);
  });
});

describe('fakeContext', () => {
  test('has an rx queue that is always empty unless it is given one', () => {
    const { rx, frames } = fakeContext({});
    const burst = frames.burst(1);
    burst.count = 1;
    expect([rx.receive(burst), burst.count]).toEqual([0, 0]);
  });

  test('refuses a counter twice, a 17th counter, and a step that a counter cannot take', () => {
    const context = fakeContext({});
    const add = context.counter('a');
    add(2);
    add(3);
    expect(context.counters).toEqual({ a: 5 });
    expect(() => add(-1)).toThrow(/cannot be advanced/);
    expect(() => add(2 ** 31)).toThrow(/cannot be advanced/);
    expect(() => context.counter('a')).toThrow(/twice/);
    for (let i = 1; i < 16; i++) context.counter(`c${i}`);
    expect(() => context.counter('one more')).toThrow(/up to 16/);
  });

  test('has a clock that stands still until it is told, and whose words say what was read', () => {
    const clock = fakeClock(2 ** 32 + 5);
    expect(clock.now()).toBe(clock.now());
    clock.advance(10);
    expect([clock.now(), ...clock.words]).toEqual([2 ** 32 + 15, 15, 1, 0, 0]);
    clock.utc();
    expect([...clock.words]).toEqual([15, 1, 15, 1]);
  });
});
