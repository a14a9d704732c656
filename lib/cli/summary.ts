/** The end of a run: totals, Mpps per worker, drops by reason, the ledger. Pure. */
import type { RunResult } from '../engine/results.ts';
import type { Counters } from '../pktio/types.ts';
import { errorData } from './failure.ts';
import { type Figures, figures, nonZero, type Subject, sumCounters } from './figures.ts';
import type { Json } from './json.ts';
import { figuresJson } from './period.ts';
import { applicationLines, heading, portLines } from './screen.ts';
import { isFailure, type StopReason } from './stopping.ts';
import { count, percent, plural } from './text.ts';
import type { Verdict } from './verdict.ts';

/** How a run ended. */
export interface Outcome {
  readonly subject: Subject;
  readonly reason: StopReason;
  readonly result: RunResult;
  /** What the kernel behind the ports has counted. */
  readonly kernel?: ReadonlyMap<string, Counters>;
  readonly verdict: Verdict | undefined;
}

const REASONS: Readonly<Record<StopReason, string>> = {
  time: 'the time is up',
  signal: 'stopped',
  sources: 'all sources have ended',
  'port-failed': 'a port failed',
  'output-closed': 'nobody reads the output',
  'keeper-lost': 'the supervising process has gone',
};

/** True when the books balance, nothing failed (the supervising process neither), and the verdict is good. */
export function succeeded({ reason, result, verdict }: Outcome): boolean {
  return !isFailure(reason) && result.ledger.balanced && result.errors.length === 0 && verdict?.ok !== false;
}

const figuresOf = ({ subject, result, kernel }: Outcome): Figures =>
  figures(subject, result, undefined, (name) => ({ extraStats: () => kernel?.get(name) ?? {} }));

/** The summary for people. */
export function summaryLines(outcome: Outcome): string[] {
  const { result, reason, verdict } = outcome;
  const all = figuresOf(outcome);
  const packets = all.workers.reduce((sum, w) => sum + w.packets, 0n);
  return [
    heading('Summary'),
    `${plural(packets, 'packet')} handled in ${result.seconds.toFixed(1)} s: ${REASONS[reason]}`,
    '',
    ...portLines(all.ports),
    ...applicationLines(all.jobs.filter(({ label }) => verdict === undefined || label !== 'sink')),
    '',
    ...workerSummary(all),
    `Dropped: ${dropSummary(all)}`,
    ...hints(all),
    ...ledgerSummary(result),
    ...(verdict === undefined ? [] : ['', ...verdict.text.split('\n')]),
  ];
}

function workerSummary({ workers }: Figures): string[] {
  return workers.map(({ worker, cpu, packets, pps, pollsHit }) => {
    const rate = (pps / 1e6).toFixed(2);
    return `Worker ${worker} on cpu ${cpu}: ${rate} Mpps (${plural(packets, 'packet')}), polls hit ${percent(pollsHit)}`;
  });
}

function dropSummary({ ports }: Figures): string {
  const drops = nonZero(sumCounters(ports.map((port) => port.drops)));
  return drops.length === 0 ? 'nothing' : drops.map(([reason, n]) => `${reason} ${count(n)}`).join(', ');
}

const HINTS: readonly (readonly [reasons: readonly string[], text: string])[] = [
  [['rx_oversize', 'tx_oversize'], 'oversize: longer than the port’s MTU: raise it with --mtu'],
  [['rx_runt', 'tx_runt'], 'runt: shorter than an Ethernet header, 14 bytes'],
  [['tx_no_output'], 'no_output: the port has no file to write to: give it one with out=FILE'],
  [['tx_io_error'], 'io_error: could not be written: see the error above'],
];

/** What a reason means, where one can do something about it. */
function hints({ ports }: Figures): string[] {
  const reasons = nonZero(sumCounters(ports.map((port) => port.drops))).map(([reason]) => reason);
  return HINTS.filter(([mine]) => mine.some((reason) => reasons.includes(reason))).map(([, text]) => `  ${text}`);
}

function ledgerSummary({ ledger }: RunResult): string[] {
  const { total, free, inRings, held, lost, errors, balanced } = ledger;
  const frames = `${count(total)} frames = ${count(free)} free + ${count(inRings)} in rings + ${count(held)} held + ${count(lost)} lost`;
  return balanced
    ? [`Ledger: balanced: ${frames}`]
    : [`Ledger: NOT balanced: ${frames}`, ...errors.map((error) => `  ${error}`)];
}

/** The summary for programs. */
export function summaryJson(outcome: Outcome): { readonly [key: string]: Json } {
  const { result, reason, verdict } = outcome;
  const all = figuresOf(outcome);
  return {
    type: 'summary',
    reason,
    ...figuresJson(all),
    packets: all.workers.reduce((sum, w) => sum + w.packets, 0n),
    drops: sumCounters(all.ports.map((port) => port.drops)),
    ledger: { ...result.ledger },
    verdict: verdict === undefined ? undefined : { ok: verdict.ok, counters: verdict.data },
    errors: result.errors.map((error) => ({ ...errorData(error) })),
  };
}
