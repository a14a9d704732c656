/** UDP round trips: one client, and one contestant after the other that answers it or stands between. */
import { Child, lastJson } from './child.ts';
import type { Ending } from './contestant.ts';
import type { Placement } from './machine.ts';
import { rotate } from './runner.ts';
import { type Summary, summarize } from './stats.ts';
import type { RoundTripTrial } from './trials.ts';
import type { Wires } from './wires.ts';

/** Where answers come from. */
export interface Path {
  readonly address: string;
  readonly port: number;
  /** Never rejects. */
  close(): Promise<Ending>;
}

/** Someone who takes part. */
export interface RoundTripEntry {
  readonly name: string;
  /** As of an `Entry`. */
  readonly ours: boolean;
  open(): Promise<Path>;
}

/** What the client says of one stretch of asking. Times in nanoseconds. */
export interface Trips {
  readonly trips: number;
  readonly ns: number;
  readonly lost: number;
  readonly p50: number;
  readonly p99: number;
  readonly max: number;
}

/** Asks. */
export interface Client {
  ask(ms: number, inFlight: number): Promise<Trips>;
  close(): Promise<void>;
}

/** Starts a client for a path. */
export type OpenClient = (path: Path) => Promise<Client>;

/** A client in the first of the namespaces. */
export const wireClient =
  (wires: Wires, { main }: Placement, program: string): OpenClient =>
  async ({ address, port }) => {
    const line = ['taskset', '-c', String(main), program, 'ask', address, String(port)];
    const [command, ...args] = wires.inside('a', ...line);
    const child = new Child({ name: 'asking', command, args, quit: '' });
    try {
      await child.expect(/ready\n/, 5000);
    } catch (error) {
      await child.close();
      throw error;
    }
    return {
      async ask(ms, inFlight) {
        child.send(`${ms} ${inFlight}`);
        return lastJson(await child.expect(/\{"trips":.*\}\n/, ms + 5000)) as Trips;
      },
      async close() {
        await child.close();
      },
    };
  };

/** What one entry did, by the number of requests in flight. */
export interface TripSeries {
  readonly samples: Record<number, Trips[]>;
  readonly faults: string[];
  absent?: string;
}

/** All series of one trial, by name. */
export type TripsByName = Record<string, TripSeries>;

const WARM_UP_MS = 200;

async function visit(
  entry: RoundTripEntry,
  openClient: OpenClient,
  { inFlight }: Pick<RoundTripTrial, 'inFlight'>,
  ms: number,
  into: TripSeries,
): Promise<void> {
  const path = await entry.open();
  let client: Client | undefined;
  try {
    client = await openClient(path);
    for (const n of inFlight) {
      await client.ask(WARM_UP_MS, n);
      const trips = await client.ask(ms, n);
      if (trips.trips === 0) throw new Error(`no answers in ${ms} ms with ${n} in flight`);
      into.samples[n] = [...(into.samples[n] ?? []), trips];
    }
  } finally {
    await client?.close();
    into.faults.push(...(await path.close()).faults);
  }
}

/** Adds one round to `into`: each entry in its turn, alone. */
export async function runRoundTrips(
  trial: Pick<RoundTripTrial, 'inFlight'>,
  entries: readonly RoundTripEntry[],
  openClient: OpenClient,
  ms: number,
  round: number,
  into: TripsByName,
  signal: AbortSignal,
): Promise<void> {
  for (const entry of entries) into[entry.name] ??= { samples: {}, faults: [] };
  for (const entry of rotate(entries, round)) {
    const series = into[entry.name]!;
    if (series.absent !== undefined || signal.aborted) continue;
    try {
      await visit(entry, openClient, trial, ms, series);
    } catch (error) {
      if (signal.aborted) return;
      series.absent = error instanceof Error ? error.message : String(error);
      if (entry.ours) series.faults.push(series.absent);
    }
  }
}

/** One contestant with so many requests in flight, as a report shows it. Times in microseconds. */
export interface TripReport {
  readonly name: string;
  readonly inFlight: number;
  readonly perSecond: Summary;
  readonly p50: Summary;
  readonly p99: Summary;
  readonly lost: number;
}

/** One trial. */
export interface RoundTripReport {
  readonly kind: string;
  readonly title: string;
  readonly rows: readonly TripReport[];
  /** Who was absent, and why. */
  readonly absent: readonly string[];
  readonly faults: readonly string[];
}

/** Sums a trial up. */
export function judgeTrips({ kind, title, inFlight }: RoundTripTrial, series: TripsByName): RoundTripReport {
  const all = Object.entries(series);
  const rows = inFlight.flatMap((n) =>
    all.flatMap(([name, { samples }]): TripReport[] => {
      const trips = samples[n] ?? [];
      if (trips.length === 0) return [];
      const us = (key: 'p50' | 'p99') => summarize(trips.map((t) => t[key] / 1000));
      return [
        {
          ...{ name, inFlight: n, p50: us('p50'), p99: us('p99') },
          perSecond: summarize(trips.map((t) => (t.trips / t.ns) * 1e9)),
          lost: trips.reduce((sum, t) => sum + t.lost, 0),
        },
      ];
    }),
  );
  return {
    ...{ kind, title, rows },
    absent: all.flatMap(([name, { absent }]) => (absent === undefined ? [] : [`${name}: ${absent}`])),
    faults: all.flatMap(([name, { faults }]) => faults.map((fault) => `${kind}, ${name}: ${fault}`)),
  };
}
