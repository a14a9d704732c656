/**
 * How long packets are under way through a forwarder at half load: one process sends frames with the time in them, another
 * in the seat (`seats.ts`) sends them back.
 */
import { timeAt } from './histogram.ts';
import { type Measured, openPair, type Pair } from './latency-pair.ts';
import { OURS } from './report.ts';
import { rotate } from './runner.ts';
import { type SeatGround, seatEngine, seatTestpmd } from './seats.ts';
import type { Seat } from './trials.ts';

/** One contestant in one seat. Times in nanoseconds. */
export interface LatencyRow extends Omit<Measured, 'histogram' | 'trace'> {
  readonly name: string;
  readonly seat: Seat;
  /** Packets per second that were to be sent: half of what the slower contestant can do. */
  readonly rate: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly p9999: number;
  readonly worst: number;
  /** Collections in our workers meanwhile. */
  readonly collections?: number;
  /** Buckets that are not empty: `[bucket, packets]`. */
  readonly histogram: readonly (readonly [number, number])[];
}

/** All rows. */
export interface LatencyReport {
  readonly rows: readonly LatencyRow[];
  readonly absent: readonly string[];
  readonly faults: readonly string[];
}

/** How long and how often. */
export interface LatencySchedule {
  readonly rounds: number;
  /** Of each contestant, in a round. */
  readonly ms: number;
  readonly capacityMs: number;
}

/** The seats of an ordinary run, and of a smoke test. */
export const LATENCY_SEATS: { readonly full: readonly Seat[]; readonly quick: readonly Seat[] } = {
  full: [
    { end: 'virtio-user', rings: 'split' },
    { end: 'virtio-user', rings: 'packed' },
    { end: 'vhost-user', rings: 'split' },
    { end: 'vhost-user', rings: 'packed' },
  ],
  quick: [{ end: 'vhost-user', rings: 'split' }],
};

/** Sums the stretches of one contestant up. */
export function judgeLatency(name: string, seat: Seat, rate: number, parts: readonly Measured[]): LatencyRow {
  const sum = (of: (part: Measured) => number) => parts.reduce((total, part) => total + of(part), 0);
  const counts = parts[0]!.histogram.map((_, i) => sum(({ histogram }) => histogram[i]!));
  const traces = parts.flatMap(({ trace }) => (trace === undefined ? [] : [trace.collections]));
  return {
    ...{ name, seat, rate, ns: sum(({ ns }) => ns), sent: sum(({ sent }) => sent) },
    ...{ received: sum(({ received }) => received), full: sum(({ full }) => full), late: sum(({ late }) => late) },
    ...{ p50: timeAt(counts, 0.5), p99: timeAt(counts, 0.99), p999: timeAt(counts, 0.999) },
    ...{ p9999: timeAt(counts, 0.9999), worst: timeAt(counts, 1) },
    ...(traces.length === 0 ? {} : { collections: traces.reduce((total, n) => total + n, 0) }),
    histogram: [...counts.entries()].filter(([, count]) => count > 0),
  };
}

/** What the contestants did in one seat, part by part. */
interface Trial {
  readonly seat: Seat;
  readonly parts: Map<string, Measured[]>;
  rate: number;
}

const takers = (testpmd: boolean) => [
  { name: OURS, take: seatEngine },
  ...(testpmd ? [{ name: 'testpmd', take: seatTestpmd }] : []),
];

/** Half of what the slower of `pairs` can do, in packets per second. */
async function halfLoad(pairs: Iterable<Pair>, ms: number): Promise<number> {
  let least = Number.POSITIVE_INFINITY;
  for (const pair of pairs) {
    const { received, ns } = await pair.measure(ms, -1);
    least = Math.min(least, (received / ns) * 1e9);
  }
  return Math.max(1, Math.floor(least / 2));
}

/** One round in one seat: all are opened, and one after the other measured. Returns what was wrong with ours. */
async function runRound(
  trial: Trial,
  round: number,
  { ms, capacityMs }: LatencySchedule,
  ground: SeatGround,
  testpmd: boolean,
): Promise<string[]> {
  const pairs = new Map<string, Pair>();
  const faults: string[] = [];
  try {
    for (const { name, take } of rotate(takers(testpmd), round)) {
      pairs.set(name, await openPair(ground, trial.seat, (path) => take(ground, trial.seat, path)));
    }
    if (trial.rate === 0) trial.rate = await halfLoad(pairs.values(), capacityMs);
    for (const [name, pair] of pairs) {
      trial.parts.set(name, [...(trial.parts.get(name) ?? []), await pair.measure(ms, trial.rate)]);
    }
  } catch (error) {
    faults.push((error as Error).message);
  }
  for (const [name, pair] of pairs) {
    const ended = await pair.close();
    if (name === OURS) faults.push(...ended);
  }
  return faults;
}

/** Measures in each of `seats`. Where testpmd is not to be had, `testpmd` says why, and we are measured alone. */
export async function runLatency(
  seats: readonly Seat[],
  schedule: LatencySchedule,
  ground: SeatGround,
  testpmd: true | string,
  signal: AbortSignal,
): Promise<LatencyReport> {
  const rows: LatencyRow[] = [];
  const faults: string[] = [];
  for (const seat of seats) {
    const trial: Trial = { seat, parts: new Map(), rate: 0 };
    const found: string[] = [];
    for (let round = 0; round < schedule.rounds && !signal.aborted; round++) {
      found.push(...(await runRound(trial, round, schedule, ground, testpmd === true)));
    }
    const judged = [...trial.parts].map(([name, parts]) => judgeLatency(name, seat, trial.rate, parts));
    for (const { collections = 0, received, name } of judged) {
      if (collections > 0) found.push(`packets caused ${collections} collections`);
      if (received === 0 && name === OURS) found.push('no packet came back');
    }
    rows.push(...judged);
    // Interrupted, children end as they like.
    if (!signal.aborted) faults.push(...found.map((fault) => `latency, ${seat.end} ${seat.rings}: ${fault}`));
  }
  return { rows, absent: testpmd === true ? [] : [`testpmd: ${testpmd}`], faults };
}
