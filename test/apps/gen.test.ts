import { fc, test } from '@fast-check/vitest';
import { describe, expect } from 'vitest';
import { LinecardError } from '../../lib/errors.ts';
import type { PortFacts } from '../../lib/queue.ts';
import { makeProbeReader } from '../../lib/wire/probe.ts';
import { type GenOptions, gen } from '../../workers/apps/gen.ts';
import { type FakeRing, fakeContext, fakeFrames, fakePort, fakeRing } from '../fakes/queues.ts';
import { dissect, noTshark } from '../wire/tshark.ts';

/** A generator with `queues` rings behind it. */
function start(options: GenOptions, parts: { queues?: number; pool?: number; capacity?: number; mtu?: number } = {}) {
  const frames = fakeFrames(parts.pool ?? 1024);
  const rings = Array.from({ length: parts.queues ?? 1 }, () => fakeRing(frames, parts.capacity));
  const txPorts = rings.map((_, i) => fakePort(i, parts.mtu));
  const context = fakeContext(options, { frames, tx: rings.map((ring) => ring.tx), txPorts });
  return { context, frames, rings, poll: gen(context), counters: context.counters };
}

/** What a probe on the wire says, read with literal offsets. */
function read(ring: FakeRing, i: number) {
  const bytes = ring.bytes(i);
  const view = new DataView(bytes.buffer);
  return {
    length: bytes.length,
    destination: Buffer.from(bytes.subarray(0, 6)).toString('hex'),
    source: Buffer.from(bytes.subarray(6, 12)).toString('hex'),
    tuple: Buffer.from(bytes.subarray(26, 38)).toString('hex'),
    flow: view.getUint16(46, true),
    tx: view.getUint16(50, true),
    sequence: view.getUint32(52, true) * 2 ** 32 + view.getUint32(56, true),
  };
}
const all = (ring: FakeRing) => ring.wire.map((_, i) => read(ring, i));

/** The error that making a generator with `options` throws. */
function refusal(options: object, parts: Parameters<typeof start>[1] = {}): LinecardError {
  try {
    start(options, parts);
  } catch (error) {
    if (error instanceof LinecardError) return error;
    throw error;
  }
  return expect.fail('nothing was refused');
}

describe('what gen sends', () => {
  test('is bursts of valid probes of 60 bytes, one flow, unless told otherwise', () => {
    const { poll, rings, frames, counters } = start({});
    expect([poll(), poll()]).toEqual([32, 32]);
    const judge = makeProbeReader(frames.i32, 1, false);
    expect(rings[0]!.wire.map(({ offset, length }) => judge(offset, length))).toEqual(new Array(64).fill(0));
    expect(all(rings[0]!).map(({ sequence }) => sequence)).toEqual(Array.from({ length: 64 }, (_, i) => i));
    expect(read(rings[0]!, 5)).toMatchObject({
      length: 60,
      destination: '020000000000',
      source: '020000000000',
      tx: 0,
    });
    expect(counters).toEqual({ sent: 64, retries: 0, starved: 0, missed: 0 });
  });

  test.prop([fc.integer({ min: 60, max: 1514 }), fc.integer({ min: 1, max: 9 }), fc.nat({ max: 1000 }), fc.nat()])(
    'is valid at every size, with every flow counting for itself',
    (size, flows, firstFlow, seed) => {
      const { poll, rings, frames } = start({ size, flows, firstFlow, seed });
      poll();
      poll();
      const judge = makeProbeReader(frames.i32, 0x1_0000, false);
      for (const [i, { offset, length }] of rings[0]!.wire.entries()) {
        expect(length).toBe(size);
        expect(judge(offset, length)).toBe(firstFlow + (i % flows));
        expect(read(rings[0]!, i).sequence).toBe(Math.floor(i / flows));
      }
    },
  );

  test('has as many 5-tuples as flows, over all tx queues', () => {
    const { poll, rings } = start({ flows: 300 }, { queues: 2 });
    for (let i = 0; i < 10; i++) poll();
    const tuples = rings.flatMap((ring) => all(ring).map(({ tuple }) => tuple));
    expect(tuples).toHaveLength(640);
    expect(new Set(tuples).size).toBe(600);
  });

  test('has other UDP ports with another seed, and the same with the same', () => {
    const tupleOf = (seed: number) => {
      const { poll, rings } = start({ seed, flows: 4 });
      poll();
      return all(rings[0]!).map(({ tuple }) => tuple);
    };
    expect(tupleOf(1)).toEqual(tupleOf(1));
    expect(tupleOf(1)).not.toEqual(tupleOf(2));
  });

  test("comes from its port's MAC address and goes to the one it was given", () => {
    const { poll, rings } = start({ destination: '0a:bb:cc:dd:ee:ff' }, { queues: 2 });
    poll();
    expect(read(rings[1]!, 0)).toMatchObject({ destination: '0abbccddeeff', source: '020000000001', tx: 1 });
  });
});

