/**
 * Network namespaces joined to ours by veth pairs, for tests of what the kernel really does. Needs root: without it
 * those tests are skipped, and say so; in CI, where there is root, they must run.
 */
import { spawn, spawnSync } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { test } from 'vitest';

const isRoot = process.getuid?.() === 0;

/** As `test`, for a test that needs root. */
export function testAsRoot(name: string, body: () => void | Promise<void>, timeoutMs = 60_000): void {
  if (isRoot) test(name, body, timeoutMs);
  else test.skip(`${name} (skipped: needs root)`, body);
}

/** A command line, split at spaces, or already split. */
export type Line = string | readonly string[];

const wordsOf = (line: Line): string[] =>
  typeof line === 'string' ? line.split(' ').filter((word) => word !== '') : [...line];

/** Runs a command line; returns what it printed. Throws with what it said when it failed. */
export function sh(line: Line): string {
  const [tool, ...args] = wordsOf(line);
  const { status, stdout, stderr, error } = spawnSync(tool!, args, { encoding: 'utf8' });
  if (error !== undefined) throw new Error(`${line}: ${error.message}`);
  if (status !== 0) throw new Error(`${line}: ended with ${status}: ${stderr}${stdout}`);
  return stdout;
}

/** As `sh`, without blocking this process (the engine's main thread is here). */
export async function shAsync(line: Line): Promise<string> {
  const [tool, ...args] = wordsOf(line);
  const child = spawn(tool!, args);
  let out = '';
  child.stdout.on('data', (data) => {
    out += data;
  });
  child.stderr.on('data', (data) => {
    out += data;
  });
  const status = await new Promise<number | null>((resolve, reject) => child.on('error', reject).on('close', resolve));
  if (status !== 0) throw new Error(`${line}: ended with ${status}: ${out}`);
  return out;
}

let made = 0;

/** A namespace whose interface `eth0` is the other end of our interface `name`. */
export interface Wire {
  /** Our end. */
  readonly name: string;
  /** The namespace. */
  readonly space: string;
  readonly address: string;
  readonly address6: string;
  /** Runs a command line in the namespace. */
  run(line: Line): Promise<string>;
}

/** How wires are made. */
export interface WireOptions {
  readonly queues?: number;
  readonly mtu?: number;
  /** False: the other end makes its own checksums and cuts its own packets. True, the kernel's way, if absent. */
  readonly offload?: boolean;
}

/** Makes one wire; `host` is the last part of its addresses in 10.77.`net`.0/24 and fd77:`net`::/64. */
export function makeWire(host: number, options: WireOptions = {}, net = 0): Wire {
  const { queues = 1, mtu = 1500 } = options;
  // Unique on this machine for as long as it matters, and within the 15 characters of an interface's name.
  const id = `lc${process.pid % 100_000}-${made++}`;
  const count = `numrxqueues ${queues} numtxqueues ${queues}`;
  sh(`ip netns add ${id}`);
  sh(`ip link add ${id} mtu ${mtu} ${count} type veth peer name eth0 netns ${id} mtu ${mtu} ${count}`);
  const address = `10.77.${net}.${host}`;
  const address6 = `fd77:${net}::${host}`;
  // Quiet: the kernel's own neighbour discovery and router solicitations would be packets that nobody counted.
  spawnSync('sysctl', ['-qw', `net.ipv6.conf.${id}.disable_ipv6=1`]);
  sh(`ip netns exec ${id} sysctl -qw net.ipv6.conf.eth0.accept_dad=0 net.ipv6.conf.eth0.router_solicitations=0`);
  sh(`ip netns exec ${id} sysctl -qw net.ipv6.conf.eth0.mldv2_unsolicited_report_interval=0`);
  sh(`ip -n ${id} addr add ${address}/24 dev eth0`);
  sh(`ip -n ${id} addr add ${address6}/64 dev eth0 nodad`);
  sh(`ip -n ${id} link set lo up`);
  if (options.offload === false) sh(`ip netns exec ${id} ethtool -K eth0 tx off`);
  sh(`ip -n ${id} link set eth0 up`);
  sh(`ip link set ${id} up`);
  return {
    name: id,
    space: id,
    address,
    address6,
    run: (line) => shAsync(['ip', 'netns', 'exec', id, ...wordsOf(line)]),
  };
}

/** Removes a wire, whatever became of it. */
export function dropWire({ name, space }: Wire): void {
  spawnSync('ip', ['link', 'del', name]);
  spawnSync('ip', ['netns', 'del', space]);
}

/** Packets and bytes that the kernel counts for an interface, here or in a namespace. */
export function linkCounts(
  name: string,
  space?: string,
): { rx: number; tx: number; rxDropped: number; txDropped: number } {
  const inside = space === undefined ? '' : `-n ${space} `;
  const [{ stats64 }] = JSON.parse(sh(`ip ${inside}-j -s link show dev ${name}`)) as [
    { stats64: Record<'rx' | 'tx', { packets: number; dropped: number }> },
  ];
  const { rx, tx } = stats64;
  return { rx: rx.packets, tx: tx.packets, rxDropped: rx.dropped, txDropped: tx.dropped };
}

/** Waits until `condition` is true; throws with `what` after `ms` milliseconds. Returns the milliseconds it took. */
export async function waitFor(what: string, condition: () => boolean | Promise<boolean>, ms = 5000): Promise<number> {
  const start = performance.now();
  while (!(await condition())) {
    if (performance.now() - start > ms) throw new Error(`${what}: not within ${ms} ms`);
    await sleep(2);
  }
  return performance.now() - start;
}
