/** Entry of the process that `linecard.ts` starts: an engine that forwards, and says how much when it is asked. */
import { execFileSync } from 'node:child_process';
import { readFileSync, writeSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { type Engine, type JobSpec, openEngine, type Run, type RunResult } from '../lib/index.ts';
import type { Sample } from './contestant.ts';
import { stackOf } from './gc.ts';
import type { EngineJob } from './linecard.ts';
import { promptly, type ThreadTime, threadPinnedTo } from './waiting.ts';

/** From the end of a pause to the first reading: caches get warm. */
const SETTLE_MS = 20;
/** The process stands still between samples, which must not look like a hung worker. */
const STALL_MS = 600_000;
/** What circulates never ends by itself. */
const DRAIN_MS = 50;

// Straight to the pipe, so that it keeps its place between the lines that V8 prints.
const say = (message: unknown): void => {
  writeSync(1, `${typeof message === 'string' ? message : JSON.stringify(message)}\n`);
};

const jobsOf = ({ ports, jobs, app, cpu }: EngineJob): JobSpec[] =>
  jobs.map(([from, to]) => ({ app, rx: { port: ports[from]! }, tx: [ports[to]!], group: 'loop', cpu }));

interface Reading {
  readonly ns: bigint;
  readonly packets: bigint;
  readonly waited: number;
}

function read(run: Run, loop: ThreadTime | undefined): Reading {
  const waited = loop?.waited() ?? 0;
  const packets = run.stats().jobs.reduce((sum, { frames }) => sum + (frames.delivered ?? 0n), 0n);
  return { ns: process.hrtime.bigint(), packets, waited };
}

async function sample(run: Run, loop: ThreadTime | undefined, ms: number): Promise<Sample> {
  await sleep(SETTLE_MS);
  const before = await promptly(async () => read(run, loop));
  await sleep(ms);
  const after = await promptly(async () => read(run, loop));
  const waitedNs = after.waited - before.waited;
  return { packets: Number(after.packets - before.packets), ns: Number(after.ns - before.ns), waitedNs };
}

/** Everything that a run without a fault does not have. */
function faultsOf({ ledger, errors, jobs, framesMissing }: RunResult, { lossy }: EngineJob): string[] {
  const harmless = ['dropped_stopped', ...(lossy === true ? ['dropped_tx_full'] : [])];
  const dropped = jobs.flatMap(({ frames }) =>
    Object.entries(frames).filter(([name, n]) => name.startsWith('dropped_') && !harmless.includes(name) && n > 0n),
  );
  return [
    ...ledger.errors.map((error) => `ledger unbalanced: ${error}`),
    ...errors.map((error) => error.message),
    ...dropped.map(([name, n]) => `${name}: ${n}`),
    ...(framesMissing === 0 ? [] : [`${framesMissing} frames are missing`]),
  ];
}

/** Says where this thread, and the threads that it makes from now on, may run. */
function runOn(...cpus: number[]): void {
  execFileSync('taskset', ['-p', '-c', cpus.join(','), String(process.pid)], { stdio: 'ignore' });
}

/** A vhost port has the rings that its front end makes; others are asked for rings of `ring` descriptors, if it is given. */
async function open(engine: Engine, port: string, ring: number | undefined): Promise<void> {
  const chosen = ring !== undefined && !port.startsWith('vhost-user:');
  await engine.open(port, chosen ? { rxRing: ring, txRing: ring } : {});
}

async function main(job: EngineJob): Promise<void> {
  // Before there is another thread: by this collection, and by its stack, the parent knows the main one.
  (globalThis as { gc?: () => void }).gc?.();
  say({ stack: stackOf(readFileSync('/proc/self/maps', 'utf8')) });
  // The process was started where V8's helpers shall stay; only this thread has to see the worker's cpu.
  runOn(job.mainCpu, job.cpu);
  await using engine = await openEngine({
    ...{ cpus: [job.cpu], mode: job.mode, burst: job.burst },
    ...{ stallMs: STALL_MS, drainMs: DRAIN_MS },
  });
  for (const port of new Set(job.ports)) await open(engine, port, job.ring);
  const run = await engine.run(jobsOf(job));
  runOn(job.mainCpu);
  const loop = threadPinnedTo('self', job.cpu);
  say('ready');
  for await (const line of createInterface({ input: process.stdin })) {
    if (line === 'quit') break;
    say(await sample(run, loop, Number(line)));
  }
  say({ faults: faultsOf(await run.stop(), job) });
}

await main(JSON.parse(process.argv[2]!) as EngineJob);
