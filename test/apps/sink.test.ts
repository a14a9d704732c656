import { fc, test } from '@fast-check/vitest';
import { describe, expect } from 'vitest';
import { MORE } from '../../lib/queue.ts';
import { parseMac } from '../../lib/wire/mac.ts';
import { makeProbeWriter } from '../../lib/wire/probe.ts';
import { makeProbeTemplate } from '../../lib/wire/probe-template.ts';
import { gen } from '../../workers/apps/gen.ts';
import { WINDOW } from '../../workers/apps/sequence.ts';
import { lost, type SinkOptions, sink } from '../../workers/apps/sink.ts';
import { type FakeRing, fakeContext, fakeFrames, fakeRing } from '../fakes/queues.ts';

const POOL = 512;

/** A ring with `count` probes of `flows` flows on its wire, and a sink behind it. */
function start(
  count: number,
  options: SinkOptions = {},
  probes: { flows?: number; size?: number; firstFlow?: number } = {},
) {
  const frames = fakeFrames(POOL);
  const ring = fakeRing(frames);
  if (count > 0) {
    const send = gen(fakeContext({ count, ...probes }, { frames, tx: [ring.tx] }));
    while (send() > 0);
  }
  const context = fakeContext(options, { frames, rx: ring.rx });
  const poll = sink(context);
  /** Lets the sink have all that is on the wire; returns its counters and what is lost. */
  const drain = () => {
    while (poll() > 0);
    const { counters } = context;
    const big = Object.fromEntries(Object.entries(counters).map(([name, value]) => [name, BigInt(value)]));
    expect(frames.count('free')).toBe(POOL);
    expect(frames.freed.total).toBe(counters.received);
    return { ...counters, lost: Number(lost(big)) };
  };
  return { frames, ring, context, poll, drain };
}

const NOTHING = {
  received: 0,
  ok: 0,
  skipped: 0,
  late: 0,
  duplicate: 0,
  stale: 0,
  corrupt: 0,
  foreign: 0,
  lost: 0,
};

/** Moves frame `from` of the wire to place `to`. */
function move(ring: FakeRing, from: number, to: number): void {
  const [frame] = ring.wire.splice(from, 1);
  ring.wire.splice(to, 0, frame!);
}

/** The bytes of number `n` of flow 0. */
function probe(n: number): Uint8Array {
  const u8 = new Uint8Array(64);
  const mac = parseMac('02:00:00:00:00:01');
  const template = makeProbeTemplate({
    destinationMac: mac,
    sourceMac: mac,
    source: 1,
    destination: 2,
    sourcePort: 1,
    destinationPort: 2,
    flow: 0,
    tx: 0,
    size: 60,
  });
  makeProbeWriter(new Int32Array(u8.buffer), template, 60)(0, 0, Math.floor(n / 2 ** 32), (n % 2 ** 32) | 0);
  return u8.subarray(0, 60);
}

describe('sink on a good wire', () => {
  test.prop([fc.integer({ min: 0, max: 400 }), fc.integer({ min: 1, max: 9 }), fc.integer({ min: 60, max: 1514 })])(
    'finds every probe in order, whatever flows and size',
    (count, flows, size) => {
      const { drain } = start(count, {}, { flows, size });
      expect(drain()).toEqual({ ...NOTHING, received: count, ok: count });
    },
  );

  test('receives nothing from an empty ring and returns 0', () => {
    const { poll, drain } = start(0);
    expect(poll()).toBe(0);
    expect(drain()).toEqual(NOTHING);
  });

  test('takes no more than its burst at a time', () => {
    const { poll } = start(40);
    expect([poll(), poll(), poll()]).toEqual([32, 8, 0]);
  });
});

/** What a wire does to a frame. */
type Fault =
  | { readonly kind: 'lose'; readonly at: number }
  | { readonly kind: 'flip' | 'foreign'; readonly at: number; readonly bit: number }
  | { readonly kind: 'duplicate' | 'move'; readonly at: number; readonly to: number };

const place = fc.nat({ max: 999 });
const faults: fc.Arbitrary<Fault[]> = fc.array(
  fc.oneof(
    fc.record({ kind: fc.constant('lose' as const), at: place }),
    fc.record({ kind: fc.constantFrom('flip' as const, 'foreign' as const), at: place, bit: fc.nat({ max: 10_000 }) }),
    fc.record({ kind: fc.constantFrom('duplicate' as const, 'move' as const), at: place, to: place }),
  ),
  { maxLength: 60 },
);

