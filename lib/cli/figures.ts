/** What a screen shows of a run: totals, rates since the last look, drops by reason and port. Pure. */
import type { RunStats } from '../engine/results.ts';
import type { JobSpec } from '../engine/types.ts';
import type { Counters, LinkInfo, Pktio, PortStats } from '../pktio/types.ts';

/** One direction of a port. */
export interface Traffic {
  readonly packets: bigint;
  readonly bytes: bigint;
  /** Packets per second over the interval. */
  readonly pps: number;
  /** Bits per second over the interval, of frames without FCS, preamble and gap. */
  readonly bps: number;
}

/** A port. */
export interface PortFigures {
  readonly name: string;
  /** Undefined when the port is stopped. */
  readonly link: LinkInfo | undefined;
  readonly rx: Traffic;
  readonly tx: Traffic;
  /** Packets dropped so far, by reason: `rx_…` and `tx_…` are the port's own, the rest the applications'. */
  readonly drops: Counters;
  /** Drops per second over the interval; 0 without an earlier look. */
  readonly dropsPerSecond: number;
  /** What the kernel behind it has counted, or the device's driver, by its own names: see `countedBy`. */
  readonly kernel: Counters;
}

/** A worker. */
export interface WorkerFigures {
  readonly worker: number;
  readonly cpu: number;
  readonly state: string;
  readonly packets: bigint;
  readonly pps: number;
  /**
   * Share of the interval's polls that found packets, 0 to 1: at 1 a worker has no time left. It is no share of time: an
   * empty poll takes a fraction of a full one's.
   */
  readonly pollsHit: number;
  readonly sleepsPerSecond: number;
  /** Numbers of its jobs. */
  readonly jobs: readonly number[];
}

/** A job's own counters. */
export interface JobFigures {
  readonly job: number;
  readonly label: string;
  readonly state: string;
  readonly failures: number;
  readonly counters: Counters;
}

/** Everything at one moment. */
export interface Figures {
  /** Since packets began to flow. */
  readonly seconds: number;
  /** Seconds that the rates are about. */
  readonly interval: number;
  readonly ports: readonly PortFigures[];
  readonly workers: readonly WorkerFigures[];
  readonly jobs: readonly JobFigures[];
}

/** What the figures are of: the ports in the order in which they were given, and the jobs. */
export interface Subject {
  readonly ports: readonly string[];
  readonly jobs: readonly JobSpec[];
}

/** What a port itself tells. */
type Facts = Partial<Pick<Pktio, 'link' | 'extraStats'>>;

/** Rx and tx counters that are no reasons for a drop. */
const NO_REASON = ['packets', 'bytes', 'extra_frames', 'completed', 'joined'];

/** What a job is, in one word or path. */
export const jobLabel = ({ app }: JobSpec): string =>
  app.export === undefined ? String(app.module) : `${app.module}#${app.export}`;

/** Derives the figures from two looks; without an earlier one, rates are over all the time so far. */
export function figures(
  subject: Subject,
  now: RunStats,
  before?: RunStats,
  portOf: (name: string) => Facts | undefined = () => undefined,
): Figures {
  const interval = Math.max(now.seconds - (before?.seconds ?? 0), 1e-3);
  const rate = (a: bigint | undefined, b: bigint | undefined) => Number((a ?? 0n) - (b ?? 0n)) / interval;
  const ports = subject.ports.map((name): PortFigures => {
    const stats = now.ports[name];
    const old = before?.ports[name];
    const traffic = (direction: keyof PortStats): Traffic => {
      const { packets = 0n, bytes = 0n } = stats?.[direction] ?? {};
      const last = old?.[direction];
      return { packets, bytes, pps: rate(packets, last?.packets), bps: rate(bytes, last?.bytes) * 8 };
    };
    const drops = dropsOf(name, subject.jobs, now);
    // Over a whole run the number says more than the rate.
    const dropsPerSecond = before === undefined ? 0 : rate(total(drops), total(dropsOf(name, subject.jobs, before)));
    const port = portOf(name);
    const [rx, tx] = [traffic('rx'), traffic('tx')];
    return { name, link: port?.link?.(), rx, tx, drops, dropsPerSecond, kernel: port?.extraStats?.() ?? {} };
  });
  const workers = now.workers.map(({ worker, cpu, state, counters, packets }): WorkerFigures => {
    const old = before?.workers[worker];
    const polls = rate(counters.polls, old?.counters.polls);
    const idle = rate(counters.idlePolls, old?.counters.idlePolls);
    const pollsHit = polls > 0 ? Math.max(0, 1 - idle / polls) : 0;
    const sleepsPerSecond = rate(counters.sleeps, old?.counters.sleeps);
    const jobs = now.jobs.filter((job) => job.worker === worker).map(({ job }) => job);
    return { worker, cpu, state, packets, pps: rate(packets, old?.packets), pollsHit, sleepsPerSecond, jobs };
  });
  const jobs = now.jobs.map(({ job, state, failures, counters }) => {
    return { job, label: jobLabel(subject.jobs[job]), state, failures, counters };
  });
  return { seconds: now.seconds, interval, ports, workers, jobs };
}

/** All drops of a port, those too that applications counted: each of them belongs to exactly one port. */
function dropsOf(port: string, specs: readonly JobSpec[], { ports, jobs }: RunStats): Counters {
  const drops: Record<string, bigint> = {};
  const add = (reason: string, n: bigint) => {
    drops[reason] = (drops[reason] ?? 0n) + n;
  };
  for (const direction of ['rx', 'tx'] as const) {
    for (const [name, n] of Object.entries(ports[port]?.[direction] ?? {})) {
      if (!NO_REASON.includes(name)) add(`${direction}_${name}`, n);
    }
  }
  for (const { job, frames } of jobs) {
    for (const [name, n] of Object.entries(frames)) {
      if (!name.startsWith('dropped_')) continue;
      const reason = name.slice('dropped_'.length);
      if (blamed(specs[job], reason) === port) add(reason, n);
    }
  }
  return drops;
}

/** A full tx queue is the tx port's; anything else is said of the port that the packet came from. */
function blamed({ rx, tx = [] }: JobSpec, reason: string): string | undefined {
  if (reason === 'tx_full' && tx.length === 1) return tx[0];
  return rx?.port ?? tx[0];
}

/** What the kernel counts that is no loss: how often it found nothing to send. */
const NO_NEWS = ['tx_ring_empty_descs'];

/** Who counts that: the kernel behind an interface, or what drives or serves a device. */
export const countedBy = (port: string): 'kernel' | 'device' => (port.startsWith('xdp:') ? 'kernel' : 'device');

/** The kernel's counters that a screen shows. */
export const kernelNews = (kernel: Counters): [string, bigint][] =>
  nonZero(kernel).filter(([name]) => !NO_NEWS.includes(name));

/** The sum of some counters. */
export const total = (counters: Counters): bigint => Object.values(counters).reduce((sum, n) => sum + n, 0n);

/** Counters of the same name added up. */
export function sumCounters(all: readonly Counters[]): Counters {
  const sum: Record<string, bigint> = {};
  for (const counters of all) for (const [name, n] of Object.entries(counters)) sum[name] = (sum[name] ?? 0n) + n;
  return sum;
}

/** Only the counters that have counted something. */
export const nonZero = (counters: Counters): [string, bigint][] => Object.entries(counters).filter(([, n]) => n !== 0n);
