/** `linecard supervise`: runs a command of linecard's in a process of its own, and stops its cards when that dies. */
import { fileURLToPath } from 'node:url';
import { Command, Option } from 'commander';
import { loadNative, type Native } from '../../../native/index.ts';
import { systemHands } from '../../keeper/hands.ts';
import { KEPT } from '../../keeper/records.ts';
import { Supervision, type SupervisionEvent } from '../../keeper/supervision.ts';
import { type Swept, sweep, sweepPlace } from '../../keeper/sweep.ts';
import { Binder } from '../../pci/binding.ts';
import { binderKernel } from '../../pci/kernel.ts';
import type { Action } from '../action.ts';
import { EXIT, errorData, errorText } from '../failure.ts';
import { type Json, toJson } from '../json.ts';
import type { Terminal } from '../terminal.ts';
import { wholeNumber } from '../values.ts';

interface Flags {
  readonly restart?: boolean;
  readonly restarts: number;
  readonly rebind?: boolean;
  readonly json?: boolean;
}

type Event = SupervisionEvent | ({ readonly type: 'swept' } & Swept);
const ms = (time: number): string => `${time < 10 ? time.toFixed(1) : Math.round(time)} ms`;

function settledText({
  address,
  left,
  stoppedMs,
  resetMs,
  releasedMs,
  stuck,
}: SupervisionEvent & { readonly type: 'settled' }): string {
  if (left !== undefined) return `${address}: left alone: ${left}`;
  const steps = [
    ...(stoppedMs === undefined || stuck ? [] : [`bus master off after ${ms(stoppedMs)}`]),
    ...(resetMs === undefined ? [] : [`reset after ${ms(resetMs)}`]),
    stuck ? 'memory kept' : `memory given back after ${ms(releasedMs)}`,
  ];
  return `${address}: ${steps.join(', ')}`;
}

const SWEPT: Readonly<Record<Swept['outcome'], string>> = {
  stopped: 'an engine that died had left it running: bus master off, reset',
  'stopped-before': 'an engine that died had it: it is stopped',
  left: 'an engine that died had it: left alone',
};

/** The event in words; what goes wrong in it is told apart. */
function sentence(event: Event): string | undefined {
  switch (event.type) {
    case 'started':
      return undefined;
    case 'ended':
      return event.code === 0 ? undefined : `process ${event.pid} ended with ${event.signal ?? `code ${event.code}`}`;
    case 'settled':
      return settledText(event);
    case 'rebound':
      return `${event.address}: back with ${event.driver || 'no driver'}`;
    case 'restarting':
      return `started again in ${event.inMs / 1000} s (${event.count} of at most ${event.most})`;
    case 'swept':
      return `${event.address}: ${SWEPT[event.outcome]}${event.why === undefined ? '' : `: ${event.why}`}`;
    case 'error':
      return undefined;
  }
}

function errorsOf(event: Event): readonly Error[] {
  if (event.type === 'error') return [event.error];
  return 'errors' in event ? event.errors : [];
}

/** Standard output is the command's own. */
function teller(terminal: Terminal, json: boolean): (event: Event) => void {
  return (event) => {
    const errors = errorsOf(event);
    if (json) {
      const { type, ...rest } = event;
      const data = { ...rest, error: undefined, errors: errors.map((error) => ({ ...errorData(error) })) };
      terminal.err(`${toJson({ event: type, ...(data as unknown as { readonly [key: string]: Json }) })}\n`);
      return;
    }
    const text = sentence(event);
    if (text !== undefined) terminal.err(`linecard supervise: ${text}\n`);
    for (const error of errors) terminal.err(`${errorText(error, terminal.env)}\n`);
  };
}

function rebinder(native: Native): (address: string) => Promise<string> {
  const binder = new Binder(binderKernel(native));
  return async (address) => (await binder.unbind(address)).driver;
}

/** This very program. */
function program(): [string, ...string[]] {
  const here = import.meta.url;
  const main = fileURLToPath(new URL(`../main.${here.endsWith('.ts') ? 'ts' : 'js'}`, here));
  return [process.execPath, ...process.execArgv, main];
}

/** Stops what engines left behind that died with their supervisors. */
async function tidy(native: Native, tell: (event: Event) => void, rebind?: (address: string) => Promise<string>) {
  for (const swept of sweep(sweepPlace(native, KEPT))) {
    const { address, outcome, errors } = swept;
    tell({ type: 'swept', ...swept });
    if (rebind === undefined || outcome === 'left' || errors.length > 0) continue;
    try {
      tell({ type: 'rebound', address, driver: await rebind(address) });
    } catch (error) {
      tell({ type: 'error', error: error as Error });
    }
  }
}

async function supervise(command: readonly string[], flags: Flags, terminal: Terminal): Promise<number> {
  const native = loadNative();
  const tell = teller(terminal, flags.json === true);
  const rebind = flags.rebind === true ? rebinder(native) : undefined;
  await tidy(native, tell, rebind);
  if (command.length === 0) return EXIT.ok;
  const supervision = new Supervision(native, systemHands(native), {
    command: [...program(), ...command],
    env: terminal.env,
    restarts: flags.restart === true ? flags.restarts : 0,
    ...(rebind === undefined ? {} : { rebind }),
    folder: KEPT,
    tell,
  });
  const forget = terminal.onSignal((signal) => supervision.signal(signal));
  try {
    return await supervision.run();
  } finally {
    forget();
  }
}

const HELP = `
Without a command it only tidies up after engines that died with their
supervising processes. What it does is told on standard error; standard output
is the command's. The exit code is the command's; 128 + N if signal N ended it.

Examples:
  linecard supervise --restart -- l2fwd pci:01:00.0 pci:02:00.0
  linecard supervise --rebind -- gen pci:01:00.0 --time 10
`;

/** Makes the command. */
export function superviseCommand(action: Action): Command {
  return new Command('supervise')
    .description(
      'run a command of linecard’s; when it dies, by whatever means, stop its PCI cards before their memory goes',
    )
    .argument('[command...]', 'the command with its options, behind "--"')
    .option('--restart', 'start it again when it dies or fails')
    .addOption(
      new Option('--restarts <n>', 'with --restart: how often in a row at the most')
        .argParser(wholeNumber('--restarts', { min: 1, max: 1_000_000 }))
        .default(10),
    )
    .option('--rebind', 'at the end, give the cards back to their kernel drivers, as "unbind" does')
    .option('-j, --json', 'what it does as one JSON object per event, on standard error')
    .addHelpText('after', HELP)
    .action((command: string[], flags: Flags) => action((terminal) => supervise(command, flags, terminal)));
}