describe('how much gen sends', () => {
  test.prop([fc.integer({ min: 1, max: 300 }), fc.integer({ min: 1, max: 3 })])(
    'is exactly count over all tx queues, evenly; then it finishes once and rests',
    (count, queues) => {
      const { poll, rings, context } = start({ count }, { queues });
      let moved = 0;
      for (let i = 0; i < 15; i++) moved += poll();
      expect(moved).toBe(count);
      expect(context.counters.sent).toBe(count);
      const shares = rings.map((ring) => ring.wire.length);
      expect(shares.reduce((a, b) => a + b)).toBe(count);
      expect(Math.max(...shares) - Math.min(...shares)).toBeLessThanOrEqual(1);
      expect(context.finished.total).toBe(1);
      expect(context.wakes).toEqual([]);
    },
  );

  test('follows the rate, and asks to be called again when the next is due', () => {
    const { poll, context, counters } = start({ rate: 100_000 });
    expect([poll(), poll()]).toEqual([1, 0]);
    expect(context.wakes).toEqual([10]);
    context.clock.advance(35_000);
    expect([poll(), poll()]).toEqual([3, 0]);
    expect(context.wakes).toEqual([10, 5]);
    context.clock.advance(1_000_000_000);
    expect([poll(), poll()]).toEqual([32, 0]);
    expect(context.wakes).toEqual([10, 5, 5]);
    // A tenth of a second's worth is still made up for.
    expect(counters).toMatchObject({ sent: 36, missed: 100_004 - 4 - 10_000 });
  });

  test('with a rate and several tx queues is dealt packet by packet', () => {
    const { poll, context, rings } = start({ rate: 1_000_000 }, { queues: 3 });
    for (let i = 0; i < 20; i++) {
      poll();
      context.clock.advance(5000);
    }
    const shares = rings.map((ring) => ring.wire.length);
    expect(shares.reduce((a, b) => a + b)).toBe(1 + 19 * 5);
    expect(shares).toEqual([32, 32, 32]);
  });

  test('with a rate and a count ends without missing anything afterwards', () => {
    const { poll, context, counters } = start({ rate: 1000, count: 2 });
    for (let i = 0; i < 5; i++) {
      poll();
      context.clock.advance(1_000_000);
    }
    context.clock.advance(60_000_000_000);
    expect([poll(), poll()]).toEqual([0, 0]);
    expect(counters).toMatchObject({ sent: 2, missed: 0 });
    expect(context.finished.total).toBe(1);
  });
});

describe('when gen cannot send', () => {
  test.prop([fc.array(fc.nat({ max: 40 }), { minLength: 1, maxLength: 40 }), fc.integer({ min: 1, max: 3 })])(
    'it offers the same frames again, in order, until each is accepted: nothing is lost, nothing is sent twice',
    (takes, flows) => {
      const { poll, rings, frames, context } = start({ flows, count: 500 }, { capacity: 7, pool: 60 });
      const ring = rings[0]!;
      const arrived: number[] = [];
      const receive = (n: number) => {
        for (let i = 0; i < n && ring.wire.length > 0; i++) {
          const { flow, sequence } = read(ring, 0);
          arrived.push(sequence * flows + flow);
          ring.lose(0);
        }
      };
      for (const n of takes) {
        poll();
        receive(n);
      }
      for (let i = 0; i < 1000 && context.finished.total === 0; i++) {
        poll();
        receive(7);
      }
      receive(7);
      expect(arrived).toEqual(Array.from({ length: 500 }, (_, i) => i));
      expect(context.counters.sent).toBe(500);
      expect(frames.count('free')).toBe(60);
    },
  );

  test('because the tx queue is full, it says so, holds its burst, and asks to be called soon', () => {
    const { poll, rings, frames, context } = start({}, { capacity: 5 });
    expect([poll(), poll(), poll()]).toEqual([5, 0, 0]);
    expect(context.counters).toMatchObject({ sent: 5, retries: 3 });
    expect(context.wakes).toEqual([100, 100]);
    expect([frames.count('ring'), frames.count('app')]).toEqual([5, 27]);
    rings[0]!.capacity = 100;
    expect(poll()).toBe(27);
    expect(frames.count('app')).toBe(0);
  });

  test('because there are no frames, it sends those that there are and counts the others', () => {
    const { poll, rings, context } = start({}, { pool: 40 });
    expect([poll(), poll(), poll()]).toEqual([32, 8, 0]);
    expect(context.counters).toMatchObject({ sent: 40, starved: 2 });
    expect(context.wakes).toEqual([100]);
    rings[0]!.lose(0);
    expect(poll()).toBe(1);
    expect(read(rings[0]!, 39).sequence).toBe(40);
  });

  test('because one tx queue is full, the other goes on', () => {
    const { poll, rings } = start({}, { queues: 2 });
    rings[0]!.capacity = 0;
    expect([poll(), poll()]).toEqual([32, 32]);
    expect(rings.map((ring) => ring.wire.length)).toEqual([0, 64]);
  });
});

