/**
 * Two processes at the two ends of a vhost-user socket: testpmd sends packets round on one cpu, and in the seat on the
 * other somebody forwards them: our engine or another testpmd.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { type CacheLine, distanceOf, openCacheLine } from './cache-line.ts';
import type { Contestant, Ending, Sample } from './contestant.ts';
import { startEngine } from './linecard.ts';
import type { Placement } from './machine.ts';
import { OURS } from './report.ts';
import type { Entry } from './runner.ts';
import { makeSocket } from './socket.ts';
import { parsePortStats, startTestpmd, type TestpmdProcess, vhostDevice, virtioUserDevice } from './testpmd.ts';
import { type Seat, VIRTQUEUE } from './trials.ts';
import { promptly } from './waiting.ts';

/** Where seats are taken. */
export interface SeatGround {
  readonly place: Placement;
  readonly burst: number;
  readonly hugepages: boolean;
}

/** Somebody in the seat: forwards whenever it is awake. */
export interface Seated {
  wake(): Promise<void>;
  rest(): Promise<void>;
  /** What is known of it alone while it forwards for `ms` milliseconds. */
  sample?(ms: number): Promise<Sample>;
  close(): Promise<Ending>;
}

/** What was compiled before the other end came is compiled again when the rings run: so long before the first sample. */
const COMPILE_MS = 1000;
/** Bursts that the generator has under way. */
const FIRST = 8;
const SETTLE_MS = 30;

/** testpmd's device for one end; the other end is opened by somebody else. */
export const deviceOf = (end: Seat['end'], path: string, rings: Seat['rings']): string =>
  end === 'vhost-user' ? vhostDevice(path) : virtioUserDevice(path, rings === 'packed', VIRTQUEUE);

/** The other end of the socket. */
export const opposite = (end: Seat['end']): Seat['end'] => (end === 'vhost-user' ? 'virtio-user' : 'vhost-user');

/** The name of our port at one end. */
export const portOf = (end: Seat['end'], path: string, rings: Seat['rings']): string =>
  `${end}:${path}${end === 'virtio-user' && rings === 'packed' ? ',packed=1' : ''}`;

/** Our engine in the seat. */
export async function seatEngine({ place, burst }: SeatGround, { end, rings }: Seat, path: string): Promise<Seated> {
  const { child, contestant } = await startEngine({
    ports: [portOf(end, path, rings)],
    jobs: [[0, 0]],
    app: { module: 'l2fwd', options: { macUpdating: true } },
    ...{ mode: 'busy', burst, ring: VIRTQUEUE, cpu: place.loop, mainCpu: place.main, lossy: true },
  });
  return {
    wake: async () => child.resume(),
    rest: async () => child.pause(),
    sample: (ms) => contestant.sample(ms),
    close: () => contestant.close(),
  };
}

/** testpmd in the seat. */
export async function seatTestpmd(ground: SeatGround, { end, rings }: Seat, path: string): Promise<Seated> {
  const devices = [deviceOf(end, path, rings)];
  const { child, ask } = await startTestpmd({ ...ground, devices, forwardMode: 'mac', topology: 'loop' });
  return {
    async wake() {
      await ask('start');
    },
    async rest() {
      await ask('stop');
    },
    async close() {
      await child.close();
      return { faults: [] };
    },
  };
}

/** The generator, at the other end and on the other cpu. */
function startGenerator({ place, burst, hugepages }: SeatGround, { end, rings }: Seat, path: string) {
  const devices = [deviceOf(opposite(end), path, rings)];
  const both = { main: place.main, loop: place.main };
  return startTestpmd({ place: both, burst, hugepages, devices, forwardMode: 'io', topology: 'loop' });
}

/** Puts `take` into the seat. The back end makes the socket, so it comes first. */
export async function withPeer<Peer extends { close(): Promise<unknown> }>(
  seat: Seat,
  path: string,
  take: (path: string) => Promise<Seated>,
  peer: (path: string) => Promise<Peer>,
): Promise<{ seated: Seated; other: Peer }> {
  if (seat.end === 'vhost-user') {
    const seated = await take(path);
    const other = await peer(path).catch(async (error) => {
      await seated.close();
      throw error;
    });
    return { seated, other };
  }
  const other = await peer(path);
  const seated = await take(path).catch(async (error) => {
    await other.close();
    throw error;
  });
  return { seated, other };
}

/** One sample: packets that come back to the generator. */
async function roundTrips(seated: Seated, { ask }: TestpmdProcess, line: CacheLine, ms: number): Promise<Sample> {
  const before = await line.measure();
  await seated.wake();
  await ask(`start tx_first ${FIRST}`);
  await sleep(SETTLE_MS);
  const reading = () =>
    promptly(async () => ({ at: performance.now(), packets: parsePortStats(await ask('show port stats all')) }));
  const first = await reading();
  const [own] = await Promise.all([seated.sample?.(ms), sleep(ms)]);
  const last = await reading();
  await ask('stop');
  await seated.rest();
  const distance = distanceOf(before, await line.measure());
  const trace = own?.trace === undefined ? {} : { trace: own.trace };
  return { packets: last.packets - first.packets, ns: (last.at - first.at) * 1e6, distance, ...trace };
}

async function openSeat(
  ground: SeatGround,
  seat: Seat,
  program: string,
  take: (path: string) => Promise<Seated>,
): Promise<Contestant> {
  const socket = makeSocket();
  const line = await openCacheLine(program, ground.place);
  const ends = await withPeer(seat, socket.path, take, async (path) => {
    const generator = await startGenerator(ground, seat, path);
    return { ...generator, close: () => generator.child.close() };
  }).catch(async (error) => {
    await line.close();
    socket.remove();
    throw error;
  });
  await ends.seated.rest();
  const contestant: Contestant = {
    sample: (ms) => roundTrips(ends.seated, ends.other, line, ms),
    async close() {
      // Awake, or it would not see that the other end goes.
      await ends.seated.wake().catch(() => {});
      const ending = await ends.seated.close();
      await ends.other.close();
      await line.close();
      socket.remove();
      return ending;
    },
  };
  try {
    await contestant.sample(COMPILE_MS);
    return contestant;
  } catch (error) {
    await contestant.close();
    throw error;
  }
}

/** Entries of a trial with a seat; `program` is the probe, `testpmd` says whether it is there: without it nobody sends. */
export function seatEntries(ground: SeatGround, seat: Seat, program: string | Error, testpmd: true | string): Entry[] {
  const entry = (name: string, ours: boolean, take: (path: string) => Promise<Seated>): Entry => ({
    ...{ name, ours: ours && testpmd === true },
    async open() {
      if (testpmd !== true) throw new Error(testpmd);
      if (program instanceof Error) throw program;
      return openSeat(ground, seat, program, take);
    },
  });
  return [
    entry(OURS, true, (path) => seatEngine(ground, seat, path)),
    entry('testpmd', false, (path) => seatTestpmd(ground, seat, path)),
  ];
}
