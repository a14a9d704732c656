/** Who takes part between the wires: in the forwarding of an overload, and in UDP round trips. */
import { fileURLToPath } from 'node:url';
import { Child } from './child.ts';
import type { Contestant } from './contestant.ts';
import { type Forwarder, type Ground, openBridge, openEngine, openPeer } from './forwarders.ts';
import { startEngine } from './linecard.ts';
import { OURS } from './report.ts';
import type { Path, RoundTripEntry } from './round-trips.ts';
import type { Entry } from './runner.ts';
import { startTraffic } from './traffic.ts';
import { ADDRESS } from './wires.ts';

/** What there is to work on; or why there is not, which everybody is told. */
export interface Means {
  readonly ground: Ground | string;
  /** Whether testpmd takes part; if not, why. */
  readonly testpmd: true | string;
}

const orThrow = <T extends object>(value: T | string): T => {
  if (typeof value === 'string') throw new Error(value);
  return value;
};

/** Puts a forwarder under an overload. What counts is what arrives behind it. */
async function overload(ground: Ground, opening: Promise<Forwarder>): Promise<Contestant> {
  const forwarder = await opening;
  const traffic = await startTraffic(ground.wires, ground.place).catch(async (error) => {
    await forwarder.close();
    throw error;
  });
  return {
    async sample(ms) {
      const [passed, own] = await Promise.all([traffic.sample(ms), forwarder.sample?.(ms)]);
      return own?.trace === undefined ? passed : { ...passed, trace: own.trace };
    },
    async close() {
      await traffic.close();
      return forwarder.close();
    },
  };
}

/** Entries of the pipeline over wires. */
export function wireEntries({ ground, testpmd }: Means): Entry[] {
  const entry = (name: string, ours: boolean, open: (ground: Ground) => Promise<Forwarder>): Entry => ({
    // Who is not allowed to is not at fault.
    ...{ name, ours: ours && typeof ground !== 'string' },
    open: async () => overload(orThrow(ground), open(orThrow(ground))),
  });
  const macUpdating = true;
  return [
    entry(OURS, true, (g) => openEngine(g, { macUpdating }, 'busy')),
    entry('testpmd', false, async (g) => {
      if (testpmd !== true) throw new Error(testpmd);
      return openPeer(g, { macUpdating });
    }),
    entry('bridge', false, (g) => openBridge(g, { threaded: true })),
  ];
}

const ECHO_PORT = 7;

/** Answers at b0, with a forwarder on the way there. */
async function through(ground: Ground, program: string, opening: Promise<Forwarder>): Promise<Path> {
  const forwarder = await opening;
  const [command, ...args] = ground.wires.inside(
    'b',
    'taskset',
    '-c',
    String(ground.place.main),
    program,
    'answer',
    '7',
  );
  const server = new Child({ name: 'answering', command, args, quit: '' });
  const close = async () => {
    await server.close();
    return forwarder.close();
  };
  try {
    await server.expect(/ready\n/, 5000);
    return { address: ADDRESS.b0, port: ECHO_PORT, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** udp-echo on f0, for an address that the kernel does not have. */
async function openEcho({ wires, place, burst }: Ground, mode: 'busy' | 'adaptive'): Promise<Path> {
  const { contestant } = await startEngine(
    {
      ports: [`xdp:${wires.ends.f0.name},match=host/${ADDRESS.ours}`],
      jobs: [[0, 0]],
      app: { module: 'udp-echo', options: { addresses: [ADDRESS.ours], port: ECHO_PORT } },
      ...{ mode, burst, cpu: place.loop, mainCpu: place.main },
    },
    wires.inside('f'),
  );
  return { address: ADDRESS.ours, port: ECHO_PORT, close: () => contestant.close() };
}

/** Node's own sockets on f0. */
async function openDgram({ wires }: Ground, cpu: number): Promise<Path> {
  const script = fileURLToPath(new URL('./dgram-child.js', import.meta.url));
  const line = ['taskset', '-c', String(cpu), process.execPath, script, String(ECHO_PORT)];
  const [command, ...args] = wires.inside('f', ...line);
  const server = new Child({ name: 'dgram', command, args, quit: '' });
  const close = async () => {
    await server.close();
    return { faults: [] };
  };
  try {
    await server.expect(/ready\n/, 5000);
    return { address: ADDRESS.f0, port: ECHO_PORT, close };
  } catch (error) {
    await close();
    throw error;
  }
}

/** Entries of the round trips; `program` is what answers and asks (`bench/native/round-trips.cc`). */
export function roundTripEntries(kind: 'rtt' | 'echo', { ground, testpmd }: Means, program: string): RoundTripEntry[] {
  const ours = typeof ground !== 'string';
  const entry = (name: string, isOurs: boolean, open: (g: Ground) => Promise<Path>): RoundTripEntry => ({
    ...{ name, ours: isOurs && ours },
    open: async () => open(orThrow(ground)),
  });
  if (kind === 'echo') {
    return [
      entry('udp-echo, busy', true, (g) => openEcho(g, 'busy')),
      entry('udp-echo, adaptive', true, (g) => openEcho(g, 'adaptive')),
      entry('dgram', false, (g) => openDgram(g, g.place.loop)),
      entry("dgram on the client's cpu", false, (g) => openDgram(g, g.place.main)),
    ];
  }
  const asItIs = { macUpdating: false };
  return [
    entry(`${OURS}, busy`, true, (g) => through(g, program, openEngine(g, asItIs, 'busy'))),
    entry(`${OURS}, adaptive`, true, (g) => through(g, program, openEngine(g, asItIs, 'adaptive'))),
    entry('testpmd', false, async (g) => {
      if (testpmd !== true) throw new Error(testpmd);
      return through(g, program, openPeer(g, asItIs));
    }),
    entry('bridge', false, (g) => through(g, program, openBridge(g, { threaded: false }))),
  ];
}
