/**
 * The peer: DPDK's testpmd, forwarding between two `net_null` ports and rewriting both MAC addresses, on one core.
 * Driven at its own prompt (DPDK 22.11, "Testpmd Application User Guide" §4), so that it forwards only while it is
 * being measured.
 */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { SystemError } from '../lib/errors.ts';
import { Child } from './child.ts';
import type { Contestant } from './contestant.ts';
import type { Placement } from './machine.ts';
import { makeSocket } from './socket.ts';
import { VIRTQUEUE } from './trials.ts';
import { promptly, type ThreadTime, threadPinnedTo } from './waiting.ts';

const COMMAND = 'dpdk-testpmd';
/** Mbufs of 2176 bytes: 35 MB, far more than a burst needs, and small enough to start at once. */
const MBUFS = 16_384;
const FILE_PREFIX = `linecard-bench-${process.pid}`;
const START_MS = 15_000;
const REPLY_MS = 5000;
/** From `start` to the first reading: the forwarding core wakes and its loop gets warm. */
const SETTLE_MS = 20;

/** Hugepages of 2 MiB that testpmd is given. It runs without them, at less than half the rate. */
export const TESTPMD_HUGEPAGES = 512;

/** How to start testpmd. */
export interface TestpmdOptions {
  readonly burst: number;
  readonly place: Placement;
  readonly hugepages: boolean;
  /** Virtual devices: what `--vdev` takes. */
  readonly devices: readonly string[];
  readonly forwardMode: 'mac' | 'io';
  /** A device that can only be made when the others have started: what `port attach` takes, as one more port. */
  readonly attached?: string;
  /** Bursts that each port sends when forwarding starts, where nothing else sends any. */
  readonly first?: number;
  readonly topology?: 'loop';
}

/** Both ends of a vhost-user socket: the back end makes the socket when its port starts. */
export const joinedDevices = (path: string, packed: boolean, ring: number) => ({
  devices: [vhostDevice(path)],
  attached: virtioUserDevice(path, packed, ring),
});

/** The back end at a socket, which it makes. */
export const vhostDevice = (path: string): string => `net_vhost0,iface=${path}`;

/** The front end at a socket that exists. */
export const virtioUserDevice = (path: string, packed: boolean, ring: number): string =>
  `net_virtio_user0,path=${path},queue_size=${ring}${packed ? ',packed_vq=1' : ''}`;

/** Two devices that receive endless frames, and free what they are sent. */
export const NULL_DEVICES = ['net_null0,size=64', 'net_null1,size=64'] as const;

/** Devices over AF_XDP. Without busy polling, which made no forwarder faster on a veth. */
export const afXdpDevices = (interfaces: readonly string[]): string[] =>
  interfaces.map((name, i) => `net_af_xdp${i},iface=${name},busy_budget=0`);

/** Whether testpmd is installed. */
export const hasTestpmd = (): boolean => spawnSync('which', [COMMAND], { stdio: 'ignore' }).status === 0;

/** Returns testpmd's arguments. */
export function testpmdArguments(o: TestpmdOptions): string[] {
  const memory = o.hugepages
    ? // One segment is one region of memory for a back end.
      ['--in-memory', '--single-file-segments']
    : ['--no-huge', '-m', '512', '--no-shconf', `--file-prefix=${FILE_PREFIX}`];
  return [
    ...['--lcores', `0@${o.place.main},1@${o.place.loop}`, '--no-pci', '--no-telemetry', ...memory],
    ...o.devices.flatMap((device) => ['--vdev', device]),
    ...[
      '--',
      '-i',
      `--forward-mode=${o.forwardMode}`,
      `--burst=${o.burst}`,
      '--no-mlockall',
      `--total-num-mbufs=${MBUFS}`,
      ...(o.topology === undefined ? [] : [`--port-topology=${o.topology}`]),
    ],
  ];
}

