/** One period's figures as JSON. Pure. */
import { countedBy, type Figures, type Traffic } from './figures.ts';
import type { Json } from './json.ts';

const rounded = (n: number, digits = 0): number => Number(n.toFixed(digits));

const trafficJson = ({ packets, bytes, pps, bps }: Traffic): Json => ({
  packets,
  bytes,
  pps: rounded(pps),
  bps: rounded(bps),
});

/** Seconds, ports, workers and jobs; rates in packets and bits per second, shares from 0 to 1. */
export function figuresJson({ seconds, interval, ports, workers, jobs }: Figures): { readonly [key: string]: Json } {
  return {
    seconds: rounded(seconds, 3),
    interval: rounded(interval, 3),
    ports: ports.map(({ name, link, rx, tx, drops, kernel }, index) => {
      return {
        index,
        port: name,
        link: link === undefined ? undefined : { ...link },
        rx: trafficJson(rx),
        tx: trafficJson(tx),
        drops,
        ...(Object.keys(kernel).length === 0 ? {} : { [countedBy(name)]: kernel }),
      };
    }),
    workers: workers.map(({ pps, pollsHit, sleepsPerSecond, ...rest }) => {
      return {
        ...rest,
        pps: rounded(pps),
        pollsHit: rounded(pollsHit, 4),
        sleepsPerSecond: rounded(sleepsPerSecond),
      };
    }),
    jobs: jobs.map(({ label, ...rest }) => ({ ...rest, app: label })),
  };
}

/** What happened during a period. */
export interface Happening {
  readonly event: string;
  /** Port name, or number of job or worker. */
  readonly subject: string | number;
  /** A sentence for people. */
  readonly text?: string;
  readonly error?: { readonly code: string; readonly message: string };
}

/** Events for programs. */
export const eventsJson = (events: readonly Happening[]): readonly Json[] => events.map((event) => ({ ...event }));

/** The object of one period. */
export function periodJson(figures: Figures, events: readonly Happening[]): { readonly [key: string]: Json } {
  return { type: 'period', ...figuresJson(figures), events: eventsJson(events) };
}
