/** `npm run bench`: measures, prints the table, writes JSON and SVG. Fails when something is broken, not when it is slow. */
import { mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { Command, InvalidArgumentError } from 'commander';
import { drawChart } from './chart.ts';
import { Child, lastJson } from './child.ts';
import { compile } from './compile.ts';
import type { Ground } from './forwarders.ts';
import { reserveHugepages } from './hugepages.ts';
import { LATENCY_SEATS, type LatencyReport, runLatency } from './latency.ts';
import { openLinecard } from './linecard.ts';
import { type Placement, place, readMachine } from './machine.ts';
import {
  faultsOf,
  formatReport,
  OURS,
  type PieceReport,
  type Report,
  ratiosOf,
  type TrialReport,
  targetsOf,
} from './report.ts';
import { packageRoot } from './root.ts';
import {
  judgeTrips,
  type OpenClient,
  type RoundTripReport,
  runRoundTrips,
  type TripsByName,
  wireClient,
} from './round-trips.ts';
import { type Entry, judge, rotate, runRound, type SeriesByName } from './runner.ts';
import { seatEntries } from './seats.ts';
import { hasTestpmd, NULL_DEVICES, openJoinedTestpmd, openTestpmd, TESTPMD_HUGEPAGES } from './testpmd.ts';
import {
  LATENCY_SUBJECT,
  ROUND_TRIPS,
  type RoundTripTrial,
  SCHEDULES,
  type Schedule,
  SUBJECTS,
  selectTrials,
  TARGETS,
  type Trial,
} from './trials.ts';
import { type Means, roundTripEntries, wireEntries } from './wire-entries.ts';
import { makeWires, wiresMissing } from './wires.ts';
import { openYardstick } from './yardstick.ts';

interface Options {
  readonly quick: boolean;
  readonly only: readonly string[];
  readonly rounds?: number;
  readonly json?: string;
  readonly svg?: string;
  readonly testpmd: boolean;
}

/** What the contestants are given. */
interface Setting extends Means {
  readonly place: Placement;
  readonly yardstick: string | Error;
  readonly cacheLine: string | Error;
  readonly hugepages: boolean;
}

function subjects(list: string): string[] {
  const chosen = list.split(',');
  const unknown = chosen.filter((s) => !(SUBJECTS as readonly string[]).includes(s));
  if (unknown.length > 0) throw new InvalidArgumentError(`no ${unknown.join(', ')}; there are ${SUBJECTS.join(', ')}`);
  return chosen;
}

function positive(text: string): number {
  const n = Number(text);
  if (!Number.isInteger(n) || n < 1) throw new InvalidArgumentError('a whole number from 1 on');
  return n;
}

function parseOptions(argv: readonly string[]): Options {
  const command = new Command('bench')
    .description(
      'Measures the fast path beside the same loop in C++ and dpdk-testpmd, and as root AF_XDP between veth pairs.',
    )
    .option('--quick', 'a smoke test: burst 32 only, a minute', false)
    .option('--only <list>', `some of ${SUBJECTS.join(',')}`, subjects, [...SUBJECTS])
    .option('--rounds <n>', 'how often every process is started anew', positive)
    .option('--json <file>', 'where to write the report (bench/results/<date>.json)')
    .option('--svg <file>', 'where to draw the chart (bench/results/<date>.svg)')
    .option('--no-testpmd', 'leave dpdk-testpmd out');
  return command.parse(argv).opts<Options>();
}

function entriesFor({ pipeline, burst }: Trial, setting: Setting): Entry[] {
  if (pipeline.wires === true) return wireEntries(setting);
  const { place, yardstick, hugepages } = setting;
  if (pipeline.seat !== undefined) {
    return seatEntries({ place, burst, hugepages }, pipeline.seat, setting.cacheLine, setting.testpmd);
  }
  const port = pipeline.yardstick;
  const ours: Entry = { name: OURS, ours: true, open: () => openLinecard({ pipeline, burst, place }) };
  const same: Entry = {
    name: 'C++',
    ours: true,
    async open() {
      if (yardstick instanceof Error) throw yardstick;
      return openYardstick(yardstick, { port: port!, burst, frames: pipeline.frames, cpu: place.loop });
    },
  };
  const peer: Entry = {
    name: 'testpmd',
    ours: false,
    async open() {
      if (setting.testpmd !== true) throw new Error(setting.testpmd);
      const options = { burst, place, hugepages, forwardMode: 'mac' } as const;
      if (pipeline.joined !== undefined) return openJoinedTestpmd(options, pipeline.joined, pipeline.frames);
      return openTestpmd({ ...options, devices: NULL_DEVICES });
    },
  };
  return [ours, ...(port === undefined ? [] : [same]), ...(pipeline.testpmd ? [peer] : [])];
}

async function runTrials(
  trials: readonly Trial[],
  schedule: Schedule,
  setting: Setting,
  signal: AbortSignal,
): Promise<TrialReport[]> {
  const series = new Map<Trial, SeriesByName>(trials.map((t) => [t, {}]));
  for (let round = 0; round < schedule.rounds; round++) {
    for (const trial of trials) {
      if (signal.aborted) break;
      progress(`round ${round + 1} of ${schedule.rounds}: ${trial.name}`);
      const entries = entriesFor(trial, setting);
      const groups = trial.pipeline.wires === true ? rotate(entries, round).map((entry) => [entry]) : [entries];
      for (const group of groups) await runRound(group, schedule, round, series.get(trial)!, signal);
    }
  }
  return trials.map((trial) => {
    const { name, burst, pipeline } = trial;
    const judged = Object.fromEntries(Object.entries(series.get(trial)!).map(([who, s]) => [who, judge(s)]));
    return { name, burst, kind: pipeline.kind, title: pipeline.title, series: judged, ratios: ratiosOf(judged) };
  });
}

async function runTripTrials(
  trials: readonly RoundTripTrial[],
  { rounds, tripMs }: Schedule,
  setting: Setting,
  signal: AbortSignal,
): Promise<RoundTripReport[]> {
  if (trials.length === 0) return [];
  const { ground, place } = setting;
  const program = await compile('round-trips').catch((error: Error) => error);
  const means = program instanceof Error ? { ...setting, ground: program.message } : setting;
  const open = typeof ground === 'string' ? noClient : wireClient(ground.wires, place, String(program));
  const series = new Map<RoundTripTrial, TripsByName>(trials.map((t) => [t, {}]));
  for (let round = 0; round < rounds; round++) {
    for (const trial of trials) {
      if (signal.aborted) break;
      progress(`round ${round + 1} of ${rounds}: ${trial.kind}`);
      const entries = roundTripEntries(trial.kind, means, String(program));
      await runRoundTrips(trial, entries, open, tripMs, round, series.get(trial)!, signal);
    }
  }
  return trials.map((trial) => judgeTrips(trial, series.get(trial)!));
}

/** The histograms, if they were asked for. */
async function measureLatency(
  { only, quick }: Options,
  { rounds, latencyMs }: Schedule,
  { place, hugepages, testpmd }: Setting,
  signal: AbortSignal,
): Promise<LatencyReport | undefined> {
  if (!only.includes(LATENCY_SUBJECT) || signal.aborted) return undefined;
  progress('latency at half load');
  const schedule = { rounds, ms: latencyMs, capacityMs: quick ? 200 : 1000 };
  return runLatency(
    LATENCY_SEATS[quick ? 'quick' : 'full'],
    schedule,
    { place, burst: 32, hugepages },
    testpmd,
    signal,
  );
}

/** Never called: without wires nobody opens. */
const noClient: OpenClient = () => Promise.reject(new Error('no wires'));

/** Times the small pieces in a process of their own, on the cpu of the loop. */
async function timePieces(only: readonly string[], quick: boolean, { loop }: Placement): Promise<PieceReport[]> {
  const chosen = only.filter((s) => s === 'ring' || s === 'frames');
  if (chosen.length === 0) return [];
  progress('small pieces');
  const timeMs = quick ? 100 : 500;
  const script = fileURLToPath(new URL('./pieces-child.js', import.meta.url));
  const args = ['-c', String(loop), process.execPath, script, String(timeMs), ...chosen];
  const child = new Child({ name: 'small pieces', command: 'taskset', args, quit: '' });
  try {
    return lastJson(await child.expect(/^\[.*\]\n/m, 60_000)) as PieceReport[];
  } finally {
    await child.close();
  }
}

/** A line that the next one overwrites, on a terminal; nothing elsewhere. */
function progress(text: string): void {
  if (process.stderr.isTTY) process.stderr.write(`\r\x1b[K${text}`);
}

function write(path: string, text: string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, text);
  console.log(`wrote ${path}`);
}