/** Returns the packets received, summed over the ports in the output of `show port stats all`. */
export function parsePortStats(text: string): number {
  const received = [...text.matchAll(/NIC statistics for port \d+ [\s\S]*?RX-packets:\s*(\d+)/g)].map((m) =>
    Number(m[1]),
  );
  if (received.length === 0) {
    const why = `no port statistics in ${JSON.stringify(text.slice(0, 200))}`;
    throw new SystemError('TESTPMD_OUTPUT', {
      what: COMMAND,
      why,
      fix: 'use DPDK 22.11, or leave it out with --no-testpmd',
    });
  }
  return received.reduce((sum, packets) => sum + packets, 0);
}

/** Without hugepages, EAL leaves a directory behind (DPDK 22.11, "EAL parameters": `--file-prefix`). */
function forgetRuntimeDirectory(): void {
  const parent = process.getuid?.() === 0 ? '/var/run' : (process.env.XDG_RUNTIME_DIR ?? '/tmp');
  rmSync(`${parent}/dpdk/${FILE_PREFIX}`, { recursive: true, force: true });
}

/** At the end of what it says, but for events that it tells of at any time; its standard error may come in the middle. */
const PROMPT = /testpmd(?:[^\n>]*\n)?> (?:\s*Port \d+: .* event)*\s*$/;

/** A testpmd at its prompt. */
export interface TestpmdProcess {
  readonly child: Child;
  /** Gives it a command; returns what it says. */
  ask(line: string): Promise<string>;
}

/** Starts testpmd, idle at its prompt; `wrap` is put before its command line. */
export async function startTestpmd(o: TestpmdOptions, wrap: readonly string[] = []): Promise<TestpmdProcess> {
  // Line by line, or what it prints into a pipe stays in its buffer.
  const [command, ...args] = [...wrap, 'stdbuf', '-oL', COMMAND, ...testpmdArguments(o)];
  const child = new Child({ name: COMMAND, command: command!, args, quit: 'quit' });
  const ask = (line: string) => {
    child.send(line);
    return child.expect(PROMPT, REPLY_MS);
  };
  try {
    await child.expect(PROMPT, START_MS);
    if (o.attached !== undefined) {
      await ask(`port attach ${o.attached}`);
      await ask(`port start ${o.devices.length}`);
    }
    return { child, ask };
  } catch (error) {
    await child.close();
    throw error;
  }
}

/** Starts testpmd as a contestant: it forwards only while a sample is taken. */
export async function openTestpmd(o: TestpmdOptions): Promise<Contestant> {
  const { child, ask } = await startTestpmd(o);
  const loop: ThreadTime | undefined = threadPinnedTo(child.pid, o.place.loop);
  const reading = () =>
    promptly(async () => {
      const at = performance.now();
      const waited = loop?.waited() ?? 0;
      return { at, waited, packets: parsePortStats(await ask('show port stats all')) };
    });
  return {
    async sample(ms) {
      await ask(o.first === undefined ? 'start' : `start tx_first ${o.first}`);
      await sleep(SETTLE_MS);
      const before = await reading();
      await sleep(ms);
      const after = await reading();
      await ask('stop');
      const ns = (after.at - before.at) * 1e6;
      return { packets: after.packets - before.packets, ns, waitedNs: after.waited - before.waited };
    },
    async close() {
      await child.close();
      if (!o.hugepages) forgetRuntimeDirectory();
      return { faults: [] };
    },
  };
}

/** Starts testpmd at both ends of a vhost-user socket, with `inFlight` packets per direction. */
export async function openJoinedTestpmd(
  o: Omit<TestpmdOptions, 'devices'>,
  rings: 'split' | 'packed',
  inFlight: number,
): Promise<Contestant> {
  const socket = makeSocket();
  const ends = joinedDevices(socket.path, rings === 'packed', VIRTQUEUE);
  try {
    const contestant = await openTestpmd({ ...o, ...ends, first: inFlight / o.burst });
    return {
      ...contestant,
      async close() {
        const ending = await contestant.close();
        socket.remove();
        return ending;
      },
    };
  } catch (error) {
    socket.remove();
    throw error;
  }
}
