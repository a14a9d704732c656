import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { indexAccess } from '../../lib/arena/order.ts';
import { makeRingConsumer, makeRingProducer, RING, ringBytes, ringContents } from '../../lib/arena/ring.ts';
import type { Burst } from '../../lib/queue.ts';
import { startThread } from '../fakes/threads.ts';

const AT = 128;

function makeBurst(size: number): Burst {
  return { size, offsets: new Int32Array(size), lengths: new Int32Array(size), count: 0 };
}

/** A ring whose indices start at `start`: they run freely, so that is nothing special. */
function makeRing(size: number, start = 0, arch = process.arch) {
  const memory = new SharedArrayBuffer(AT + ringBytes(size) + 64);
  const bytes = new Uint8Array(memory).fill(0xee);
  const words = new Int32Array(memory, AT, ringBytes(size) / 4).fill(0);
  words[RING.producer] = start;
  words[RING.consumer] = start;
  const access = indexAccess(arch);
  const producer = makeRingProducer(memory, AT, size, access);
  const consumer = makeRingConsumer(memory, AT, size, access);
  const around = () =>
    [...bytes.subarray(0, AT), ...bytes.subarray(AT + ringBytes(size))].every((byte) => byte === 0xee);
  return { memory, words, producer, consumer, around };
}

/** Index values at which something wraps: a sign bit, and all 32 bits. */
const STARTS = [0, 2 ** 31 - 5, -5, -(2 ** 31), 0x7fff_0000];

