import { describe, expect, test } from 'vitest';
import type { Contestant, Sample } from '../../bench/contestant.ts';
import { type Entry, judge, rotate, runRound, type Series, type SeriesByName } from '../../bench/runner.ts';

const SCHEDULE = { rounds: 1, samples: 2, sampleMs: 10, warmUpMs: 30, tripMs: 20, latencyMs: 20 };
const never = new AbortController().signal;

/** An entry that writes down what is asked of it. */
function entry(
  name: string,
  log: string[],
  over: Partial<Entry> & { sample?: (ms: number) => Promise<Sample> } = {},
): Entry {
  const contestant: Contestant = {
    sample:
      over.sample ??
      (async (ms) => {
        log.push(`${name} ${ms}`);
        return { packets: ms, ns: 1000 };
      }),
    async close() {
      log.push(`${name} closed`);
      return { faults: [] };
    },
  };
  return { name, ours: over.ours ?? true, open: over.open ?? (async () => contestant) };
}

const series = (samples: Sample[]): Series => ({ samples, faults: [] });

test('a list begins with each of its elements in turn', () => {
  expect([0, 1, 2, 3].map((by) => rotate(['a', 'b', 'c'], by).join(''))).toEqual(['abc', 'bca', 'cab', 'abc']);
  expect(rotate([], 3)).toEqual([]);
});

