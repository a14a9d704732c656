/** The tables of `npm run bench:vm`. Pure. */
import { columns, short } from '../report.ts';
import { median, summarize } from '../stats.ts';
import type { Model } from './bench-guest.ts';
import type { LowRate } from './low-rates.ts';

/** Both forwarders, one after the other: packets per second. */
export interface Round {
  readonly ours: readonly number[];
  readonly testpmd: readonly number[];
}

/** One kind of card. */
export interface ModelReport {
  readonly model: Model;
  readonly rounds: readonly Round[];
  readonly lowRates: readonly LowRate[];
}

const kpps = (value: number): string => short(value / 1000);

/** Ratios of medians, one for each round, and what they were made of. */
function rateLines({ model, rounds }: ModelReport): string[][] {
  if (rounds.length === 0) return [];
  const ratios = summarize(rounds.map(({ ours, testpmd }) => median(ours) / median(testpmd)));
  const [ours, theirs] = [rounds.flatMap((r) => r.ours), rounds.flatMap((r) => r.testpmd)].map(summarize);
  const range = (s: typeof ours) => `${kpps(s!.median)} [${kpps(s!.min)}-${kpps(s!.max)}]`;
  const spread = `${ratios.min.toFixed(2)}-${ratios.max.toFixed(2)}`;
  return [[model, String(rounds.length), range(ours), range(theirs), ratios.median.toFixed(2), spread]];
}

function lowRateLine(model: Model, { mode, rate, cpu, sent, received, p50, p99 }: LowRate): string[] {
  const trips = rate === 0 ? ['-', '-', '-'] : [p50.toFixed(0), p99.toFixed(0), String(sent - received)];
  return [model, mode, rate === 0 ? 'idle' : String(rate), `${(cpu * 100).toFixed(1)} %`, ...trips];
}

/** Returns the report as lines. */
export function formatModels(reports: readonly ModelReport[]): string[] {
  const rates = reports.flatMap(rateLines);
  const low = reports.flatMap(({ model, lowRates }) => lowRates.map((figures) => lowRateLine(model, figures)));
  return [
    ...(rates.length === 0
      ? []
      : [
          'l2fwd between two emulated cards on one wire, 256 packets going round: kpps, median [min-max] of the samples',
          ...columns([['cards', 'rounds', 'linecard', 'testpmd', 'ratio, median', 'of the rounds'], ...rates]),
        ]),
    ...(low.length === 0
      ? []
      : [
          '',
          'l2fwd at low rates: cpu of its process; µs from this machine through the guest and back',
          ...columns([['cards', 'mode', 'packets/s', 'cpu', 'p50', 'p99', 'lost'], ...low]),
        ]),
  ];
}