describe.each(['x64', 'arm64'] as const)('a ring, with the index accesses of %s', (arch) => {
  it('is a first-in first-out queue of its size, whatever its indices are', () => {
    const step = fc.oneof(
      fc.record({ put: fc.integer({ min: 1, max: 40 }), at: fc.nat(5), whole: fc.boolean() }),
      fc.record({ take: fc.integer({ min: 1, max: 40 }) }),
      fc.constant('pending' as const),
    );
    fc.assert(
      fc.property(
        fc.constantFrom(...STARTS),
        fc.constantFrom(1, 2, 8, 32),
        fc.array(step, { maxLength: 80 }),
        (start, size, steps) => {
          const { producer, consumer, memory, around } = makeRing(size, start, arch);
          const model: { offset: number; length: number }[] = [];
          let next = 1;
          for (const s of steps) {
            if (s === 'pending') {
              expect(producer.pending()).toBe(model.length);
            } else if ('put' in s) {
              const room = producer.room(s.put);
              // It may know of less room than there is only if that is enough.
              expect(room >= s.put ? room <= size - model.length : room === size - model.length).toBe(true);
              const n = Math.min(room, s.put);
              const burst = makeBurst(s.at + n);
              for (let i = 0; i < n; i++, next++) {
                burst.offsets[s.at + i] = next * 64;
                burst.lengths[s.at + i] = next & 0xffff;
                if (!s.whole) producer.put(next * 64, next & 0xffff);
                model.push({ offset: next * 64, length: next & 0xffff });
              }
              if (s.whole) producer.fill(burst.offsets, burst.lengths, s.at, n);
              producer.publish();
            } else {
              const burst = makeBurst(s.take);
              const n = consumer.take(burst);
              const expected = model.splice(0, s.take);
              expect(n).toBe(expected.length);
              expect([...burst.offsets.subarray(0, n)]).toEqual(expected.map(({ offset }) => offset));
              expect([...burst.lengths.subarray(0, n)]).toEqual(expected.map(({ length }) => length));
            }
            expect(ringContents(memory, AT, size)).toEqual(model.map(({ offset }) => offset));
          }
          expect(around()).toBe(true);
        },
      ),
    );
  });

  it('shows nothing before it is published', () => {
    const { producer, consumer } = makeRing(8, 0, arch);
    const burst = makeBurst(8);
    producer.room(2);
    producer.put(64, 60);
    producer.put(128, 61);
    expect(consumer.take(burst)).toBe(0);
    producer.publish();
    expect(consumer.take(burst)).toBe(2);
  });

  it.each(STARTS)('is full with its size, also when its indices start at %d', (start) => {
    const { producer, consumer } = makeRing(4, start, arch);
    expect(producer.room(100)).toBe(4);
    for (let i = 1; i <= 4; i++) producer.put(i, i);
    producer.publish();
    expect(producer.room(1)).toBe(0);
    expect(producer.pending()).toBe(4);
    expect(consumer.take(makeBurst(3))).toBe(3);
    expect(producer.room(1)).toBe(3);
    expect(consumer.take(makeBurst(3))).toBe(1);
    expect(consumer.take(makeBurst(3))).toBe(0);
    expect(producer.pending()).toBe(0);
  });

  it('asks the producer to wake only while the consumer is armed, and once per publish', () => {
    const { producer, consumer } = makeRing(8, -1, arch);
    const send = () => {
      producer.room(1);
      producer.put(64, 60);
      producer.publish();
    };
    expect(producer.wanted()).toBe(false); // nothing was published
    send();
    expect(producer.wanted()).toBe(false); // nobody sleeps
    expect(consumer.arm()).toBe(true); // there is something: don't sleep
    consumer.disarm();
    consumer.take(makeBurst(8));
    expect(consumer.arm()).toBe(false);
    expect(producer.wanted()).toBe(false); // still nothing new
    send();
    expect(producer.wanted()).toBe(true);
    expect(producer.wanted()).toBe(false); // told already
    send();
    expect(producer.wanted()).toBe(true);
    consumer.disarm();
    send();
    expect(producer.wanted()).toBe(false);
  });

  it('can be emptied while both ends stand still, and taken over by new ends', () => {
    const { memory, words, producer, consumer } = makeRing(8, 2 ** 31 - 3, arch);
    producer.room(5);
    for (let i = 1; i <= 5; i++) producer.put(i, i);
    producer.publish();
    expect(consumer.take(makeBurst(2))).toBe(2);
    words[RING.consumer] = words[RING.producer] as number;
    // The old ends go on: what they remember is less than there is, never more.
    expect(consumer.take(makeBurst(8))).toBe(0);
    expect(producer.pending()).toBe(0);
    expect(producer.room(8)).toBe(8);
    for (let i = 1; i <= 8; i++) producer.put(i * 10, i);
    producer.publish();
    // So do new ones.
    const access = indexAccess(arch);
    const newProducer = makeRingProducer(memory, AT, 8, access);
    const burst = makeBurst(8);
    expect(newProducer.pending()).toBe(8);
    expect(newProducer.room(1)).toBe(0);
    expect(makeRingConsumer(memory, AT, 8, access).take(burst)).toBe(8);
    expect([...burst.offsets]).toEqual([10, 20, 30, 40, 50, 60, 70, 80]);
    expect(newProducer.room(8)).toBe(8);
  });

  it.each([
    { start: 0, total: 1_000_000, size: 256, naps: 0 },
    { start: -500_000, total: 1_000_000, size: 1024, naps: 0.001 },
    { start: 2 ** 31 - 50_000, total: 100_000, size: 64, naps: 0.2 },
  ])(
    'carries $total frames between two threads in order, without losing a wake-up (from $start, breaks: $naps)',
    async (trial) => {
      const wakeAt = AT + ringBytes(trial.size);
      const { memory } = makeRing(trial.size, trial.start, arch);
      new Int32Array(memory, wakeAt, 1)[0] = 0;
      const data = { memory, at: AT, arch, wakeAt, ...trial };
      const consumer = startThread(import.meta.url, './threads/ring.mjs', { ...data, role: 'consumer' });
      const producer = startThread(import.meta.url, './threads/ring.mjs', { ...data, role: 'producer' });
      const [taken, sent] = (await Promise.all([consumer.result, producer.result])) as [
        { wrong: number; sleeps: number; overslept: number },
        { kicks: number },
      ];
      expect(taken).toMatchObject({ wrong: 0, overslept: 0 });
      // It did sleep, or this was no test of waking.
      expect(taken.sleeps).toBeGreaterThan(0);
      expect(sent.kicks).toBeGreaterThan(0);
      expect(ringContents(memory, AT, trial.size)).toEqual([]);
    },
  );

  it('is never armed by a consumer that sees nothing while the producer sees nobody armed', async () => {
    const size = 4;
    const rounds = 50_000;
    const gatesAt = AT + ringBytes(size);
    const sawAt = gatesAt + 256;
    const memory = new SharedArrayBuffer(sawAt + 2 * rounds);
    const data = { memory, at: AT, size, rounds, arch, gatesAt, sawAt, ms: 2000 };
    const roles = ['producer', 'consumer'];
    const threads = roles.map((role) => startThread(import.meta.url, './threads/wake.mjs', { ...data, role }));
    const [done, alike] = (await Promise.all(threads.map(({ result }) => result))) as number[];
    expect(done).toBe(alike);
    expect(done).toBeGreaterThan(0);
    const [woke, stayed] = [new Uint8Array(memory, sawAt, done), new Uint8Array(memory, sawAt + rounds, done)] as const;
    expect(woke.filter((saw, i) => saw === 0 && stayed[i] === 0).length).toBe(0);
  });
});

describe('the index accesses', () => {
  it('are plain on x64 alone, where stores and loads stay in order', () => {
    const view = new Int32Array(new SharedArrayBuffer(8));
    const [x64, arm64] = [indexAccess('x64'), indexAccess('arm64')] as const;
    expect(x64).not.toBe(arm64);
    expect(indexAccess('riscv64')).toBe(arm64);
    expect(indexAccess()).toBe(indexAccess(process.arch));
    for (const { load, store } of [x64, arm64]) {
      store(view, 1, -7);
      expect(load(view, 1)).toBe(-7);
    }
  });
});
