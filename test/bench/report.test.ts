import { describe, expect, test } from 'vitest';
import { chartSpec, drawChart, pointsOf } from '../../bench/chart.ts';
import { readMachine } from '../../bench/machine.ts';
import {
  columns,
  faultsOf,
  formatReport,
  type Report,
  ratiosOf,
  short,
  type TrialReport,
  targetsOf,
} from '../../bench/report.ts';
import { judge, type SeriesReport } from '../../bench/runner.ts';
import { SCHEDULES, TARGETS } from '../../bench/trials.ts';

/** A series of the given Mpps. */
const series = (mpps: number[], extra: { faults?: string[]; absent?: string } = {}): SeriesReport =>
  judge({ samples: mpps.map((m) => ({ packets: m, ns: 1000 })), faults: extra.faults ?? [], ...extra });

function trial(over: Partial<TrialReport> = {}): TrialReport {
  const measured = {
    linecard: series([200, 210, 190]),
    'C++': series([400, 400, 400]),
    testpmd: series([], { absent: 'not installed' }),
  };
  const base = { name: 'null/32', kind: 'null', title: 'null to null', burst: 32, series: measured };
  return { ...base, ratios: ratiosOf(measured), ...over };
}

function report(trials: TrialReport[]): Report {
  return {
    schema: 2,
    date: '2030-01-02T03:04:05.000Z',
    quick: false,
    machine: readMachine(() => '', ''),
    schedule: SCHEDULES.full,
    trials,
    roundTrips: [],
    pieces: [{ subject: 'ring', name: 'ring, burst 32', ns: { n: 3, min: 1, median: 2, max: 3, spread: 0.5 } }],
    targets: targetsOf(TARGETS, trials),
    faults: faultsOf(trials),
  };
}

describe('numbers', () => {
  test('are short, and absent ones a dash', () => {
    expect([1.234, 12.34, 123.4, Number.NaN].map(short)).toEqual(['1.23', '12.3', '123', '-']);
  });

  test('stand in columns, the first to the left', () => {
    expect(
      columns([
        ['a', 'b'],
        ['ccc', '10'],
      ]),
    ).toEqual(['a     b', 'ccc  10']);
  });
});

describe('ratios and targets', () => {
  test('samples between near cpus are compared with such, those between far ones with those', () => {
    const at = (distances: readonly ('near' | 'far' | 'mixed')[], mpps: readonly number[]) =>
      judge({ samples: mpps.map((m, i) => ({ packets: m, ns: 1000, distance: distances[i]! })), faults: [] });
    const measured = {
      linecard: at(['near', 'far', 'mixed'], [20, 6, 9]),
      testpmd: at(['near', 'far', 'far'], [10, 7, 9]),
    };
    const lines = formatReport(report([trial({ series: measured, ratios: ratiosOf(measured) })]));
    expect(lines).toContain('cpus near: linecard 20.0 (1 samples), testpmd 10.0 (1 samples, ratio 2.00)');
    expect(lines).toContain('cpus far: linecard 6.00 (1 samples), testpmd 8.00 (2 samples, ratio 0.75)');
  });

  test('ours is compared to every other series that has samples', () => {
    expect(trial().ratios).toEqual({ 'C++': { ofMedians: 0.5, low: 0.475, high: 0.525 } });
  });

  test('a target is reached, missed by so much, or not measured', () => {
    const lines = formatReport(report([trial()]));
    expect(lines).toContain('missed        null/32: at least 0.7 of C++: 0.50, short by 29%');
    expect(lines).toContain('not measured  null/32: at least 1 of testpmd');
    const fast = { linecard: series([300]), 'C++': series([400]), testpmd: series([100]) };
    const reached = formatReport(report([trial({ series: fast, ratios: ratiosOf(fast) })]));
    expect(reached).toContain('reached       null/32: at least 0.7 of C++: 0.75');
    expect(reached).toContain('reached       null/32: at least 1 of testpmd: 3.00');
  });

  test('targets of trials that were not run are left out', () => {
    expect(targetsOf(TARGETS, [])).toEqual([]);
  });
});

describe('formatReport', () => {
  test('has a row per series with samples, and the reason for one without', () => {
    const lines = formatReport(report([trial()]));
    const row = lines.find((l) => l.includes('C++') && l.startsWith('32'))!;
    expect(row.split(/\s{2,}/)).toEqual(['32', 'C++', '400', '400', '400', '0%', '2.50', '0.50', '0.47-0.53', '0%']);
    expect(lines).toContain('testpmd: not installed');
  });

  test('has the quantiles of packets under way, in microseconds, and what did not come back', () => {
    const seat = { end: 'vhost-user', rings: 'packed' } as const;
    const row = {
      ...{ name: 'linecard', seat, rate: 1e6, ns: 30e9, sent: 30_000_003, received: 30_000_000, full: 5, late: 7 },
      ...{ p50: 1234, p99: 2000, p999: 3000, p9999: 40_000, worst: 5_000_000, collections: 0, histogram: [] },
    };
    const latency = { rows: [row], absent: ['testpmd: left out'], faults: [] };
    const lines = formatReport({ ...report([]), latency });
    expect(lines.find((line) => /^linecard .*vhost-user/.test(line))!.split(/\s{2,}/)).toEqual([
      ...['linecard', 'vhost-user', 'packed', '1.00', '30', '1.23', '2.00', '3.00', '40.0', '5000'],
      ...['5', '3', '7', '0'],
    ]);
    expect(lines).toContain('testpmd: left out');
  });

  test('warns when other programs had the cpu for more than a tenth of the time', () => {
    const busy = (waitedNs: number) => judge({ samples: [{ packets: 100, ns: 1000, waitedNs }], faults: [] });
    const lines = (waitedNs: number) =>
      formatReport(report([trial({ series: { linecard: busy(waitedNs) }, ratios: {} })])).join('\n');
    expect(lines(100)).not.toContain('busy machine');
    expect(lines(300)).toContain('up to 30% of a series');
  });

  test('tells what was broken, by trial and series', () => {
    const broken = trial({ series: { linecard: series([0]) }, ratios: {} });
    expect(report([broken]).faults).toEqual(['null/32, linecard: no packets in 1 of 1 samples']);
    expect(formatReport(report([broken])).at(-1)).toBe('broken: null/32, linecard: no packets in 1 of 1 samples');
  });

  test('a run of the small pieces alone has no pipeline table', () => {
    const lines = formatReport(report([]));
    expect(lines.join('\n')).not.toContain('l2fwd');
    expect(lines.find((l) => l.startsWith('ring, burst 32'))!.split(/\s{2,}/)).toEqual([
      'ring, burst 32',
      '2.00',
      '1.00',
      '3.00',
      '50%',
    ]);
  });
});

describe('the chart', () => {
  test('has a point for every series that was measured', () => {
    expect(pointsOf({ trials: [trial()] })).toEqual([
      { pipeline: 'null', burst: 32, series: 'linecard', median: 200, min: 190, max: 210 },
      { pipeline: 'null', burst: 32, series: 'C++', median: 400, min: 400, max: 400 },
    ]);
  });

  test('is drawn as SVG with the series’ names in its legend', async () => {
    const svg = await drawChart(report([trial(), trial({ name: 'null/64', burst: 64 })]));
    expect(svg).toMatch(/^<svg /);
    expect(svg).toContain('linecard');
    expect(svg).toContain('C++');
    expect(svg).not.toContain('NaN');
  });

  test('names the machine', () => {
    expect(JSON.stringify(chartSpec(report([trial()])).title)).toContain('node ');
  });
});