/** What is true of a frame on the wire, kept beside it. */
interface Truth {
  readonly flow: number;
  readonly sequence: number;
  readonly is: 'intact' | 'corrupt' | 'foreign';
}

/** Does `faults` to the wire; returns what is true of each frame then. */
function spoil(ring: FakeRing, list: readonly Fault[]): Truth[] {
  const truth: Truth[] = ring.wire.map((_, i) => {
    const view = new DataView(ring.bytes(i).buffer);
    return { flow: view.getUint16(46, true), sequence: view.getUint32(56, true), is: 'intact' };
  });
  for (const fault of list) {
    if (truth.length === 0) break;
    const at = fault.at % truth.length;
    if (fault.kind === 'lose') {
      ring.lose(at);
      truth.splice(at, 1);
    } else if (fault.kind === 'duplicate') {
      const to = fault.to % (truth.length + 1);
      const copy = truth[at]!;
      ring.duplicate(at, to);
      truth.splice(to, 0, copy);
    } else if (fault.kind === 'move') {
      const to = fault.to % truth.length;
      move(ring, at, to);
      truth.splice(to, 0, ...truth.splice(at, 1));
    } else if (fault.kind === 'foreign') {
      ring.insert(
        Uint8Array.from({ length: 14 + (fault.bit % 100) }, (_, i) => i ^ fault.bit),
        at,
      );
      truth.splice(at, 0, { flow: 0, sequence: 0, is: 'foreign' });
    } else if (fault.kind === 'flip' && truth[at]!.is === 'intact') {
      // One flipped bit per frame: two can cancel each other in a checksum.
      const bit = fault.bit % (ring.wire[at]!.length * 8);
      ring.flip(at, bit);
      const i = bit >>> 3;
      const foreign = [12, 13, 14, 23, 42, 43, 44, 45].includes(i);
      if (i >= 12) truth[at] = { ...truth[at]!, is: foreign ? 'foreign' : 'corrupt' };
    }
  }
  return truth;
}

/** The counters that `truth` should give, from sets of all numbers that came. */
function expected(truth: readonly Truth[]) {
  const counters = { ...NOTHING, received: truth.length };
  const flows = new Map<number, Set<number>>();
  for (const { flow, sequence, is } of truth) {
    if (is !== 'intact') {
      counters[is]++;
      continue;
    }
    const came = flows.get(flow) ?? new Set<number>();
    flows.set(flow, came);
    const highest = Math.max(-1, ...came);
    if (came.has(sequence)) counters.duplicate++;
    else if (sequence < highest) counters.late++;
    else counters.ok++;
    counters.skipped += Math.max(0, sequence - highest - 1);
    came.add(sequence);
  }
  for (const came of flows.values()) counters.lost += Math.max(...came) + 1 - came.size;
  return counters;
}

