/** The ledger: every frame ends in exactly one counter, and all of them together are the pool. Pure. */
import { heldBy } from '../../workers/ledger.ts';
import type { FramePool } from '../arena/frame-pool.ts';
import type { Counters, PortStats } from '../pktio/types.ts';
import type { CrewJob } from './crew.ts';
import type { Worker } from './worker.ts';

/** A job's frames by name: see `JOB_COUNTERS`. */
export type JobCounters = Counters;

/** Where the frames of a pool are, when all workers stand still. */
export interface Ledger {
  readonly total: number;
  /** In the depot and on the workers' stacks. */
  readonly free: number;
  /** In rings, on their way between ports. */
  readonly inRings: number;
  /** Held by applications, by their own counters. */
  readonly held: number;
  /** Held by applications that died, and not swept up. */
  readonly lost: number;
  /** total − free − inRings: what must be held by somebody. */
  readonly missing: number;
  /** What does not add up, one sentence each. */
  readonly errors: readonly string[];
  readonly balanced: boolean;
}

/** Frames of the packets that a queue or port counts. */
export const framesOf = ({ packets = 0n, extra_frames = 0n }: Counters): bigint => packets + extra_frames;

/** Counters of a queue that count no ends of frames. */
const NO_ENDS = ['packets', 'bytes', 'extra_frames'];

/** Accepted less completed and failed: the frames that must be in flight on a tx side. */
export function inFlight(tx: Counters): bigint {
  const ends = Object.entries(tx).filter(([name]) => !NO_ENDS.includes(name));
  return framesOf(tx) - ends.reduce((sum, [, n]) => sum + n, 0n);
}

/** A port's part of it. */
export interface PortFigures {
  readonly name: string;
  readonly stats: PortStats;
  /** Frames in its tx rings. */
  readonly inRings: number;
  /** Empty frames in its rx rings, for packets to come. */
  readonly posted: number;
}

/** What the ledger is made from. */
export interface LedgerInput {
  readonly total: number;
  readonly free: number;
  readonly inRings: number;
  readonly lost: number;
  readonly jobs: readonly JobCounters[];
  /** Ports and the frames in their tx rings. */
  readonly ports: readonly { readonly name: string; readonly stats: PortStats; readonly inRings: number }[];
}

/** Adds everything up. */
export function balance({ total, free, inRings, lost, jobs, ports }: LedgerInput): Ledger {
  const errors: string[] = [];
  const equal = (what: string, a: bigint, b: bigint) => {
    if (a !== b) errors.push(`${what}: ${a} is not ${b}`);
  };
  const sum = (values: readonly bigint[]) => values.reduce((x, y) => x + y, 0n);
  const held = sum(jobs.map(heldBy));
  const missing = total - free - inRings;
  equal('frames missing from the pool, and frames held or lost', BigInt(missing), held + BigInt(lost));
  for (const { name, stats, inRings: flying } of ports) {
    equal(
      `${name}: tx accepted less completed and failed, and frames in its rings`,
      inFlight(stats.tx),
      BigInt(flying),
    );
  }
  equal(
    'frames received by ports and delivered to jobs',
    sum(ports.map((p) => framesOf(p.stats.rx))),
    sum(jobs.map((j) => j.delivered ?? 0n)),
  );
  equal(
    'frames accepted from jobs and by ports',
    sum(jobs.map((j) => j.accepted ?? 0n)),
    sum(ports.map((p) => framesOf(p.stats.tx))),
  );
  return { total, free, inRings, held: Number(held), lost, missing, errors, balanced: errors.length === 0 };
}

/** The ledger of a run in which nobody works any more; `lost` is what was not swept up. */
export function settle(
  pool: FramePool,
  workers: readonly Worker[],
  jobs: readonly CrewJob[],
  ports: readonly PortFigures[],
  lost: number,
): Ledger {
  return balance({
    total: pool.plan.count,
    free: pool.inDepot + workers.reduce((sum, { memory }) => sum + memory.stacked, 0),
    inRings: ports.reduce((sum, port) => sum + port.inRings + port.posted, 0),
    lost,
    jobs: jobs.map(({ worker, index }) => worker.memory.jobLedger(index)),
    ports,
  });
}

/** The ledger of a run whose books could not be closed because of `error`. */
export function unknown(pool: FramePool, error: Error): Ledger {
  const total = pool.plan.count;
  const none = { free: 0, inRings: 0, held: 0, lost: 0, missing: total };
  return { total, ...none, errors: [`the books could not be closed: ${error.message}`], balanced: false };
}
