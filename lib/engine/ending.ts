/** How a run comes to its end: sources first, then what is under way, then the workers. Control half. */
import { COMMAND } from '../../workers/control.ts';
import type { Crew } from './crew.ts';
import { until } from './until.ts';
import type { Worker } from './worker.ts';

/** Longest wait for a worker to act on a command, in milliseconds. */
const ACT_MS = 1000;
/** Longest wait for a thread to end that was killed. */
const GONE_MS = 5000;
/** Heartbeats within which a worker has been through all its queues at least once. */
const WHOLE_SLICE = 3;

/** Stops the sources; resolves when nothing moves any more, or after `ms` milliseconds. */
export async function drain({ workers, jobs }: Crew, ms: number): Promise<void> {
  const working = workers.filter((worker) => worker.hears);
  for (const worker of working) worker.command(COMMAND.quiesce);
  await Promise.all(working.map((worker) => worker.acted(COMMAND.quiesce, ACT_MS)));
  const moves = () => jobs.reduce((sum, { worker, index }) => sum + worker.memory.moves(index), 0n);
  let last: bigint | undefined;
  let marks = new Map<Worker, number>();
  await until(() => {
    const now = moves();
    // Awake, they say by their heartbeats that they have looked, however few of them the machine lets run at a time.
    for (const worker of working) worker.wake();
    if (now !== last) {
      last = now;
      marks = new Map(working.map((worker) => [worker, worker.heartbeat]));
      return false;
    }
    const looked = (worker: Worker) => ((worker.heartbeat - (marks.get(worker) ?? 0)) | 0) >= WHOLE_SLICE;
    return working.every((worker) => !worker.hears || looked(worker));
  }, ms);
}

/** The workers leave; those that do not are ended. */
export async function halt({ workers }: Crew): Promise<void> {
  const alive = workers.filter((worker) => worker.alive);
  for (const worker of alive) worker.command(COMMAND.leave);
  await Promise.all(
    alive.map(async (worker) => {
      if (await worker.gone(ACT_MS)) return;
      worker.kill('WORKER_STALLED', `it did not leave its loop within ${ACT_MS} ms`);
      await worker.gone(GONE_MS);
    }),
  );
}
