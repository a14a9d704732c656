/** Our side of a pipeline trial: a process with an engine (`engine-child.ts`), traced by V8, stopped between samples. */
import { fileURLToPath } from 'node:url';
import type { AppSpec, PollMode } from '../lib/index.ts';
import { Child, lastJson } from './child.ts';
import type { Contestant, Ending, Sample } from './contestant.ts';
import { isolateOf, type MainThread, parseTrace, TRACE_FLAGS } from './gc.ts';
import type { Placement } from './machine.ts';
import { makeSocket } from './socket.ts';
import { type Pipeline, SOCKET, VIRTQUEUE } from './trials.ts';

const START_MS = 20_000;
const REPLY_MS = 5000;
const STOP_MS = 10_000;

/** Which engine to run. */
export interface LinecardOptions {
  readonly pipeline: Pick<Pipeline, 'ports' | 'jobs' | 'frames' | 'joined'>;
  readonly burst: number;
  readonly place: Placement;
}

/** What the child is told: its only argument, as JSON. */
export interface EngineJob {
  readonly ports: readonly string[];
  readonly jobs: readonly (readonly [from: number, to: number])[];
  readonly app: AppSpec;
  readonly mode: PollMode;
  readonly burst: number;
  /** Descriptors of the ports' rings, where they may be chosen; absent: as the ports have them. */
  readonly ring?: number;
  /** Whoever is at the other end may be too slow: a full tx queue is no fault. */
  readonly lossy?: true;
  /** Of the worker, and of everything else. */
  readonly cpu: number;
  readonly mainCpu: number;
}

/** An engine in a process of its own, which forwards all the time. */
export interface EngineProcess {
  readonly child: Child;
  readonly contestant: Contestant;
}

/** What a pipeline's engine runs. Ports that make no frames of their own are given some, once. */
function appOf(frames: number): AppSpec {
  if (frames === 0) return { module: 'l2fwd' };
  // Resolved in the child, which is in the same directory.
  return { module: new URL('./apps/circulate.js', import.meta.url).href, export: 'circulate', options: { frames } };
}

/** Starts an engine that forwards all the time, and stops the process whenever no sample is taken. */
export async function openLinecard({ pipeline, burst, place }: LinecardOptions): Promise<Contestant> {
  const { ports, jobs, frames, joined } = pipeline;
  const socket = makeSocket();
  const { child, contestant } = await startEngine({
    ports: ports.map((port) => port.replace(SOCKET, socket.path)),
    jobs,
    app: appOf(frames),
    mode: 'busy',
    burst,
    ...(joined === undefined ? {} : { ring: VIRTQUEUE }),
    cpu: place.loop,
    mainCpu: place.main,
  }).catch((error) => {
    socket.remove();
    throw error;
  });
  child.pause();
  return {
    async sample(ms) {
      child.resume();
      try {
        return await contestant.sample(ms);
      } finally {
        child.pause();
      }
    },
    async close() {
      const ending = await contestant.close();
      socket.remove();
      return ending;
    },
  };
}

/** Starts an engine; `wrap` is put before its command line. */
export async function startEngine(job: EngineJob, wrap: readonly string[] = []): Promise<EngineProcess> {
  const script = fileURLToPath(new URL('./engine-child.js', import.meta.url));
  // The main thread and V8's helpers stay where the process starts. V8 prints through stdio: line by line, please.
  const line = [...wrap, 'taskset', '-c', String(job.mainCpu), 'stdbuf', '-oL', process.execPath, ...TRACE_FLAGS];
  const [command, ...args] = [...line, script, JSON.stringify(job)];
  const child = new Child({ name: 'linecard', command: command!, args, quit: 'quit' });
  try {
    const main = await recognise(child);
    await child.expect(/ready\n/, START_MS);
    return { child, contestant: contestant(child, main) };
  } catch (error) {
    await child.close();
    throw error;
  }
}

/** The child collects once and tells where its stack is, before it has any other thread. */
async function recognise(child: Child): Promise<MainThread> {
  const text = await child.expect(/\{"stack":.*\}\n/, START_MS);
  return { ...(lastJson(text) as Pick<MainThread, 'stack'>), isolate: isolateOf(text) };
}

function contestant(child: Child, main: MainThread): Contestant {
  return {
    async sample(ms) {
      child.send(String(ms));
      const text = await child.expect(/\{"packets":.*\}\n/, ms + REPLY_MS);
      return { ...(lastJson(text) as Sample), trace: parseTrace(text, main) };
    },
    async close() {
      const rest = await child.close(STOP_MS);
      const ending = /\{"faults":.*\}$/m.exec(rest);
      if (ending === null) return { faults: [`it did not stop in order: ${rest.trim().slice(-300) || 'no word'}`] };
      return JSON.parse(ending[0]) as Ending;
    },
  };
}
