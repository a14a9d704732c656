/** `linecard grant`: lets one user's engines use interfaces without privileges of their own. */
import { spawnSync } from 'node:child_process';
import { Command } from 'commander';
import { loadNative } from '../../../native/index.ts';
import { badName, type PortName, parsePortName } from '../../enumerators/options.ts';
import { type GrantEvent, type GrantedPort, GrantHelper } from '../../grant/helper.ts';
import type { Peer } from '../../unix/address.ts';
import type { Action } from '../action.ts';
import { EXIT, errorData, usageError } from '../failure.ts';
import { toJson } from '../json.ts';
import { Stopping } from '../stopping.ts';
import type { Terminal } from '../terminal.ts';

interface Flags {
  readonly to: string;
  readonly socket?: string;
  readonly json?: boolean;
}

const NAMES_HELP = `
Ports:
  xdp:INTERFACE[,queues=N|N-M][,force=1]
`;

/** Reads what is granted: `xdp:veth0,queues=0-3`. Throws `BAD_PORT_NAME`. */
export function grantedPort(text: string): GrantedPort {
  const name = parsePortName(text, ['queues', 'force']);
  const force = name.options.get('force') ?? '0';
  if (name.kind !== 'xdp' || name.name === '')
    throw badName(text, 'only interfaces can be granted', 'write xdp:INTERFACE');
  if (force !== '0' && force !== '1')
    throw badName(text, `force=${force} is neither 0 nor 1`, 'write force=1, or leave it out');
  return { name: name.name, queues: queuesOf(text, name), force: force === '1' };
}

function queuesOf(text: string, name: PortName): GrantedPort['queues'] {
  const given = name.options.get('queues');
  if (given === undefined) return undefined;
  const [, first, last = first] = /^(\d{1,3})(?:-(\d{1,3}))?$/.exec(given) ?? [];
  const queues = { first: Number(first), last: Number(last) };
  if (queues.first <= queues.last && queues.last <= 255) return queues;
  throw badName(
    text,
    `queues=${given} are no queues from 0 to 255`,
    'write queues=0 or queues=0-3, or leave it out for all',
  );
}

/** The uid of a user, by name or number. */
function uidOf(user: string): number {
  if (/^\d{1,10}$/.test(user) && Number(user) < 2 ** 32 - 1) return Number(user);
  // By the system's own lookup, which knows more users than /etc/passwd does.
  const { status, stdout } = spawnSync('id', ['-u', '--', user], { encoding: 'utf8' });
  if (status === 0 && /^\d+\n$/.test(stdout)) return Number(stdout);
  throw usageError('option --to', `there is no user "${user}"`, 'give a name or a number: see getent passwd');
}

const who = ({ pid, uid }: Peer): string => `process ${pid} of uid ${uid}`;

function eventText(event: GrantEvent): string {
  switch (event.type) {
    case 'granted':
      return `xdp:${event.port}: ${who(event.peer)} has it`;
    case 'released':
      return `xdp:${event.port}: ${who(event.peer)} gave it back${event.why === undefined ? '' : ` (${event.why})`}`;
    case 'refused':
      return `turned away ${who(event.peer)}: ${event.why}`;
    case 'error':
      return event.error.message;
  }
}

function eventJson(event: GrantEvent): string {
  if (event.type === 'error') return toJson({ event: 'error', error: errorData(event.error) });
  const { type, peer, why } = event;
  const port = event.type === 'refused' ? {} : { port: `xdp:${event.port}` };
  return toJson({ event: type, ...port, ...peer, ...(why === undefined ? {} : { why }) });
}

async function grant(names: readonly string[], flags: Flags, terminal: Terminal): Promise<number> {
  const ports = names.map(grantedPort);
  const uid = uidOf(flags.to);
  const path = flags.socket ?? `/run/linecard-${uid}.sock`;
  const { json = false } = flags;
  const tell = (event: GrantEvent) => terminal.out(`${json ? eventJson(event) : eventText(event)}\n`);
  const stopping = new Stopping(terminal);
  const helper = new GrantHelper(loadNative(), { ports, uid, path, tell });
  try {
    await helper.start();
    if (json) terminal.out(`${toJson({ event: 'listening', ports: [...names], uid, socket: path })}\n`);
    else {
      const use = ports.map(({ name }) => `xdp:${name},grant=${path}`).join(' ');
      terminal.out(`uid ${uid} may use ${names.join(', ')}, as ${use}\nCtrl-C takes everything back\n`);
    }
    await stopping.requested;
    return EXIT.ok;
  } finally {
    await helper.close();
    stopping.dispose();
  }
}

/** Makes the command. */
export function grantCommand(action: Action): Command {
  return new Command('grant')
    .description('as root: let one user’s engines use interfaces without privileges of their own, until Ctrl-C')
    .argument('<port...>', 'interfaces, as xdp:INTERFACE')
    .requiredOption('--to <user>', 'who may use them: a user’s name or number')
    .option('--socket <path>', 'where to wait for engines (default: /run/linecard-UID.sock)')
    .option('-j, --json', 'one JSON object per event')
    .addHelpText('after', NAMES_HELP)
    .action((names: string[], flags: Flags) => action((terminal) => grant(names, flags, terminal)));
}