describe('gen refuses', () => {
  test.each([59, 0, 1515])('frames of %i bytes, and says which it would take', (size) => {
    const error = refusal({ size });
    expect(error.code).toBe('BAD_FRAME_SIZE');
    expect(error.name).toBe('PortError');
    expect(error.message).toMatch(/choose a size from 60 to 1514/);
    expect(error.detail).toMatchObject({ size, min: 60, max: 1514, port: 'fake:0' });
  });

  test('frames beyond the room of a frame, whatever the MTU', () => {
    expect(refusal({ size: 1921 }, { mtu: 9000 })).toMatchObject({ code: 'BAD_FRAME_SIZE', detail: { max: 1920 } });
    expect(() => start({ size: 1920 }, { mtu: 9000 })).not.toThrow();
  });

  test('frames that only one of its ports takes', () => {
    const ports: PortFacts[] = [fakePort(0, 1500), fakePort(1, 1000)];
    const frames = fakeFrames(8);
    const tx = ports.map(() => fakeRing(frames).tx);
    expect(() => gen(fakeContext({ size: 1514 }, { frames, tx, txPorts: ports }))).toThrow(/fake:1 has an MTU of 1000/);
  });

  test.each([
    [{ siez: 64 }, /option "siez" of gen: there is no such option; use size, rate/],
    [{ rate: -1 }, /option "rate" of gen: -1 is not a whole number from 0 to 1000000000/],
    [{ rate: 1.5 }, /"rate"/],
    [{ rate: '5' }, /"rate"/],
    [{ size: Number.NaN }, /"size"/],
    [{ flows: 0 }, /"flows" of gen: 0 is not a whole number from 1 to 65536/],
    [{ flows: 65_536, firstFlow: 1 }, /1 to 65535/],
    [{ count: -1 }, /"count"/],
    [{ seed: 2 ** 32 }, /"seed"/],
  ])('%j', (options, message) => {
    const error = refusal(options);
    expect(error.code).toBe('BAD_APP_OPTION');
    expect(error.message).toMatch(message);
  });

  test('a destination that is no MAC address', () => {
    expect(refusal({ destination: '1.2.3.4' }).code).toBe('BAD_MAC');
  });

  test('a job without tx queues', () => {
    expect(refusal({}, { queues: 0 }).code).toBe('NO_TX_QUEUE');
  });
});

describe.skipIf(noTshark !== undefined)(
  `gen's packets${noTshark === undefined ? '' : `: skipped, ${noTshark}`}`,
  () => {
    test('are UDP between benchmark addresses to tshark, with good checksums', () => {
      const { poll, rings } = start({ size: 123, flows: 3 });
      poll();
      const frames = [0, 1, 2].map((i) => rings[0]!.bytes(i));
      const fields = [
        'ip.src',
        'ip.dst',
        'ip.ttl',
        'ip.flags.df',
        'udp.dstport',
        'ip.checksum.status',
        'udp.checksum.status',
      ];
      expect(dissect(frames, fields)).toEqual(
        [0, 1, 2].map((i) => [`198.18.0.${i}`, `198.19.0.${i}`, '64', '1', '9', '1', '1']),
      );
    });
  },
);
