/**
 * How long packets are under way through a forwarder at half load: one process sends frames with the time in them, another
 * in the seat (`seats.ts`) sends them back.
 */
import { fileURLToPath } from 'node:url';
import { Child, lastJson } from './child.ts';
import type { TraceCount } from './gc.ts';
import { timeAt } from './histogram.ts';
import { OURS } from './report.ts';
import { rotate } from './runner.ts';
import { opposite, portOf, type Seated, type SeatGround, seatEngine, seatTestpmd, withPeer } from './seats.ts';
import { makeSocket } from './socket.ts';
import { type Seat, VIRTQUEUE } from './trials.ts';

/** What the generator is told: its only argument, as JSON. */
export interface LatencyJob {
  readonly port: string;
  readonly ring: number;
  readonly burst: number;
  readonly cpu: number;
}

/** What the generator saw of one stretch. */
export interface Measured {
  readonly ns: number;
  readonly sent: number;
  readonly received: number;
  /** Not sent, because the ring was full. */
  readonly full: number;
  /** Not sent, because the generator itself was kept from its cpu. */
  readonly late: number;
  /** Packets by time under way: buckets of `histogram.ts`. */
  readonly histogram: readonly number[];
}

/** One contestant in one seat. Times in nanoseconds. */
export interface LatencyRow extends Omit<Measured, 'histogram'> {
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

const START_MS = 20_000;
const REPLY_MS = 5000;
/** Code is compiled, and caches get warm. */
const WARM_UP_MS = 300;

/** Both processes of a contestant; they stand still but while they are measured. */
interface Pair {
  measure(ms: number, rate: number): Promise<Measured & { readonly trace?: TraceCount }>;
  close(): Promise<readonly string[]>;
}

async function startGenerator({ place, burst }: SeatGround, { end, rings }: Seat, path: string): Promise<Child> {
  const script = fileURLToPath(new URL('./latency-child.js', import.meta.url));
  const job: LatencyJob = { port: portOf(opposite(end), path, rings), ring: VIRTQUEUE, burst, cpu: place.main };
  const child = new Child({ name: 'latency', command: process.execPath, args: [script, JSON.stringify(job)], quit: 'quit' }); // biome-ignore format: one thought
  try {
    await child.expect(/ready\n/, START_MS);
    return child;
  } catch (error) {
    await child.close();
    throw error;
  }
}

async function openPair(ground: SeatGround, seat: Seat, take: (path: string) => Promise<Seated>): Promise<Pair> {
  const socket = makeSocket();
  const { seated, other } = await withPeer(seat, socket.path, take, (path) => startGenerator(ground, seat, path)).catch(
    (error) => {
      socket.remove();
      throw error;
    },
  );
  await seated.rest();
  other.pause();
  return {
    async measure(ms, rate) {
      await seated.wake();
      other.resume();
      other.send(`${WARM_UP_MS} ${rate}`);
      await other.expect(/\{"ns":.*\}\n/, WARM_UP_MS + REPLY_MS);
      other.send(`${ms} ${rate}`);
      const [text, own] = await Promise.all([other.expect(/\{"ns":.*\}\n/, ms + REPLY_MS), seated.sample?.(ms)]);
      other.pause();
      await seated.rest();
      return { ...(lastJson(text) as Measured), ...(own?.trace === undefined ? {} : { trace: own.trace }) };
    },
    async close() {
      // Awake, or neither would see that the other end goes.
      other.resume();
      await seated.wake().catch(() => {});
      const { faults } = await seated.close();
      await other.close();
      socket.remove();
      return faults;
    },
  };
}

type Samples = Map<string, { readonly parts: (Measured & { readonly trace?: TraceCount })[]; rate: number }>;

/** One round: both are opened, asked what they can do, and measured at half of what the slower one can. */
async function runRound(
  pairs: ReadonlyMap<string, Pair>,
  { ms, capacityMs }: LatencySchedule,
  rate: number,
  into: Samples,
): Promise<number> {
  let half = rate;
  if (half === 0) {
    const perSecond: number[] = [];
    for (const pair of pairs.values()) {
      const { received, ns } = await pair.measure(capacityMs, -1);
      perSecond.push((received / ns) * 1e9);
    }
    half = Math.max(1, Math.floor(Math.min(...perSecond) / 2));
  }
  for (const [name, pair] of pairs) {
    const all = into.get(name) ?? { parts: [], rate: half };
    all.parts.push(await pair.measure(ms, half));
    into.set(name, all);
  }
  return half;
}

/** Sums the stretches of one contestant up. */
export function judgeLatency(
  name: string,
  seat: Seat,
  rate: number,
  parts: readonly (Measured & { readonly trace?: TraceCount })[],
): LatencyRow {
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

/** Measures in each of `seats`. Where testpmd is not to be had, `testpmd` says why, and we are measured alone. */
export async function runLatency(
  seats: readonly Seat[],
  schedule: LatencySchedule,
  ground: SeatGround,
  testpmd: true | string,
  signal: AbortSignal,
): Promise<LatencyReport> {
  const rows: LatencyRow[] = [];
  const absent = new Set<string>(testpmd === true ? [] : [`testpmd: ${testpmd}`]);
  const faults: string[] = [];
  const takes = [
    { name: OURS, take: seatEngine },
    ...(testpmd === true ? [{ name: 'testpmd', take: seatTestpmd }] : []),
  ];
  for (const seat of seats) {
    const samples: Samples = new Map();
    let rate = 0;
    for (let round = 0; round < schedule.rounds && !signal.aborted; round++) {
      const pairs = new Map<string, Pair>();
      try {
        for (const { name, take } of rotate(takes, round))
          pairs.set(name, await openPair(ground, seat, (path) => take(ground, seat, path)));
        rate = await runRound(pairs, schedule, rate, samples);
      } catch (error) {
        if (!signal.aborted) faults.push(`latency, ${seat.end} ${seat.rings}: ${(error as Error).message}`);
      }
      for (const [name, pair] of pairs) {
        const ended = await pair.close();
        if (name === OURS) faults.push(...ended.map((fault) => `latency, ${seat.end} ${seat.rings}: ${fault}`));
      }
    }
    for (const { name } of takes) {
      const all = samples.get(name);
      if (all !== undefined) rows.push(judgeLatency(name, seat, all.rate, all.parts));
    }
  }
  faults.push(...rows.filter(({ collections = 0 }) => collections > 0).map((r) => `latency, ${r.seat.end} ${r.seat.rings}: packets caused ${r.collections} collections`)); // biome-ignore format: one thought
  return { rows, absent: [...absent], faults };
}
