/** The report: one object for the JSON file, and its form as a table. Pure. */
import type { LatencyReport } from './latency.ts';
import { type Machine, machineLine } from './machine.ts';
import type { RoundTripReport } from './round-trips.ts';
import type { SeriesReport } from './runner.ts';
import { compare, type Ratio, type Summary, summarize } from './stats.ts';
import type { Schedule, Target } from './trials.ts';

/** Name of our series in every trial. */
export const OURS = 'linecard';

/** One pipeline at one burst. */
export interface TrialReport {
  readonly name: string;
  readonly kind: string;
  readonly title: string;
  readonly burst: number;
  readonly series: Readonly<Record<string, SeriesReport>>;
  /** Ours over each other series. */
  readonly ratios: Readonly<Record<string, Ratio>>;
}

/** One small piece, in nanoseconds per frame or call. */
export interface PieceReport {
  readonly subject: string;
  readonly name: string;
  readonly ns: Summary;
}

/** A target, and what was reached; `reached` is absent when one side was not measured. */
export interface TargetReport extends Target {
  readonly reached?: number;
}

/** A whole run. */
export interface Report {
  readonly schema: 2;
  /** ISO 8601. */
  readonly date: string;
  readonly quick: boolean;
  readonly machine: Machine;
  readonly schedule: Schedule;
  readonly trials: readonly TrialReport[];
  readonly roundTrips: readonly RoundTripReport[];
  /** Absent when it was not asked for. */
  readonly latency?: LatencyReport;
  readonly pieces: readonly PieceReport[];
  readonly targets: readonly TargetReport[];
  /** Everything that was broken, each with the trial's name. A run with faults has failed. */
  readonly faults: readonly string[];
}

/** Returns ours over each other series that has samples. */
export function ratiosOf(series: Readonly<Record<string, SeriesReport>>): Record<string, Ratio> {
  const ours = series[OURS]?.samples ?? [];
  const others = Object.entries(series).filter(([name]) => name !== OURS);
  return Object.fromEntries(
    others.flatMap(([name, { samples }]) => {
      const ratio = compare(ours, samples);
      return ratio === undefined ? [] : [[name, ratio]];
    }),
  );
}

/** Returns what became of the targets whose trial was run. */
export function targetsOf(targets: readonly Target[], trials: readonly TrialReport[]): TargetReport[] {
  return targets.flatMap((target) => {
    const trial = trials.find((t) => t.name === target.trial);
    if (trial === undefined) return [];
    const reached = trial.ratios[target.than]?.ofMedians;
    return [{ ...target, ...(reached === undefined ? {} : { reached }) }];
  });
}

/** Returns the faults of all series. */
export const faultsOf = (trials: readonly TrialReport[]): string[] =>
  trials.flatMap((t) =>
    Object.entries(t.series).flatMap(([name, s]) => s.faults.map((f) => `${t.name}, ${name}: ${f}`)),
  );

/** Sets `rows` in columns: the first to the left, the others to the right. */
export function columns(rows: readonly (readonly string[])[]): string[] {
  const widths = rows.reduce<number[]>((w, row) => row.map((cell, i) => Math.max(w[i] ?? 0, cell.length)), []);
  const pad = (cell: string, i: number) => (i === 0 ? cell.padEnd(widths[i]!) : cell.padStart(widths[i]!));
  return rows.map((row) => row.map(pad).join('  ').trimEnd());
}

/** Returns `value` with three significant digits or one decimal, whichever is more. */
export const short = (value: number): string =>
  Number.isNaN(value) ? '-' : value.toFixed(value >= 100 ? 0 : value >= 10 ? 1 : 2);

const percent = (value: number): string => (Number.isFinite(value) ? `${(value * 100).toFixed(0)}%` : '-');

const HEADINGS = [
  'burst',
  'series',
  'median',
  'min',
  'max',
  'spread',
  'ns/packet',
  'ratio',
  'side by side',
  'waited',
  'gc',
  'deopts',
];

function seriesRow(trial: TrialReport, name: string, s: SeriesReport): string[] {
  const { median, min, max, spread } = s.mpps;
  const ratio = trial.ratios[name];
  return [
    String(trial.burst),
    name,
    ...[median, min, max].map(short),
    percent(spread),
    short(1000 / median),
    ratio === undefined ? '' : ratio.ofMedians.toFixed(2),
    ratio === undefined ? '' : `${ratio.low.toFixed(2)}-${ratio.high.toFixed(2)}`,
    percent(s.waited),
    s.trace === undefined ? '' : String(s.trace.collections),
    s.trace === undefined ? '' : String(s.trace.deopts.length),
  ];
}

function pipelineTable(trials: readonly TrialReport[]): string[] {
  const rows = trials.flatMap((t) =>
    Object.entries(t.series)
      .filter(([, s]) => s.samples.length > 0)
      .map(([name, s]) => seriesRow(t, name, s)),
  );
  const absent = new Set(
    trials.flatMap((t) =>
      Object.entries(t.series).flatMap(([name, s]) => (s.absent === undefined ? [] : [`${name}: ${s.absent}`])),
    ),
  );
  return [
    '',
    `l2fwd, ${trials[0]!.title}: Mpps`,
    ...columns([HEADINGS, ...rows]),
    ...distanceLines(trials),
    ...offeredLines(trials),
    ...absent,
  ];
}