describe('runRound', () => {
  test('contestants warm up, then alternate, each first in its turn, and all are closed', async () => {
    const log: string[] = [];
    const into: SeriesByName = {};
    await runRound([entry('a', log), entry('b', log)], SCHEDULE, 0, into, never);
    expect(log).toEqual(['a 30', 'b 30', 'a 10', 'b 10', 'b 10', 'a 10', 'a closed', 'b closed']);
  });

  test('the warm-up is no sample; rounds add up', async () => {
    const into: SeriesByName = {};
    await runRound([entry('a', [])], SCHEDULE, 0, into, never);
    await runRound([entry('a', [])], SCHEDULE, 1, into, never);
    expect(into.a!.samples.map((s) => s.packets)).toEqual([10, 10, 10, 10]);
  });

  test('a peer that does not start is absent with its reason, without fault, and the others go on', async () => {
    const into: SeriesByName = {};
    const log: string[] = [];
    const peer = entry('peer', log, { ours: false, open: () => Promise.reject(new Error('not installed')) });
    await runRound([peer, entry('a', log)], SCHEDULE, 0, into, never);
    expect(into.peer).toEqual({ samples: [], faults: [], absent: 'not installed' });
    expect(into.a!.samples).toHaveLength(2);
  });

  test('one of ours that fails is a fault, is not asked again, and is closed', async () => {
    const into: SeriesByName = {};
    const log: string[] = [];
    let asked = 0;
    const failing = entry('a', log, {
      sample: () => {
        asked++;
        return Promise.reject(new Error('boom'));
      },
    });
    await runRound([failing, entry('b', log)], SCHEDULE, 0, into, never);
    expect(into.a!.faults).toEqual(['boom']);
    expect(asked).toBe(1);
    expect(log).toContain('a closed');
    expect(into.b!.samples).toHaveLength(2);
  });

  test('a disturbed sample is taken again, and what V8 did meanwhile is kept', async () => {
    const into: SeriesByName = {};
    let asked = 0;
    const sample = async (): Promise<Sample> => {
      asked++;
      const trace = { collections: 1, deopts: [] };
      return { packets: asked, ns: 100, waitedNs: asked % 2 === 1 ? 0 : 90, trace };
    };
    await runRound([entry('a', [], { sample })], SCHEDULE, 0, into, never);
    expect(into.a!.samples.map((s) => [s.packets, s.trace!.collections])).toEqual([
      [3, 2],
      [5, 2],
    ]);
  });

  test('a peer that forwards nothing is asked again, and left out in the end', async () => {
    const into: SeriesByName = {};
    let asked = 0;
    const sample = async (): Promise<Sample> => ({ packets: ++asked === 2 ? 0 : asked > 4 ? 0 : 9, ns: 100 });
    await runRound([entry('a', [], { ours: false, sample })], { ...SCHEDULE, samples: 3 }, 0, into, never);
    expect(into.a!.samples.map((s) => s.packets)).toEqual([9, 9]);
    expect(into.a!.absent).toMatch(/forwarded nothing/);
    expect(into.a!.faults).toEqual([]);
  });

  test('one of ours that forwards nothing is given twice the time, thrice: it may have had no cpu', async () => {
    const into: SeriesByName = {};
    const times: number[] = [];
    const sample = async (ms: number): Promise<Sample> => {
      times.push(ms);
      return { packets: times.length === 4 ? 9 : 0, ns: 100 };
    };
    const once = { ...SCHEDULE, samples: 1, sampleMs: 100, warmUpMs: 1 };
    await runRound([entry('a', [], { sample })], once, 0, into, never);
    expect(times).toEqual([1, 100, 200, 400]);
    expect(judge(into.a!).faults).toEqual([]);
  });

  test('one of ours that forwards nothing in any time is at fault', async () => {
    const into: SeriesByName = {};
    const sample = async (): Promise<Sample> => ({ packets: 0, ns: 100 });
    await runRound([entry('a', [], { sample })], { ...SCHEDULE, samples: 1 }, 0, into, never);
    expect(judge(into.a!).faults).toEqual(['no packets in 1 of 1 samples']);
  });

  test('a sample that is disturbed every time counts in the end', async () => {
    const into: SeriesByName = {};
    const sample = async (): Promise<Sample> => ({ packets: 7, ns: 100, waitedNs: 90 });
    await runRound([entry('a', [], { sample })], SCHEDULE, 0, into, never);
    expect(into.a!.samples).toHaveLength(2);
  });

  test('what a contestant says at its end counts', async () => {
    const into: SeriesByName = {};
    const contestant: Contestant = {
      sample: async () => ({ packets: 1, ns: 1 }),
      close: async () => ({ faults: ['ledger unbalanced'] }),
    };
    await runRound([{ name: 'a', ours: true, open: async () => contestant }], SCHEDULE, 0, into, never);
    expect(into.a!.faults).toEqual(['ledger unbalanced']);
  });

  test('after an abort nothing is sampled, everything is closed, and what children say of it is no fault', async () => {
    const abort = new AbortController();
    const into: SeriesByName = {};
    const log: string[] = [];
    const stopping = entry('a', log, {
      sample: () => {
        abort.abort();
        return Promise.reject(new Error('it got SIGINT'));
      },
    });
    await runRound([stopping, entry('b', log)], SCHEDULE, 0, into, abort.signal);
    expect(into.a!.faults).toEqual([]);
    expect(log).toEqual(['a closed']);
  });
});

describe('judge', () => {
  test('packets per nanosecond become Mpps', () => {
    expect(judge(series([{ packets: 50_000, ns: 1_000_000 }])).mpps.median).toBe(50);
  });

  test('a clean series has no faults', () => {
    const clean = { packets: 5, ns: 1, trace: { collections: 0, deopts: [] } };
    expect(judge(series([clean, clean])).faults).toEqual([]);
  });

  test('a sample without packets is a fault', () => {
    expect(
      judge(
        series([
          { packets: 0, ns: 1 },
          { packets: 1, ns: 1 },
        ]),
      ).faults,
    ).toEqual(['no packets in 1 of 2 samples']);
  });

  test('no sample at all is a fault, unless there is a reason', () => {
    expect(judge(series([])).faults).toEqual(['no samples']);
    expect(judge({ samples: [], faults: [], absent: 'not installed' }).faults).toEqual([]);
  });

  test('collections and deoptimisations are faults', () => {
    const trace = { collections: 2, deopts: ['wrong map in receive'] };
    expect(judge(series([{ packets: 1, ns: 1, trace }])).faults).toEqual([
      'packets caused 2 collections',
      'deoptimised after the warm-up: wrong map in receive',
    ]);
  });
});
