/**
 * `npm run bench:vm`: forwarding between emulated cards, in a guest with an IOMMU, beside dpdk-testpmd, in alternation;
 * and what little traffic costs in each poll mode. Emulation is slow, and its devices slower: only ratios say something.
 */
import { writeFileSync } from 'node:fs';
import { Command, InvalidArgumentError } from 'commander';
import type { PollMode } from '../../lib/index.ts';
import { bootBench, MODELS, type Model } from './bench-guest.ts';
import { ours, testpmd } from './forwarders.ts';
import { type LowRate, lowRates } from './low-rates.ts';
import { formatModels, type ModelReport, type Round } from './report.ts';

const MODES: readonly PollMode[] = ['busy', 'adaptive', 'interrupt'];

interface Options {
  readonly only: readonly Model[];
  readonly rounds: number;
  readonly modes: readonly PollMode[];
  readonly json?: string;
}

function listOf<T extends string>(known: readonly T[]): (text: string) => T[] {
  return (text) => {
    const names = text.split(',').filter((name) => name !== '');
    const unknown = names.filter((name) => !(known as readonly string[]).includes(name));
    if (unknown.length > 0) throw new InvalidArgumentError(`no ${unknown.join(', ')}; there are ${known.join(', ')}`);
    return names as T[];
  };
}

function whole(text: string): number {
  const n = Number(text);
  if (!Number.isInteger(n) || n < 0) throw new InvalidArgumentError('a whole number');
  return n;
}

function parseOptions(argv: readonly string[]): Options {
  const models = Object.keys(MODELS) as Model[];
  return new Command('bench:vm')
    .description('Measures emulated network cards in a QEMU guest, ours beside dpdk-testpmd. Needs root.')
    .option('--only <list>', `some of ${models.join(',')}`, listOf(models), models)
    .option('--rounds <n>', 'how often both forwarders are run; 0: not at all', whole, 3)
    .option('--modes <list>', `poll modes at low rates: some of ${MODES.join(',')}, or ""`, listOf(MODES), [...MODES])
    .option('--json <file>', 'where to write all numbers')
    .parse(argv)
    .opts<Options>();
}

async function measure(model: Model, options: Options): Promise<ModelReport> {
  const bench = await bootBench(model);
  const rounds: Round[] = [];
  const low: LowRate[] = [];
  try {
    for (let n = 0; n < options.rounds; n++) {
      // Who is first changes: a machine that gets slower must not look like a forwarder that does.
      const first = n % 2 === 0 ? await ours(bench) : undefined;
      const theirs = await testpmd(bench);
      rounds.push({ ours: first ?? (await ours(bench)), testpmd: theirs });
    }
    for (const mode of options.modes) low.push(...(await lowRates(bench, mode)));
    return { model, rounds, lowRates: low };
  } finally {
    await bench.close();
  }
}

async function main(): Promise<void> {
  const options = parseOptions(process.argv);
  const reports: ModelReport[] = [];
  for (const model of options.only) reports.push(await measure(model, options));
  console.log(formatModels(reports).join('\n'));
  if (options.json !== undefined) writeFileSync(options.json, `${JSON.stringify(reports, null, 1)}\n`);
}

await main();
