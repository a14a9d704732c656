/** What an engine in a guest takes while there is little to do, and how fast it is then. */
import { SystemError } from '../../lib/errors.ts';
import type { PollMode } from '../../lib/index.ts';
import { type BenchGuest, PASSED } from './bench-guest.ts';
import type { Passage } from './prober.ts';

/** Probes per second; 0: idle. */
export const LOW_RATES = [0, 100, 1000] as const;
const START_MS = 60_000;
const WARM_UP_MS = 5000;
const MEASURE_MS = 6000;
const STOP_S = 20;

/** At one rate. */
export interface LowRate extends Passage {
  readonly mode: PollMode;
  readonly rate: number;
  /** Part of the guest's one cpu that the engine's process took, 0 to 1. */
  readonly cpu: number;
}

/** Nanoseconds that the threads of process `pid` have run (Documentation/scheduler/sched-stats.rst). */
async function ranFor({ guest }: BenchGuest, pid: number): Promise<number> {
  const lines = await guest.run(`cat /proc/${pid}/task/*/schedstat`);
  return lines
    .trim()
    .split('\n')
    .reduce((sum, line) => sum + Number(line.split(' ')[0]), 0);
}

async function at(bench: BenchGuest, pid: number, mode: PollMode, rate: number): Promise<LowRate> {
  const before = await ranFor(bench, pid);
  const began = performance.now();
  const passage = await bench.prober.measure(rate, MEASURE_MS);
  const ran = (await ranFor(bench, pid)) - before;
  return { mode, rate, cpu: ran / 1e6 / (performance.now() - began), ...passage };
}

/** Ends it. Throws `GUEST_FORWARDER` when it has not ended in order. */
async function stop({ guest }: BenchGuest, pid: number): Promise<void> {
  const gone = `for i in $(seq ${STOP_S}0); do kill -0 ${pid} 2> /dev/null || break; sleep 0.1; done`;
  const said = await guest.run(`kill -INT ${pid}; ${gone}; cat /run/l2fwd`);
  if (said.includes('Ledger: balanced')) return;
  const fix = 'run the same command in a guest';
  throw new SystemError('GUEST_FORWARDER', { what: 'l2fwd in the guest', why: said.slice(-800), fix });
}

/** Runs l2fwd in `mode` and measures at each of `LOW_RATES`. Throws `GUEST_SILENT`, `GUEST_FORWARDER`. */
export async function lowRates(bench: BenchGuest, mode: PollMode): Promise<LowRate[]> {
  const { guest, prober, linecard } = bench;
  const ports = PASSED.map((address) => `pci:${address}`).join(' ');
  const command = linecard(`l2fwd --mode ${mode} -P -T 0 ${ports}`).replace('node', 'exec node');
  const pid = Number(await guest.run(`(${command}) > /run/l2fwd 2>&1 & echo $!`));
  const figures: LowRate[] = [];
  try {
    await prober.untilPassing(START_MS);
    await prober.measure(LOW_RATES.at(-1)!, WARM_UP_MS);
    for (const rate of LOW_RATES) figures.push(await at(bench, pid, mode, rate));
  } catch (error) {
    await stop(bench, pid).catch(() => {}); // the error that counts is the first
    throw error;
  }
  await stop(bench, pid);
  return figures;
}