/** Where the way between two cpus was the same all through a sample: near compared with near, far with far. */
function distanceLines(trials: readonly TrialReport[]): string[] {
  return trials.flatMap(({ series }) =>
    (['near', 'far'] as const).flatMap((distance) => {
      const at = ({ samples, distances }: SeriesReport) =>
        summarize(samples.filter((_, i) => distances?.[i] === distance));
      const all = Object.entries(series).map(([name, s]) => ({ name, ...at(s) }));
      if (all.every(({ n }) => n === 0)) return [];
      const ours = all.find(({ name }) => name === OURS)?.median ?? Number.NaN;
      const parts = all.map(({ name, median, n }) => {
        const ratio = name === OURS || Number.isNaN(ours / median) ? '' : `, ratio ${(ours / median).toFixed(2)}`;
        return `${name} ${short(median)} (${n} samples${ratio})`;
      });
      return [`cpus ${distance}: ${parts.join(', ')}`];
    }),
  );
}

/** Who was offered more than it forwarded, and how much. */
function offeredLines(trials: readonly TrialReport[]): string[] {
  return trials.flatMap((t) =>
    Object.entries(t.series).flatMap(([name, { offered }]) =>
      offered === undefined
        ? []
        : [`${name} was offered ${short(offered.median)} (${short(offered.min)} to ${short(offered.max)})`],
    ),
  );
}

const range = ({ median, min, max }: Summary, digits: number): string =>
  `${median.toFixed(digits)} [${min.toFixed(digits)}-${max.toFixed(digits)}]`;

function roundTripTable({ title, rows, absent }: RoundTripReport): string[] {
  const headings = ['series', 'in flight', 'round trips/s', 'p50', 'p99', 'lost'];
  const cells = rows.map(({ name, inFlight, perSecond, p50, p99, lost }) => [
    ...[name, String(inFlight), range(perSecond, 0), range(p50, 1), range(p99, 1), String(lost)],
  ]);
  const table = rows.length === 0 ? [] : columns([headings, ...cells]);
  return ['', `UDP round trips ${title}: µs, median [min-max]`, ...table, ...absent];
}

function latencyTable(latency: LatencyReport | undefined): string[] {
  if (latency === undefined) return [];
  const quantiles = ['p50', 'p99', 'p99.9', 'p99.99', 'worst'];
  const headings = ['forwarder', 'end', 'rings', 'Mpps', 's', ...quantiles, 'ring full', 'lost', 'late', 'gc'];
  const cells = latency.rows.map((r) => [
    ...[r.name, r.seat.end, r.seat.rings, short((r.received / r.ns) * 1000), (r.ns / 1e9).toFixed(0)],
    ...[r.p50, r.p99, r.p999, r.p9999, r.worst].map((ns) => short(ns / 1000)),
    ...[r.full, r.sent - r.received, r.late].map(String),
    r.collections === undefined ? '' : String(r.collections),
  ]);
  return [
    '',
    'there and back between two processes at half of what the slower forwarder can do: µs (late: never sent, the generator had no cpu)',
    ...columns([headings, ...cells]),
    ...latency.absent,
  ];
}

function pieceTable(pieces: readonly PieceReport[]): string[] {
  if (pieces.length === 0) return [];
  const rows = pieces.map((p) => [p.name, short(p.ns.median), short(p.ns.min), short(p.ns.max), percent(p.ns.spread)]);
  return ['', 'small pieces: ns per frame', ...columns([['piece', 'median', 'min', 'max', 'spread'], ...rows])];
}

/** Above this part of the time, numbers say as much about other programs as about ours. */
const BUSY = 0.1;

function busyLines(trials: readonly TrialReport[]): string[] {
  const most = Math.max(0, ...trials.flatMap((t) => Object.values(t.series).map((s) => s.waited)));
  if (most <= BUSY) return [];
  return [
    '',
    `busy machine: other programs had the loop's cpu for up to ${percent(most)} of a series; don't quote this run`,
  ];
}

function targetLine({ trial, than, ratio, reached }: TargetReport): string {
  const goal = `${trial}: at least ${ratio} of ${than}`;
  if (reached === undefined) return `not measured  ${goal}`;
  if (reached >= ratio) return `reached       ${goal}: ${reached.toFixed(2)}`;
  return `missed        ${goal}: ${reached.toFixed(2)}, short by ${((1 - reached / ratio) * 100).toFixed(0)}%`;
}

/** Returns the report as lines for people. */
export function formatReport(r: Report): string[] {
  const kinds = [...new Set(r.trials.map((t) => t.kind))];
  const { rounds, samples, sampleMs } = r.schedule;
  return [
    `linecard bench ${r.date} · ${rounds} rounds of ${samples} samples of ${sampleMs} ms, in alternation`,
    machineLine(r.machine),
    ...kinds.flatMap((kind) => pipelineTable(r.trials.filter((t) => t.kind === kind))),
    ...r.roundTrips.flatMap(roundTripTable),
    ...latencyTable(r.latency),
    ...pieceTable(r.pieces),
    ...busyLines(r.trials),
    ...(r.targets.length === 0 ? [] : ['', ...r.targets.map(targetLine)]),
    ...(r.faults.length === 0 ? [] : ['', ...r.faults.map((f) => `broken: ${f}`)]),
  ];
}
