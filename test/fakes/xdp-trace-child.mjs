// As `xdp-child.mjs forward`, under V8's trace flags: says first by which collection and stack the main thread is known
// (bench/gc.ts), then "ready" when packets flow. Forwards until its standard input ends.
import { readFileSync, writeSync } from 'node:fs';
import { stackOf } from '../../dist/bench/gc.js';
import { openEngine } from '../../dist/lib/index.js';

// Straight to the pipe, so that it keeps its place between the lines that V8 prints.
const say = (what) => writeSync(1, `${what}\n`);

globalThis.gc();
say(JSON.stringify({ stack: stackOf(readFileSync('/proc/self/maps', 'utf8')) }));
const names = process.argv.slice(2);
const engine = await openEngine();
for (const name of names) await engine.open(name);
const app = { module: 'l2fwd', options: { macUpdating: false } };
const run = await engine.run(
  [0, 1].map((side) => ({ app, rx: { port: names[side] }, tx: [names[1 - side]], group: '0' })),
);
say('ready');
process.stdin.resume().on('end', async () => {
  const { ledger, jobs } = await run.stop();
  const extra = names.map((name) => Number(run.stats().ports[name].rx.extra_frames));
  say(JSON.stringify({ errors: ledger.errors, delivered: jobs.map(({ frames }) => Number(frames.delivered)), extra }));
  await engine.close();
});
