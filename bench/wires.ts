/**
 * Where interfaces are measured: three network namespaces in a row, joined by two veth pairs. Traffic comes from the
 * first, a forwarder works in the middle one, the last takes what arrives:
 *
 *   a: a0 ── f0 :f: f1 ── b0 :b
 *
 * Interfaces have names of their own on this machine, because the kernel's threads are called after them.
 */
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { SystemError } from '../lib/errors.ts';

/** The namespaces. */
export type Space = 'a' | 'f' | 'b';
/** The interfaces. */
export type End = 'a0' | 'f0' | 'f1' | 'b0';

/** One end of a veth pair. */
export interface Interface {
  readonly name: string;
  readonly index: number;
  /** As `ip` prints it. */
  readonly mac: string;
}

/** IPv4 addresses: of the ends, and one at f0 that the kernel there does not have. */
export const ADDRESS = { a0: '10.78.0.1', b0: '10.78.0.2', f0: '10.78.0.3', ours: '10.78.0.4' } as const;

const PREFIX = 'lcbench';
const RUN = '/run/netns';
const TOOLS = ['ip', 'nsenter', 'setpriv', 'ethtool', 'sysctl'] as const;

/** The wires of a run. */
export interface Wires {
  readonly ends: Readonly<Record<End, Interface>>;
  /** The command line that runs `command` in a namespace. */
  inside(space: Space, ...command: string[]): [command: string, ...args: string[]];
  /** Runs a command in a namespace, with its own view of /sys; returns what it printed. */
  run(space: Space, ...command: string[]): string;
  /** Removes everything. Never throws, may be called twice. */
  remove(): void;
}

function run(command: string, ...args: string[]): string {
  try {
    return execFileSync(command, args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'pipe'] });
  } catch (cause) {
    const why = String((cause as { stderr?: unknown }).stderr ?? cause).trim();
    const fix = 'run the bench as root, with iproute2 and ethtool installed';
    throw new SystemError('WIRES', { what: `${command} ${args.join(' ')}`, why, fix }, { cause });
  }
}

/** Says why there can be no wires on this machine, or undefined when there can. */
export function wiresMissing(uid = process.getuid?.()): string | undefined {
  if (uid !== 0) return 'needs root, for network namespaces';
  const missing = TOOLS.filter((tool) => spawnSync('which', [tool], { stdio: 'ignore' }).status !== 0);
  if (missing.length > 0) return `not installed: ${missing.join(', ')} (Debian: apt-get install iproute2 ethtool)`;
  return undefined;
}

/** Returns the names of namespaces that a run left behind: those whose process is gone. */
export function abandoned(names: readonly string[], alive: (pid: number) => boolean): string[] {
  return names.filter((name) => {
    const pid = new RegExp(`^${PREFIX}-(\\d+)-[a-z]$`).exec(name)?.[1];
    return pid !== undefined && !alive(Number(pid));
  });
}

function removeAbandoned(): void {
  const names = existsSync(RUN) ? readdirSync(RUN) : [];
  for (const name of abandoned(names, (pid) => existsSync(`/proc/${pid}`))) run('ip', 'netns', 'del', name);
}

function readInterface(space: string, name: string): Interface {
  const [link] = JSON.parse(run('ip', '-n', space, '-j', 'link', 'show', 'dev', name)) as [
    { ifindex: number; address: string },
  ];
  return { name, index: link.ifindex, mac: link.address };
}

/** Joins two ends. Quiet: what the kernel sends of its own accord would be packets that nobody counted. */
function join(spaces: readonly [string, string], names: readonly [string, string]): void {
  const peer = ['type', 'veth', 'peer', 'name', names[1], 'netns', spaces[1]];
  run('ip', '-n', spaces[0], 'link', 'add', names[0], ...peer);
  for (const [i, space] of spaces.entries()) {
    run('ip', 'netns', 'exec', space, 'sysctl', '-qw', `net.ipv6.conf.${names[i]}.disable_ipv6=1`);
    run('ip', '-n', space, 'link', 'set', names[i]!, 'up');
  }
}

/** Gives an interface its address. Neighbours are told, not asked for: nobody may be there to answer yet. */
function address(space: string, { name }: Interface, own: string, neighbours: Record<string, Interface>): void {
  run('ip', '-n', space, 'addr', 'add', `${own}/24`, 'dev', name);
  for (const [ip, { mac }] of Object.entries(neighbours)) {
    run('ip', '-n', space, 'neigh', 'add', ip, 'lladdr', mac, 'dev', name, 'nud', 'permanent');
  }
  // Whoever forwards frames does not make up for checksums that were left to hardware.
  run('ip', 'netns', 'exec', space, 'ethtool', '-K', name, 'tx', 'off');
}

/** Makes the wires. Throws SystemError `WIRES`; nothing is left then. */
export function makeWires(pid = process.pid): Wires {
  removeAbandoned();
  const space = (s: Space) => `${PREFIX}-${pid}-${s}`;
  const name = (end: End) => `lcb${pid}${end}`;
  const remove = () => {
    for (const s of ['a', 'f', 'b'] as const) spawnSync('ip', ['netns', 'del', space(s)], { stdio: 'ignore' });
  };
  try {
    for (const s of ['a', 'f', 'b'] as const) run('ip', 'netns', 'add', space(s));
    join([space('a'), space('f')], [name('a0'), name('f0')]);
    join([space('f'), space('b')], [name('f1'), name('b0')]);
    const read = (s: Space, end: End) => readInterface(space(s), name(end));
    const ends = { a0: read('a', 'a0'), f0: read('f', 'f0'), f1: read('f', 'f1'), b0: read('b', 'b0') };
    address(space('a'), ends.a0, ADDRESS.a0, { [ADDRESS.b0]: ends.b0, [ADDRESS.f0]: ends.f0, [ADDRESS.ours]: ends.f0 });
    address(space('b'), ends.b0, ADDRESS.b0, { [ADDRESS.a0]: ends.a0 });
    address(space('f'), ends.f0, ADDRESS.f0, { [ADDRESS.a0]: ends.a0 });
    return {
      ends,
      // "ip netns exec" would hide what is mounted under /sys.
      inside: (s, ...command) => ['nsenter', `--net=${RUN}/${space(s)}`, ...command],
      run: (s, ...command) => run('ip', 'netns', 'exec', space(s), ...command),
      remove,
    };
  } catch (error) {
    remove();
    throw error;
  }
}

/** What an interface has taken in and been given to send, dropped or not, since it was made. */
export interface Traversed {
  readonly received: number;
  readonly offered: number;
}

/**
 * Reads the counters of an interface from the text of /proc/PID/net/dev (fields as in Linux, net/core/net-procfs.c). A
 * veth counts what its program drops as received, and what its other end had no room for as dropped when sending.
 */
export function traversed(name: string, devices: string): Traversed {
  const line = devices.split('\n').find((l) => l.trimStart().startsWith(`${name}:`));
  if (line === undefined) {
    throw new SystemError('WIRES', {
      what: 'counting packets',
      why: `there is no interface ${name}`,
      fix: 'run it again',
    });
  }
  const fields = line
    .slice(line.indexOf(':') + 1)
    .trim()
    .split(/\s+/)
    .map(Number);
  return { received: fields[1]!, offered: fields[9]! + fields[11]! };
}
