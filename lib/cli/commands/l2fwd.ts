/** `linecard l2fwd`: forwards between ports, as DPDK's and ODP's l2fwd do. */
import { Command, Option } from 'commander';
import type { JobSpec } from '../../engine/types.ts';
import type { Action } from '../action.ts';
import { addressLines, openWide } from '../addresses.ts';
import { drive, type Settle } from '../drive.ts';
import { forwardingJobs } from '../forwarding.ts';
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
import { defaultPortMap, parsePortMap } from '../portmap.ts';
import { jsonObject, moduleName } from '../values.ts';

/** Options of l2fwd, as commander collects them. */
export interface ForwardFlags extends EngineFlags, PortFlags, PaceFlags {
  readonly macUpdating?: boolean;
  readonly portmap?: string;
  readonly app?: { readonly module: string; readonly export?: string };
  readonly appOptions?: Readonly<Record<string, unknown>>;
  readonly control?: string;
}

/** Adds the options that say what is forwarded where. */
export function addForwardOptions(command: Command): Command {
  return command
    .optionsGroup('Forwarding:')
    .option(
      '--portmap <pairs>',
      'pairs of ports that forward to each other, such as "(0,1),(2,3)"; default: neighbours, an odd number in a ring',
    )
    .option(
      '--mac-updating',
      'write the tx port’s address as source, 02:00:00:00:00:PORT as destination (the default, except where hosts are behind a port of the pair: xdp)',
    )
    .option('--no-mac-updating', 'leave the addresses as they are; xdp ports become promiscuous')
    .addOption(
      new Option('--app <module>', 'run MODULE#EXPORT on each rx queue instead of l2fwd').argParser(
        moduleName('option --app'),
      ),
    )
    .addOption(
      new Option('--app-options <json>', 'options for that application').argParser(jsonObject('--app-options')),
    );
}

/** Settles what is to become of MAC addresses, once the ports are open; an application of the user's has its own ways. */
export function settleAddresses({ app, macUpdating }: ForwardFlags): Settle {
  return (jobs, ports) =>
    app === undefined ? [...addressLines(jobs, ports, macUpdating), ...openWide(jobs, ports, macUpdating)] : [];
}

/** The jobs that the options ask for. Throws `USAGE`. */
export function jobsOf(names: readonly string[], flags: ForwardFlags): JobSpec[] {
  const { portmap, q = 1, app = { module: 'l2fwd' }, macUpdating } = flags;
  const to = portmap === undefined ? defaultPortMap(names.length) : parsePortMap(portmap, names);
  const options = flags.appOptions ?? (flags.app === undefined ? given({ macUpdating }) : {});
  return forwardingJobs(names, to, q, { ...app, options });
}

const EXAMPLES = `
Examples:
  linecard l2fwd pcap:in.pcapng,out=a.pcapng pcap:in2.pcap,out=b.pcapng
  linecard l2fwd null:0 null:1 --time 5
  linecard l2fwd xdp:eth1 xdp:eth2
  linecard l2fwd -q 2 -j --portmap "(0,2),(1,3)" null:a null:b null:c null:d
  linecard l2fwd --app ./firewall.js#firewall null:0 null:1
`;

/** Makes the command. */
export function l2fwdCommand(action: Action): Command {
  const command = new Command('l2fwd').description('forward between ports').argument('<port...>', 'port names');
  addPaceOptions(addEngineOptions(addPortOptions(addForwardOptions(command))));
  command
    .optionsGroup('Control:')
    .option('--control <path>', 'listen there, for this user and root, to "linecard reload"')
    .addHelpText('after', PORT_NAMES_HELP + EXAMPLES);
  return command.action((names: string[], flags: ForwardFlags) =>
    action((terminal) => {
      const work = {
        title: 'l2fwd',
        engine: engineOptions(flags),
        ports: portWishes(names, flags),
        jobs: jobsOf(names, flags),
        settle: settleAddresses(flags),
        ...(flags.control === undefined ? {} : { control: flags.control }),
      };
      return drive(work, paceOf(flags), terminal);
    }),
  );
}
