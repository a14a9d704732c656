/** Runs a trial: its contestants side by side, sample by sample in alternation, so that noise falls on all alike. */
import { type Contestant, type Distance, disturbed, mpps, type Sample } from './contestant.ts';
import { addTraces, type TraceCount } from './gc.ts';
import { type Summary, summarize } from './stats.ts';
import type { Schedule } from './trials.ts';

/** Someone who takes part. */
export interface Entry {
  readonly name: string;
  /** Ours: whatever goes wrong with it is a fault of the run. A peer that fails is only left out. */
  readonly ours: boolean;
  open(): Promise<Contestant>;
}

/** What one entry did in a trial. */
export interface Series {
  readonly samples: Sample[];
  readonly faults: string[];
  /** Why there are no samples of a peer, if there are none. */
  absent?: string;
}

/** All series of one trial, by name. */
export type SeriesByName = Record<string, Series>;

const reason = (error: unknown): string => (error instanceof Error ? error.message : String(error));

/** Returns `list` beginning with element `by`, so that nobody always goes first. */
export function rotate<T>(list: readonly T[], by: number): T[] {
  const at = list.length === 0 ? 0 : by % list.length;
  return [...list.slice(at), ...list.slice(0, at)];
}

/** Attempts at a sample that nothing disturbs. */
const ATTEMPTS = 4;

/**
 * Takes a sample, again if it was disturbed; the last one counts in any case. Traces of all attempts count. Whoever had no
 * cpu at all forwards nothing, and the kernel does not say so before he gets one: he is given twice the time. Who
 * forwards nothing then either is left out if he is a peer; when we forward nothing, that is for `judge`.
 */
async function sampleQuietly(contestant: Contestant, ours: boolean, ms: number): Promise<Sample> {
  const traces: TraceCount[] = [];
  let time = ms;
  for (let attempt = 1; ; attempt++) {
    const sample = await contestant.sample(time);
    if (sample.trace !== undefined) traces.push(sample.trace);
    const empty = sample.packets === 0;
    if (empty && !ours && attempt === ATTEMPTS) throw new Error(`it forwarded nothing in ${time} ms, nor before`);
    if (empty) time *= 2;
    if (!(empty || disturbed(sample)) || attempt === ATTEMPTS) {
      return traces.length === 0 ? sample : { ...sample, trace: addTraces(traces) };
    }
  }
}

/** Adds one round to `into`. Processes are started anew; they end before this resolves, whatever happens. */
export async function runRound(
  entries: readonly Entry[],
  schedule: Schedule,
  round: number,
  into: SeriesByName,
  signal: AbortSignal,
): Promise<void> {
  const running = new Map<Entry, Contestant>();
  for (const { name } of entries) into[name] ??= { samples: [], faults: [] };
  const attempt = async (entry: Entry, step: () => Promise<void>): Promise<void> => {
    const series = into[entry.name]!;
    if (series.absent !== undefined || signal.aborted) return;
    try {
      await step();
    } catch (error) {
      if (signal.aborted) return;
      if (entry.ours) series.faults.push(reason(error));
      series.absent = reason(error);
    }
  };
  try {
    for (const entry of rotate(entries, round)) {
      await attempt(entry, async () => {
        running.set(entry, await entry.open());
        await running.get(entry)!.sample(schedule.warmUpMs);
      });
    }
    for (let i = 0; i < schedule.samples; i++) {
      for (const entry of rotate(entries, round + i)) {
        await attempt(entry, async () => {
          into[entry.name]!.samples.push(await sampleQuietly(running.get(entry)!, entry.ours, schedule.sampleMs));
        });
      }
    }
  } finally {
    for (const [entry, contestant] of running) {
      const { faults } = await contestant.close();
      if (!signal.aborted) into[entry.name]!.faults.push(...faults);
    }
  }
}

/** A series as a report shows it. */
export interface SeriesReport {
  /** Millions of packets per second. */
  readonly mpps: Summary;
  readonly samples: readonly number[];
  /** Of each sample, where two cpus took part. */
  readonly distances?: readonly Distance[];
  /** Part of the time in which something else had the loop's cpu; already taken out of the rates. */
  readonly waited: number;
  /** Millions of packets per second that were offered, where that was counted. */
  readonly offered?: Summary;
  readonly trace?: TraceCount;
  readonly faults: readonly string[];
  readonly absent?: string;
}

function share(samples: readonly Sample[]): number {
  const ns = samples.reduce((sum, s) => sum + s.ns, 0);
  return ns === 0 ? 0 : samples.reduce((sum, s) => sum + (s.waitedNs ?? 0), 0) / ns;
}

/** Judges a series. A sample without packets, a collection and a deoptimisation after the warm-up are faults. */
export function judge(series: Series): SeriesReport {
  const samples = series.samples.map(mpps);
  const traced = series.samples.flatMap((s) => (s.trace === undefined ? [] : [s.trace]));
  const trace = traced.length === 0 ? undefined : addTraces(traced);
  const offered = series.samples.flatMap(({ offered, ns }) => (offered === undefined ? [] : [(offered / ns) * 1000]));
  const distances = series.samples.flatMap(({ distance }) => (distance === undefined ? [] : [distance]));
  const empty = series.samples.filter((s) => s.packets === 0).length;
  const faults = [
    ...series.faults,
    ...(empty === 0 ? [] : [`no packets in ${empty} of ${samples.length} samples`]),
    ...(samples.length > 0 || series.absent !== undefined ? [] : ['no samples']),
    ...(trace === undefined || trace.collections === 0 ? [] : [`packets caused ${trace.collections} collections`]),
    ...(trace?.deopts ?? []).map((deopt) => `deoptimised after the warm-up: ${deopt}`),
  ];
  return {
    mpps: summarize(samples),
    samples,
    waited: share(series.samples),
    ...(distances.length === 0 ? {} : { distances }),
    ...(offered.length === 0 ? {} : { offered: summarize(offered) }),
    ...(trace === undefined ? {} : { trace }),
    faults,
    ...(series.absent === undefined ? {} : { absent: series.absent }),
  };
}
