/** One trial of two ports: opens them, has probes go from the first through the second and back, and writes down all figures. */
import { setTimeout as sleep } from 'node:timers/promises';
import type { Ledger } from '../../engine/ledger.ts';
import type { RunResult } from '../../engine/results.ts';
import type { Run } from '../../engine/run.ts';
import type { EngineOptions } from '../../engine/types.ts';
import type { Counters, Pktio, PortStats } from '../../pktio/types.ts';
import { openPorts, type PortWish, portNotes, withEngine } from '../ports.ts';

/** What is tried. */
export interface TrialPlan {
  readonly engine: EngineOptions;
  /** Two ports. */
  readonly ports: readonly PortWish[];
  /** Probes that go there and back, so many at a time, of so many bytes each. */
  readonly count: number;
  readonly window: number;
  readonly size: number;
  /** Longest that links may take to come up, in milliseconds. */
  readonly linkMs: number;
  /** True as soon as the trial is no longer wanted. */
  readonly unwanted: () => boolean;
  /** Told once the ports are open. */
  readonly opened: (ports: readonly Pktio[]) => void;
}

/** A port at the end of a trial. */
export interface ObservedPort {
  readonly name: string;
  readonly driver: string;
  /** Whether its queues can wake a worker. */
  readonly interrupts: boolean;
  readonly stats: PortStats;
  /** What the device's own registers, or a kernel, have counted. */
  readonly device: Counters;
}

/** What was seen. */
export interface Observed {
  /** Ports whose links did not come up in time: nothing was sent then. */
  readonly down: readonly string[];
  readonly notes: readonly string[];
  /** Seconds from the first probe to the last one's return, without the single ones. */
  readonly seconds: number;
  /** Counters of `ping`, at the first port. */
  readonly ping: Counters;
  readonly workers: number;
  /** How often workers slept, and were woken by interrupts: all the time, and of it while probes came one by one. */
  readonly sleeps: bigint;
  readonly interrupts: bigint;
  readonly singleInterrupts: bigint;
  readonly ports: readonly ObservedPort[];
  readonly ledger: Ledger;
  readonly errors: readonly Error[];
}

/** Probes that are sent one by one, each after a silence in which every worker falls asleep unless it never does. */
export const SINGLES = 32;
const SILENCE_US = 5000;
/** No probe has come back for so long: none will. */
const STANDSTILL_MS = 10_000;
const LOOK_MS = 20;

/** Tries `plan`. Throws what opening and starting the ports throws. */
export function observe(plan: TrialPlan): Promise<Observed> {
  return withEngine(plan.engine, async (engine) => {
    const [near, far] = (await openPorts(engine, plan.ports)) as [Pktio, Pktio];
    plan.opened([near, far]);
    const errors: Error[] = [];
    for (const port of [near, far]) port.on('error', (error) => errors.push(error));
    const run = await engine.run([
      // Sends nothing yet: what a card without a link is given is lost.
      { app: { module: 'ping' }, rx: { port: near.name }, tx: [near.name] },
      { app: { module: 'l2fwd' }, rx: { port: far.name }, tx: [far.name] },
    ]);
    let passage = { down: [] as string[], seconds: 0, singleInterrupts: 0n };
    let result: RunResult;
    try {
      passage = await pass(run, [near, far], plan);
    } finally {
      result = await run.stop();
    }
    const { jobs, workers, ledger } = result;
    return {
      ...passage,
      notes: portNotes([near, far]).map(({ text }) => text),
      ping: jobs[0]!.counters,
      workers: workers.length,
      sleeps: total(workers, 'sleeps'),
      interrupts: total(workers, 'interrupts'),
      ports: [near, far].map((port) => observedPort(port, result)),
      ledger,
      errors: [...new Set([...errors, ...result.errors])],
    };
  });
}

function observedPort(port: Pktio, { ports }: RunResult): ObservedPort {
  const { name, driver, capability } = port;
  const { interrupts } = capability;
  return { name, driver, interrupts, stats: ports[name]!, device: port.extraStats?.() ?? {} };
}

const total = (workers: RunResult['workers'], name: string): bigint =>
  workers.reduce((sum, { counters }) => sum + (counters[name] ?? 0n), 0n);

/** The probes' way: many at a time, then one by one. */
async function pass(run: Run, ports: readonly Pktio[], { count, window, size, linkMs, unwanted }: TrialPlan) {
  const notUp = () => ports.filter((port) => port.link().status === 'down').map(({ name }) => name);
  await until(() => notUp().length === 0, linkMs, unwanted);
  const nothing = { down: notUp(), seconds: 0, singleInterrupts: 0n };
  if (nothing.down.length > 0) return nothing;
  const cameBack = () => {
    const { received = 0n, foreign = 0n } = run.stats().jobs[0]!.counters;
    return Number(received - foreign);
  };
  const began = performance.now();
  await run.replace(0, { module: 'ping', options: { count, window, size } });
  const whole = await advance(cameBack, count, unwanted);
  const seconds = (performance.now() - began) / 1000;
  // Where some are missing the single ones would only take their time.
  if (!whole) return { ...nothing, seconds };
  const interrupts = () => total(run.stats().workers, 'interrupts');
  const before = interrupts();
  await run.replace(0, { module: 'ping', options: { count: SINGLES, window: 1, size, pauseUs: SILENCE_US } });
  await advance(cameBack, count + SINGLES, unwanted);
  return { ...nothing, seconds, singleInterrupts: interrupts() - before };
}

/** Waits until `progress` has come to `goal`; false once it stands still. */
async function advance(progress: () => number, goal: number, unwanted: () => boolean): Promise<boolean> {
  let before = progress();
  while (before < goal) {
    if (!(await until(() => progress() > before, STANDSTILL_MS, unwanted))) return false;
    before = progress();
  }
  return true;
}

/** Waits until `condition` holds; false when it does not for `ms`, or nobody wants to know any more. */
async function until(condition: () => boolean, ms: number, unwanted: () => boolean): Promise<boolean> {
  const end = performance.now() + ms;
  while (!condition()) {
    if (performance.now() > end || unwanted()) return false;
    await sleep(LOOK_MS);
  }
  return true;
}
