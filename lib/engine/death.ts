/**
 * The books of a worker whose thread was ended, wherever it was. It was the one writer of its counters; the main
 * thread is, until it is started again. A queue counts after it has acted, and a job after its queue: what was cut off
 * between the two is mended in that order, so that every frame ends in one counter. Control half.
 */
import { APP_COUNTERS, CONTROL, JOB, JOB_COUNTERS, LEDGER, WORKER_COUNTERS } from '../../workers/control.ts';
import { heldIn, writeOff } from '../../workers/ledger.ts';
import { makeCounters, mendCounters, readCounters } from '../arena/counters.ts';
import type { QueueHandle } from '../pktio/types.ts';
import { DROP, type QueuePlan, RX, TX } from '../queue.ts';
import type { CrewJob } from './crew.ts';
import { framesOf, inFlight } from './ledger.ts';
import type { Worker } from './worker.ts';

const read = (memory: SharedArrayBuffer, { counters, counterNames }: QueuePlan) =>
  readCounters(memory, counters, counterNames);

/** Frames that came by a queue, and by those in its place before its driver was exchanged. */
const inAll = (memory: SharedArrayBuffer, { plan, before }: QueueHandle): bigint =>
  framesOf(read(memory, plan)) + (before === undefined ? 0n : framesOf(before));

const add = (memory: SharedArrayBuffer, { counters, counterNames }: QueuePlan, index: number, n: number) => {
  if (n > 0) makeCounters(memory, counters, counterNames.length)(index, n);
};

const addToJob = (memory: SharedArrayBuffer, { worker, index }: CrewJob, counter: number, n: number) => {
  const at = worker.memory.blocks[index] + JOB.counters * 4;
  if (n > 0) makeCounters(memory, at, JOB_COUNTERS.length)(counter, n);
};

const ledgerOf = ({ worker, index }: CrewJob) => worker.memory.jobLedger(index);

/** Puts the books of `worker` in order, whose attached jobs are `jobs`, and writes off what they held. */
export function settleDeath(memory: SharedArrayBuffer, worker: Worker, jobs: readonly CrewJob[]): void {
  const tx = [...new Set(jobs.flatMap((job) => job.tx))];
  mend(memory, worker, [...jobs.flatMap(({ rx }) => (rx === undefined ? [] : [rx])), ...tx]);
  for (const queue of tx) settleTx(memory, queue);
  for (const job of jobs) {
    if (job.rx === undefined) continue;
    const received = Number(inAll(memory, job.rx) - ledgerOf(job).delivered);
    addToJob(memory, job, LEDGER.delivered, received);
  }
  // A job that has been taken out has its share of the queues' counters: then what is torn cannot be told.
  if (jobs.length === worker.memory.blocks.length) settleAccepted(memory, jobs, tx);
  for (const { index } of jobs) writeOff(memory, worker.memory.blocks[index], DROP.app_died);
}

function mend(
  memory: SharedArrayBuffer,
  { memory: { control, blocks } }: Worker,
  queues: readonly QueueHandle[],
): void {
  mendCounters(memory, control + CONTROL.counters * 4, WORKER_COUNTERS.length);
  for (const block of blocks) mendCounters(memory, block + JOB.counters * 4, JOB_COUNTERS.length + APP_COUNTERS);
  for (const { plan } of queues) mendCounters(memory, plan.counters, plan.counterNames.length);
}

/** Accepted is what is in the ring, what has left it, and what failed; what was neither has been completed. */
function settleTx(memory: SharedArrayBuffer, queue: QueueHandle): void {
  queue.settle();
  const flying = Number(inFlight(read(memory, queue.plan))) - [...queue.held()].length;
  add(memory, queue.plan, TX.completed, flying);
  add(memory, queue.plan, TX.packets, -flying);
}

/** What a tx queue accepted and no job has counted was accepted from the job that holds so much. */
function settleAccepted(memory: SharedArrayBuffer, jobs: readonly CrewJob[], tx: readonly QueueHandle[]): void {
  const frames = tx.reduce((sum, queue) => sum + inAll(memory, queue), 0n);
  const accepted = jobs.reduce((sum, job) => sum + ledgerOf(job).accepted, 0n);
  const torn = Number(frames - accepted);
  const sender = jobs.find(({ worker, index }) => heldIn(memory, worker.memory.blocks[index]) >= torn);
  if (sender !== undefined) addToJob(memory, sender, LEDGER.accepted, torn);
}

/**
 * Counts `torn` frames that a worker took and that are in no counter: received (or allocated, by a job that receives
 * nothing), and died with. Only while the worker does not run.
 */
export function countTorn(memory: SharedArrayBuffer, jobs: readonly CrewJob[], torn: number): void {
  const receiver = jobs.find(({ rx }) => rx !== undefined);
  const job = receiver ?? jobs[0];
  if (job === undefined) return;
  if (receiver?.rx !== undefined) add(memory, receiver.rx.plan, RX.packets, torn);
  addToJob(memory, job, receiver === undefined ? LEDGER.allocated : LEDGER.delivered, torn);
  addToJob(memory, job, LEDGER.dropped + DROP.app_died, torn);
}
