/** `linecard selftest`: whether two ports that are joined by a cable carry every frame, in each poll mode. */
import { Command, Option } from 'commander';
import type { PollMode } from '../../engine/types.ts';
import type { Pktio } from '../../pktio/types.ts';
import type { Action } from '../action.ts';
import { EXIT, exitCodeOf } from '../failure.ts';
import { PORT_NAMES_HELP } from '../help.ts';
import { toJson } from '../json.ts';
import {
  addEngineOptions,
  addPortOptions,
  type EngineFlags,
  engineOptions,
  type PortFlags,
  portWishes,
} from '../options.ts';
import { check } from '../selftest/checks.ts';
import { passed, reportJson, reportLines, type Tried } from '../selftest/report.ts';
import { observe, type TrialPlan } from '../selftest/trial.ts';
import { Stopping } from '../stopping.ts';
import type { Terminal } from '../terminal.ts';
import { count as countText, plural } from '../text.ts';
import { quantity, seconds, wholeNumber } from '../values.ts';

interface Flags extends EngineFlags, PortFlags {
  readonly count: number;
  readonly size: number;
  readonly window: number;
  readonly linkWait: number;
  readonly json?: boolean;
}

const MODES: readonly PollMode[] = ['busy', 'adaptive', 'interrupt'];
const MOST = 0x7fff_ffff;
/** Seconds. */
const MOST_WAIT = 3600;

const INTRODUCTION = `
Frames go from port A over the cable to port B, which forwards them back; at A
each is checked, every byte, and the order. Then the statistics of both sides
must agree, and every frame be accounted for. Ports are opened in the order
given: a vhost-user port before the virtio-user port that connects to it.
`;

/** Makes the command. */
export function selftestCommand(action: Action): Command {
  const command = new Command('selftest')
    .description('test two ports that are joined by a cable, in every poll mode')
    .argument('<A>', 'port name')
    .argument('<B>', 'port name of the other end')
    .optionsGroup('Traffic:')
    .addOption(
      new Option('--count <n>', 'frames in each mode, such as 10k')
        .argParser(quantity('--count', { min: 1, max: MOST }))
        .default(100_000),
    )
    .addOption(
      new Option('--size <bytes>', 'length of each frame without FCS')
        .argParser(wholeNumber('--size', { min: 60, max: MOST }))
        .default(60),
    )
    .addOption(
      new Option('--window <n>', 'most frames under way at once: no ring needs more room')
        .argParser(wholeNumber('--window', { min: 1, max: MOST }))
        .default(64),
    );
  command
    .optionsGroup('Ports:')
    .addOption(
      new Option('--link-wait <seconds>', 'longest that links may take: copper negotiates for a few')
        .argParser(seconds('--link-wait', { min: 0, max: MOST_WAIT }))
        .default(20),
    );
  addPortOptions(addEngineOptions(command, 'busy, adaptive or interrupt (default: one after the other)'), false);
  command.optionsGroup('Output:').option('-j, --json', 'one JSON object');
  command.addHelpText('after', INTRODUCTION + PORT_NAMES_HELP);
  return command.action((a: string, b: string, flags: Flags) =>
    action((terminal) => selftest([a, b], flags, terminal)),
  );
}

async function selftest(names: readonly string[], flags: Flags, terminal: Terminal): Promise<number> {
  const { count, size, window, linkWait, json = false } = flags;
  const stopping = new Stopping(terminal);
  const unwanted = () => stopping.first !== undefined;
  const ports = portWishes(names, { ...flags, P: true });
  const opened = (both: readonly Pktio[]): void => {
    if (json || trials.length > 0) return;
    const who = both.map(({ name, driver }) => `${name} (${driver})`).join(' and ');
    terminal.out(`${who}: ${plural(count, 'frame')} of ${countText(size)} bytes there and back, in each mode\n\n`);
  };
  const trials: Tried[] = [];
  try {
    for (const mode of flags.mode === undefined ? MODES : [flags.mode]) {
      if (unwanted()) break;
      const engine = engineOptions({ ...flags, mode });
      trials.push(
        await attempt(mode, { engine, ports, count, window, size, linkMs: linkWait * 1000, unwanted, opened }),
      );
    }
  } finally {
    stopping.dispose();
  }
  terminal.out(json ? `${toJson(reportJson(trials))}\n` : `${reportLines(trials, count).join('\n')}\n`);
  return !unwanted() && trials.every(passed) ? EXIT.ok : EXIT.failed;
}

/** One mode. What is wrong on any machine is thrown, what this machine's ports do not do is a result. */
async function attempt(mode: PollMode, plan: TrialPlan): Promise<Tried> {
  try {
    const seen = await observe(plan);
    return { mode, seen, checks: check(seen, mode, plan.count) };
  } catch (error) {
    if (!(error instanceof Error) || exitCodeOf(error) === EXIT.usage) throw error;
    return { mode, checks: [], error };
  }
}