async function save(report: Report, options: Options): Promise<void> {
  const stem = join(packageRoot(), 'bench/results', report.date.replaceAll(':', '-').replace(/\..*/, ''));
  write(options.json ?? `${stem}.json`, `${JSON.stringify(report, null, 1)}\n`);
  if (report.trials.length > 0) write(options.svg ?? `${stem}.svg`, await drawChart(report));
}

/** The ground for trials between interfaces, or why there is none. */
function makeGround(wanted: boolean, place: Placement, hugepages: boolean): Ground | string {
  if (!wanted) return 'not asked for';
  return wiresMissing() ?? { wires: makeWires(), place, burst: 32, hugepages };
}

async function measure(options: Options, signal: AbortSignal): Promise<Report> {
  const base = options.quick ? SCHEDULES.quick : SCHEDULES.full;
  const schedule = { ...base, rounds: options.rounds ?? base.rounds };
  const trials = selectTrials(options.only, options.quick);
  const trips = ROUND_TRIPS.filter(({ kind }) => options.only.includes(kind));
  const wired = trips.length > 0 || trials.some((t) => t.pipeline.wires === true);
  const wanted =
    options.testpmd &&
    hasTestpmd() &&
    (wired || options.only.includes(LATENCY_SUBJECT) || trials.some((t) => t.pipeline.testpmd));
  const hugepages = wanted ? reserveHugepages(TESTPMD_HUGEPAGES) : { available: false, release: () => {} };
  const machine = readMachine();
  const where = place(machine);
  let ground: Ground | string = '';
  try {
    ground = makeGround(wired, where, hugepages.available);
    const setting: Setting = {
      place: where,
      ground,
      yardstick: trials.length === 0 ? '' : await compile('yardstick').catch((error: Error) => error),
      cacheLine: trials.some((t) => t.pipeline.seat) ? await compile('cache-line').catch((error: Error) => error) : '',
      testpmd: wanted || (options.testpmd ? 'not installed (Debian: apt-get install dpdk)' : 'left out'),
      hugepages: hugepages.available,
    };
    const reports = await runTrials(trials, schedule, setting, signal);
    const roundTrips = await runTripTrials(trips, schedule, setting, signal);
    const latency = await measureLatency(options, schedule, setting, signal);
    const pieces = signal.aborted ? [] : await timePieces(options.only, options.quick, setting.place);
    return {
      ...{ schema: 2, date: new Date().toISOString(), quick: options.quick, machine, schedule },
      ...{ trials: reports, roundTrips, pieces, targets: targetsOf(TARGETS, reports) },
      ...(latency === undefined ? {} : { latency }),
      faults: [...faultsOf(reports), ...roundTrips.flatMap((r) => r.faults), ...(latency?.faults ?? [])],
    };
  } finally {
    if (typeof ground !== 'string') ground.wires.remove();
    hugepages.release();
    progress('');
  }
}

async function main(): Promise<number> {
  const options = parseOptions(process.argv);
  const abort = new AbortController();
  // Children on the terminal get the signal too; what is left is to wait for their end and to give back hugepages.
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => abort.abort());
  const report = await measure(options, abort.signal);
  if (abort.signal.aborted) return 130;
  console.log(formatReport(report).join('\n'));
  await save(report, options);
  return report.faults.length === 0 ? 0 : 1;
}

process.exitCode = await main();
