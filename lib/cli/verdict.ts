/** What a run's generator and sinks say together: was everything that was sent received, intact and in order? Pure. */
import { framesOf } from '../engine/ledger.ts';
import type { RunResult } from '../engine/results.ts';
import type { JobSpec } from '../engine/types.ts';
import { sumCounters } from './figures.ts';
import type { Json } from './json.ts';
import { count } from './text.ts';

/** A judgement. */
export interface Verdict {
  /** False when packets were changed or multiplied on the way, or are gone without a trace. */
  readonly ok: boolean;
  readonly text: string;
  readonly data: { readonly [key: string]: Json };
}

/** Judges the `sink` jobs of a run; undefined when it has none. */
export function judge(specs: readonly JobSpec[], { jobs }: RunResult): Verdict | undefined {
  const of = (module: string) => jobs.filter(({ job }) => specs[job].app.module === module);
  const sinks = of('sink');
  if (sinks.length === 0) return undefined;
  const sum = sumCounters(sinks.map(({ counters }) => counters));
  const { received = 0n, late = 0n, duplicate = 0n, stale = 0n, corrupt = 0n, foreign = 0n } = sum;
  const lost = (sum.skipped ?? 0n) - late;
  const intact = received - corrupt - foreign;
  const problems = Object.entries({ corrupt, duplicate, stale, late, foreign }).filter(([, n]) => n > 0n);
  const told = problems.map(([name, n]) => `${count(n)} ${name}`).join(', ');
  const text = `sink: ${count(received)} received, ${count(intact)} intact, ${count(lost)} lost${told === '' ? ', all in order' : `, ${told}`}`;
  return { ok: corrupt === 0n, text, data: { ...sum, lost } };
}

/** As `judge`, for a run in which the sinks can receive nothing but what its generators sent. */
export function judgeClosed(specs: readonly JobSpec[], result: RunResult): Verdict {
  const { data, text } = judge(specs, result) as Verdict;
  const sum = data as Record<string, bigint>;
  const { sent = 0n } = sumCounters(result.jobs.map(({ counters }) => counters));
  const gone = sent - sum.received;
  const dropped = droppedBetween(specs, result);
  const wrong = [
    ...(gone === dropped ? [] : [`${count(gone - dropped)} packets are gone without a trace`]),
    ...['corrupt', 'duplicate', 'stale', 'late', 'foreign']
      .filter((name) => sum[name] > 0n)
      .map((name) => `${count(sum[name])} ${name}`),
  ];
  const account = `gen:  ${count(sent)} sent = ${count(sum.received)} received + ${count(dropped)} dropped on the way`;
  const end = wrong.length === 0 ? 'every packet is accounted for' : `WRONG: ${wrong.join(', ')}`;
  return { ok: wrong.length === 0, text: `${account}\n${text}\n${end}`, data: { ...data, sent, dropped } };
}

/** Packets that were dropped after they had been sent: by the forwarders, and in the rings of ports. */
function droppedBetween(specs: readonly JobSpec[], { jobs, ports }: RunResult): bigint {
  const sum = (values: bigint[]) => values.reduce((a, b) => a + b, 0n);
  const forwarders = jobs.filter(({ job }) => specs[job].rx !== undefined);
  const byApps = forwarders.flatMap(({ frames }) =>
    Object.entries(frames).flatMap(([name, n]) => (name.startsWith('dropped_') ? [n] : [])),
  );
  const byPorts = Object.values(ports).map(({ tx }) => framesOf(tx) - (tx.completed ?? 0n));
  return sum(byApps) + sum(byPorts);
}
