/** Entry of the process that `latency.ts` starts: an engine whose port sends frames and gets them back. */
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { openEngine } from '../lib/index.ts';
import { LATENCY } from './apps/latency.ts';
import type { LatencyJob, Measured } from './latency-pair.ts';

/** The process stands still while the other contestant is measured, which must not look like a hung worker. */
const STALL_MS = 600_000;
/** Frames get from one end to the other and back, many times. */
const SETTLE_MS = 50;

const { port, ring, burst, cpu } = JSON.parse(process.argv[2]!) as LatencyJob;
const shared = new SharedArrayBuffer(LATENCY.words * 4);
const words = new Int32Array(shared);
const say = (message: unknown) => console.log(typeof message === 'string' ? message : JSON.stringify(message));

/** What was counted since `before`: the worker goes on counting, so it is never set to zero. */
function since(before: Int32Array, ns: number): Measured {
  const less = (at: number) => (words[at]! - before[at]!) | 0;
  const histogram = Array.from({ length: LATENCY.words - LATENCY.first }, (_, i) => less(LATENCY.first + i));
  const [sent, received, full, late] = [LATENCY.sent, LATENCY.received, LATENCY.full, LATENCY.late].map(less);
  return { ns, sent: sent!, received: received!, full: full!, late: late!, histogram };
}

/** Sends for `ms` milliseconds, `rate` packets per second. What is under way at the end is waited for. */
async function measure(ms: number, rate: number): Promise<Measured> {
  const [before, from] = [words.slice(), process.hrtime.bigint()];
  words[LATENCY.rate] = rate;
  await sleep(ms);
  words[LATENCY.rate] = 0;
  const ns = Number(process.hrtime.bigint() - from);
  await sleep(SETTLE_MS);
  return since(before, ns);
}

await using engine = await openEngine({ cpus: [cpu], mode: 'busy', burst, stallMs: STALL_MS, drainMs: SETTLE_MS });
await engine.open(port, port.startsWith('vhost-user:') ? {} : { rxRing: ring, txRing: ring });
const name = [...engine.ports.keys()][0]!;
const module = new URL('./apps/latency.js', import.meta.url).href;
const app = { module, export: 'latency', options: { shared } };
const run = await engine.run([{ app, rx: { port: name }, tx: [name], cpu }]);
say('ready');
for await (const line of createInterface({ input: process.stdin })) {
  if (line === 'quit') break;
  const [ms, rate] = line.split(' ').map(Number);
  say(await measure(ms!, rate!));
}
await run.stop();
