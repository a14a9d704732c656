/** The statistics as lines of text: a block that is drawn again and again, or lines for a log. Pure. */
import {
  countedBy,
  type Figures,
  type JobFigures,
  kernelNews,
  nonZero,
  type PortFigures,
  sumCounters,
  type Traffic,
  total,
  type WorkerFigures,
} from './figures.ts';
import { type Column, count, packetRate, percent, shortCount, table } from './text.ts';

/** Width of the headings' rules: what fits on the smallest terminal. */
const RULE = 79;

const PORT_COLUMNS: readonly Column[] = [
  { title: 'Port', width: 17, most: 17 },
  { title: 'Link', width: 4 },
  { title: 'Rx packets', align: 'right', width: 13 },
  { title: 'Rx rate', align: 'right', width: 11 },
  { title: 'Tx packets', align: 'right', width: 13 },
  { title: 'Tx rate', align: 'right', width: 11 },
];

const WORKER_COLUMNS: readonly Column[] = [
  { title: '#', align: 'right' },
  { title: 'Cpu', align: 'right' },
  { title: 'State', width: 8 },
  { title: 'Polls hit', align: 'right' },
  { title: 'Packets', align: 'right', width: 13 },
  { title: 'Rate', align: 'right', width: 11 },
  { title: 'Sleeps/s', align: 'right' },
  { title: 'Jobs', most: 14 },
];

/** `Port statistics =====…` */
export const heading = (title: string): string => `${title} ${'='.repeat(RULE - title.length - 1)}`;

/** Heading, ports and workers. */
export function screen(figures: Figures): string[] {
  return [
    heading('Port statistics'),
    ...portLines(figures.ports),
    '',
    heading('Workers'),
    ...workerLines(figures.workers, figures.jobs),
    ...applicationLines(figures.jobs),
  ];
}

/** A table of the ports, each followed by its drops, and their sum. */
export function portLines(ports: readonly PortFigures[]): string[] {
  const row = (name: string, link: string, rx: Traffic, tx: Traffic) => [
    name,
    link,
    shortCount(rx.packets),
    packetRate(rx.pps),
    shortCount(tx.packets),
    packetRate(tx.pps),
  ];
  const rows = ports.map(({ name, link, rx, tx }, i) => row(`${i} ${name}`, link?.status ?? '', rx, tx));
  const add = (traffics: readonly Traffic[]): Traffic => ({
    packets: traffics.reduce((sum, t) => sum + t.packets, 0n),
    bytes: traffics.reduce((sum, t) => sum + t.bytes, 0n),
    pps: traffics.reduce((sum, t) => sum + t.pps, 0),
    bps: traffics.reduce((sum, t) => sum + t.bps, 0),
  });
  const sum = row('Total', '', add(ports.map((p) => p.rx)), add(ports.map((p) => p.tx)));
  const [titles, ...lines] = withoutEmptyLink([...rows, sum]);
  const withDrops = ports.flatMap((port, i) => [lines[i], ...dropLines(port)]);
  return [titles, ...withDrops, ...(ports.length > 1 ? [lines[ports.length]] : [])];
}

/** A stopped port has no link: no column for it at the end of a run. */
function withoutEmptyLink(rows: readonly (readonly string[])[]): string[] {
  const link = PORT_COLUMNS.findIndex(({ title }) => title === 'Link');
  if (rows.some((row) => row[link] !== '')) return table(PORT_COLUMNS, rows);
  const rest = <T>(list: readonly T[]) => list.filter((_, i) => i !== link);
  return table(rest(PORT_COLUMNS), rows.map(rest));
}

function dropLines({ name, drops, dropsPerSecond, kernel }: PortFigures): string[] {
  const reasons = nonZero(drops).map(([reason, n]) => `${reason} ${count(n)}`);
  const kept = kernelNews(kernel).map(([what, n]) => `${what} ${count(n)}`);
  const rate = dropsPerSecond >= 0.5 ? ` (${packetRate(dropsPerSecond)})` : '';
  return [
    ...(reasons.length === 0 ? [] : [`    dropped: ${reasons.join(', ')}${rate}`]),
    ...(kept.length === 0 ? [] : [`    ${countedBy(name)}: ${kept.join(', ')}`]),
  ];
}

function workerLines(workers: readonly WorkerFigures[], jobs: readonly JobFigures[]): string[] {
  const rows = workers.map((w) => [
    String(w.worker),
    String(w.cpu),
    w.state,
    percent(w.pollsHit),
    shortCount(w.packets),
    packetRate(w.pps),
    count(Math.round(w.sleepsPerSecond)),
    jobNames(w, jobs),
  ]);
  return table(WORKER_COLUMNS, rows);
}

/** `l2fwd ×2, gen`. */
function jobNames({ jobs: mine }: WorkerFigures, jobs: readonly JobFigures[]): string {
  const counts = new Map<string, number>();
  for (const job of mine) counts.set(jobs[job].label, (counts.get(jobs[job].label) ?? 0) + 1);
  return [...counts].map(([label, n]) => (n > 1 ? `${label} ×${n}` : label)).join(', ');
}

/** What the applications have counted themselves: one line for each, over all of its jobs. */
export function applicationLines(jobs: readonly JobFigures[]): string[] {
  const lines = [...new Set(jobs.map(({ label }) => label))].flatMap((label) => {
    const mine = jobs.filter((job) => job.label === label);
    const counted = nonZero(sumCounters(mine.map(({ counters }) => counters)));
    const failures = mine.reduce((sum, job) => sum + job.failures, 0);
    const parts = [
      ...counted.map(([name, n]) => `${name} ${count(n)}`),
      ...(failures > 0 ? [`failures ${failures}`] : []),
      ...(mine.some(({ state }) => state !== 'running') ? ['down'] : []),
    ];
    return parts.length === 0 ? [] : [`${label}: ${parts.join(', ')}`];
  });
  return lines.length === 0 ? [] : ['', ...lines];
}

/** The same for a log: a line per port and per worker, which `grep` finds by the port's name. */
export function logLines({ seconds, ports, workers, jobs }: Figures): string[] {
  const time = `${seconds.toFixed(1)} s`.padStart(8);
  const traffic = ({ packets, pps }: Pick<Traffic, 'packets' | 'pps'>) => `${count(packets)} (${packetRate(pps)})`;
  return [
    ...ports.map(({ name, link, rx, tx, drops, kernel }, i) => {
      const reasons = nonZero(drops).map(([reason, n]) => `${reason} ${count(n)}`);
      const why = reasons.length === 0 ? '' : `: ${reasons.join(', ')}`;
      const kept = kernelNews(kernel).map(([reason, n]) => `${reason} ${count(n)}`);
      return `${time}  port ${i} ${name} ${link?.status ?? ''}  rx ${traffic(rx)}  tx ${traffic(tx)}  dropped ${count(total(drops))}${why}${kept.length === 0 ? '' : `  ${countedBy(name)} ${kept.join(', ')}`}`;
    }),
    ...workers.map((w) => {
      const sleeps = w.sleepsPerSecond >= 0.5 ? `  ${count(Math.round(w.sleepsPerSecond))} sleeps/s` : '';
      return `${time}  worker ${w.worker} cpu ${w.cpu} ${w.state}  polls hit ${percent(w.pollsHit)}  ${traffic(w)}${sleeps}  ${jobNames(w, jobs)}`;
    }),
    ...applicationLines(jobs)
      .filter((line) => line !== '')
      .map((line) => `${time}  ${line}`),
  ];
}