describe('sink on a bad wire', () => {
  test.prop(
    [
      fc.integer({ min: 1, max: 300 }),
      fc.integer({ min: 1, max: 4 }),
      fc.constantFrom(60, 61, 64, 68, 71, 200),
      faults,
    ],
    { numRuns: 300 },
  )('counts losses, duplicates, reordering, corruption and strangers exactly', (count, flows, size, list) => {
    const { ring, drain } = start(count, {}, { flows, size });
    const truth = spoil(ring, list);
    expect(drain()).toEqual(expected(truth));
  });

  test('counts what is lost as highest + 1 - distinct, at any time, though counters only go up', () => {
    const { ring, poll, drain } = start(64);
    move(ring, 0, 40); // 0 comes after 40
    ring.lose(9); // number 10
    expect(poll()).toBe(32);
    expect(ring.wire).toHaveLength(31);
    expect(drain()).toEqual({ ...NOTHING, received: 63, ok: 62, skipped: 2, late: 1, lost: 1 });
  });

  test('calls a probe stale when it is so far behind that nobody can know', () => {
    const { ring, drain } = start(0);
    for (const n of [WINDOW + 1, 2, 2, 1]) ring.insert(probe(n), ring.wire.length);
    const counters = { received: 4, ok: 1, late: 1, duplicate: 1, stale: 1 };
    expect(drain()).toEqual({ ...NOTHING, ...counters, skipped: WINDOW + 1, lost: WINDOW });
  });

  test('counts what was skipped before it came, also beyond what a counter takes at a time', () => {
    const { ring, drain } = start(0);
    for (const n of [2 ** 40, 2 ** 40 + 1]) ring.insert(probe(n), ring.wire.length);
    expect(drain()).toEqual({ ...NOTHING, received: 2, ok: 2, skipped: 2 ** 40, lost: 2 ** 40 });
  });

  test('calls a truncated or a longer probe corrupt, and one that is shorter than any probe foreign', () => {
    const { ring, drain } = start(4, {}, { size: 100 });
    ring.resize(0, 99);
    ring.resize(1, 101);
    ring.resize(2, 59);
    expect(drain()).toEqual({ ...NOTHING, received: 4, ok: 1, corrupt: 2, foreign: 1, skipped: 3, lost: 3 });
  });

  test('calls probes of flows beyond its own foreign', () => {
    const { drain } = start(30, { flows: 2 }, { flows: 3 });
    expect(drain()).toEqual({ ...NOTHING, received: 30, ok: 20, foreign: 10 });
  });

  test('calls a probe with a VLAN tag foreign', () => {
    const { ring, drain } = start(1);
    const bytes = ring.bytes(0);
    ring.insert(Uint8Array.of(...bytes.subarray(0, 12), 0x81, 0, 0, 5, ...bytes.subarray(12)), 1);
    expect(drain()).toEqual({ ...NOTHING, received: 2, ok: 1, foreign: 1 });
  });

  test('takes rewritten MAC addresses for what they are: none of its business', () => {
    const { ring, drain } = start(3);
    for (let bit = 0; bit < 96; bit += 7) ring.flip(1, bit);
    expect(drain()).toEqual({ ...NOTHING, received: 3, ok: 3 });
  });
});

describe('verify', () => {
  /** A wire with one flipped bit in the pattern and one in the sequence. */
  const spoiled = (options: SinkOptions) => {
    const { ring, drain } = start(3, options, { size: 200 });
    ring.flip(0, 100 * 8);
    ring.flip(1, 56 * 8);
    return drain();
  };

  test('all, the default, sees flipped bits of the pattern', () => {
    expect(spoiled({ verify: 'all' })).toEqual({ ...NOTHING, received: 3, ok: 1, corrupt: 2, skipped: 2, lost: 2 });
    expect(spoiled({})).toEqual(spoiled({ verify: 'all' }));
  });

  test('header sees those of the header only', () => {
    expect(spoiled({ verify: 'header' })).toEqual({ ...NOTHING, received: 3, ok: 2, corrupt: 1, skipped: 1, lost: 1 });
  });
});

describe('sink refuses', () => {
  test.each([
    [{ flow: 1 }, /option "flow" of sink: there is no such option; use flows, verify/],
    [{ flows: 0 }, /option "flows" of sink: 0 is not a whole number from 1 to 65536/],
    [{ flows: 65_537 }, /"flows"/],
    [{ verify: 'some' }, /option "verify" of sink: "some" is not one of its values; use all or header/],
  ])('%j', (options, message) => {
    let thrown: unknown;
    try {
      sink(fakeContext(options as SinkOptions));
    } catch (error) {
      thrown = error;
    }
    expect(thrown).toMatchObject({
      name: 'PlanError',
      code: 'BAD_APP_OPTION',
      message: expect.stringMatching(message),
    });
  });
});

test('A packet of several frames is one that is foreign, and all its frames are freed', () => {
  const frames = fakeFrames(POOL);
  const ring = fakeRing(frames);
  for (const length of [60, 60, 60]) ring.insert(probe(0).subarray(0, length), ring.wire.length);
  ring.resize(0, MORE + 60);
  ring.resize(1, MORE + 60);
  ring.insert(probe(0), 3);
  const context = fakeContext({}, { frames, rx: { ...ring.rx, segments: true } });
  const poll = sink(context);
  expect(poll()).toBe(4);
  expect(context.counters).toMatchObject({ received: 2, ok: 1, foreign: 1, corrupt: 0 });
  expect([frames.count('free'), frames.freed.total]).toEqual([POOL, 4]);
});
