/** `linecard sink`: receives, checks every probe, and says what was lost, changed or out of order. */
import { Command, Option } from 'commander';
import type { JobSpec } from '../../engine/types.ts';
import type { Action } from '../action.ts';
import { drive } from '../drive.ts';
import { PORT_NAMES_HELP } from '../help.ts';
import {
  addEngineOptions,
  addPaceOptions,
  addPortOptions,
  type EngineFlags,
  engineOptions,
  given,
  type PaceFlags,
  type PortFlags,
  paceOf,
  portWishes,
} from '../options.ts';
import { oneOf, wholeNumber } from '../values.ts';

type SinkFlags = EngineFlags & PortFlags & PaceFlags & { readonly flows?: number; readonly verify?: 'all' | 'header' };

/** Makes the command. */
export function sinkCommand(action: Action): Command {
  const command = new Command('sink')
    .description('receive from ports and check the probes of gen')
    .argument('<port...>', 'port names');
  command
    .optionsGroup('Checks:')
    .addOption(
      new Option('--flows <n>', 'flows with this number and above are foreign (default: 65536)').argParser(
        wholeNumber('--flows', { min: 0, max: Number.MAX_SAFE_INTEGER }),
      ),
    )
    .addOption(
      new Option(
        '--verify <what>',
        'all: every byte; header: lengths, checksums, the probe’s header (default: all)',
      ).argParser(oneOf('--verify', ['all', 'header'])),
    );
  addPaceOptions(addEngineOptions(addPortOptions(command)));
  command.addHelpText('after', PORT_NAMES_HELP);
  return command.action((names: string[], flags: SinkFlags) =>
    action((terminal) => {
      const { flows, verify, q = 1 } = flags;
      const app = { module: 'sink', options: given({ flows, verify }) };
      const jobs = names.flatMap((port) =>
        Array.from({ length: q }, (_, queue): JobSpec => ({ app, rx: { port, queue } })),
      );
      const work = { title: 'sink', engine: engineOptions(flags), ports: portWishes(names, flags), jobs };
      return drive(work, paceOf(flags), terminal);
    }),
  );
}
