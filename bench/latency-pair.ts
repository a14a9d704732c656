/** Both processes of a contestant: the generator with the clock, and the forwarder in the seat. */
import { fileURLToPath } from 'node:url';
import { Child, lastJson } from './child.ts';
import type { TraceCount } from './gc.ts';
import { opposite, portOf, type Seated, type SeatGround, withPeer } from './seats.ts';
import { makeSocket } from './socket.ts';
import { type Seat, VIRTQUEUE } from './trials.ts';

/** What the generator is told: its only argument, as JSON. */
export interface LatencyJob {
  readonly port: string;
  readonly ring: number;
  readonly burst: number;
  readonly cpu: number;
}

/** What the generator saw of one stretch. */
export interface Measured {
  readonly ns: number;
  readonly sent: number;
  readonly received: number;
  /** Not sent, because the ring was full. */
  readonly full: number;
  /** Not sent, because the generator itself was kept from its cpu. */
  readonly late: number;
  /** Packets by time under way: buckets of `histogram.ts`. */
  readonly histogram: readonly number[];
  /** Of our forwarder meanwhile. */
  readonly trace?: TraceCount;
}

const START_MS = 20_000;
const REPLY_MS = 5000;
/** Code is compiled, and caches get warm. */
const WARM_UP_MS = 300;

/** They stand still but while they are measured. */
export interface Pair {
  /** Sends for `ms` milliseconds, `rate` packets per second; below 0: as many as there is room for. */
  measure(ms: number, rate: number): Promise<Measured>;
  /** Ends both; returns what was wrong with the forwarder. */
  close(): Promise<readonly string[]>;
}

async function startGenerator({ place, burst }: SeatGround, { end, rings }: Seat, path: string): Promise<Child> {
  const script = fileURLToPath(new URL('./latency-child.js', import.meta.url));
  const job: LatencyJob = { port: portOf(opposite(end), path, rings), ring: VIRTQUEUE, burst, cpu: place.main };
  const args = [script, JSON.stringify(job)];
  const child = new Child({ name: 'latency', command: process.execPath, args, quit: 'quit' });
  try {
    await child.expect(/ready\n/, START_MS);
    return child;
  } catch (error) {
    await child.close();
    throw error;
  }
}

/** Starts both at the ends of a socket. */
export async function openPair(ground: SeatGround, seat: Seat, take: (path: string) => Promise<Seated>): Promise<Pair> {
  const socket = makeSocket();
  const { seated, other } = await withPeer(seat, socket.path, take, (path) => startGenerator(ground, seat, path)).catch(
    (error) => {
      socket.remove();
      throw error;
    },
  );
  await seated.rest();
  other.pause();
  return {
    async measure(ms, rate) {
      await seated.wake();
      other.resume();
      other.send(`${WARM_UP_MS} ${rate}`);
      // What is compiled and collected until then is not the packets' doing: that sample is not looked at.
      await Promise.all([other.expect(/\{"ns":.*\}\n/, WARM_UP_MS + REPLY_MS), seated.sample?.(WARM_UP_MS)]);
      other.send(`${ms} ${rate}`);
      const [text, own] = await Promise.all([other.expect(/\{"ns":.*\}\n/, ms + REPLY_MS), seated.sample?.(ms)]);
      other.pause();
      await seated.rest();
      return { ...(lastJson(text) as Measured), ...(own?.trace === undefined ? {} : { trace: own.trace }) };
    },
    async close() {
      // Awake, or neither would see that the other end goes.
      other.resume();
      await seated.wake().catch(() => {});
      const { faults } = await seated.close();
      await other.close();
      socket.remove();
      return faults;
    },
  };
}
