/** Finding the frames of the dead: while all workers stand still, what nobody has goes back to the pool. Control half. */
import { COMMAND } from '../../workers/control.ts';
import type { Pktio } from '../pktio/types.ts';
import type { Crew, Means } from './crew.ts';
import { heldBy } from './ledger.ts';

/** Longest that a worker is waited for to stand still, in milliseconds. */
const PAUSE_MS = 50;

/** Offsets of the frames in the rings of `ports`, ring by ring. */
export function ringsOf(ports: Iterable<Pktio>): Iterable<number>[] {
  return [...ports].flatMap(({ queues }) => [...queues.rx, ...queues.tx].map((queue) => queue.held()));
}

/** Does `action` while all workers stand still. Undefined when one of them did not stand still in time. */
export async function paused<T>({ workers }: Crew, action: () => T): Promise<T | undefined> {
  const alive = workers.filter((worker) => worker.alive);
  for (const worker of alive) worker.command(COMMAND.pause);
  try {
    const still = await Promise.all(alive.map((worker) => worker.acted(COMMAND.pause, PAUSE_MS)));
    return still.includes(false) ? undefined : action();
  } finally {
    for (const worker of alive) worker.command(COMMAND.run);
  }
}

/**
 * Gives frames that nobody has back to the pool and returns how many there were; undefined when an application holds
 * some just now, since a frame in an application's own memory cannot be told from a lost one.
 */
export function sweep({ frames, ports }: Means, { workers, jobs }: Crew): number | undefined {
  if (jobs.some(({ worker, index }) => heldBy(worker.memory.jobLedger(index)) !== 0n)) return undefined;
  return frames.sweep([...workers.map((worker) => worker.memory.stackedFrames()), ...ringsOf(ports.values())]);
}
