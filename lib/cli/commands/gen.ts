/** `linecard gen`: sends probes that `linecard sink` can check. */
import { Command, Option } from 'commander';
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
import { quantity, wholeNumber } from '../values.ts';

/** Options of the generator, as commander collects them. */
export interface TrafficFlags {
  readonly size?: number | undefined;
  readonly rate?: number | undefined;
  readonly flows?: number | undefined;
  readonly count?: number | undefined;
}

/** Adds the generator's options. Ranges are the generator's to check: it knows the ports. */
export function addTrafficOptions(command: Command): Command {
  const any = { min: 0, max: Number.MAX_SAFE_INTEGER };
  return command
    .optionsGroup('Traffic:')
    .addOption(
      new Option('--size <bytes>', 'length of each frame without FCS, from 60 (the default) to the MTU + 14').argParser(
        wholeNumber('--size', any),
      ),
    )
    .addOption(
      new Option(
        '--rate <pps>',
        'packets per second over all ports, such as 10k or 1.5M; 0: as many as possible (the default)',
      ).argParser(quantity('--rate', any)),
    )
    .addOption(
      new Option('--flows <n>', 'flows (UDP 5-tuples) per port (default: 1)').argParser(wholeNumber('--flows', any)),
    )
    .addOption(
      new Option('--count <n>', 'end after so many packets; 0: never (the default)').argParser(
        quantity('--count', any),
      ),
    );
}

/** Makes the command. */
export function genCommand(action: Action): Command {
  const command = new Command('gen').description('send probes through ports').argument('<port...>', 'port names');
  addPaceOptions(addEngineOptions(addPortOptions(addTrafficOptions(command), false)));
  command
    .optionsGroup('Traffic:')
    .addOption(new Option('--destination <mac>', 'destination address (default: 02:00:00:00:00:PORT)'))
    .addOption(
      new Option(
        '--first-flow <n>',
        'number of the first flow, for generators that share a sink (default: 0)',
      ).argParser(wholeNumber('--first-flow', { min: 0, max: 65_535 })),
    )
    .addHelpText('after', PORT_NAMES_HELP);
  return command.action((names: string[], flags: GenFlags) =>
    action((terminal) => {
      const { size, rate, flows, count, destination, firstFlow } = flags;
      const jobs = [
        { app: { module: 'gen', options: given({ size, rate, flows, count, destination, firstFlow }) }, tx: names },
      ];
      const work = { title: 'gen', engine: engineOptions(flags), ports: portWishes(names, flags), jobs };
      return drive(work, paceOf(flags), terminal);
    }),
  );
}

type GenFlags = TrafficFlags &
  EngineFlags &
  PortFlags &
  PaceFlags & { readonly destination?: string; readonly firstFlow?: number };
