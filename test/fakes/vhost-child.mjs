// A process with an engine that takes what comes from the port that argv names, for tests that kill it. It says {"ready"},
// {"flowing": ms} once packets come, ms after it was ready, and when its standard input ends what the ledger says.
import { openEngine } from '../../dist/lib/index.js';

const say = (value) => process.stdout.write(`${JSON.stringify(value)}\n`);
const engine = await openEngine({ frames: 8192 });
const port = await engine.open(process.argv[2]);
const run = await engine.run([{ app: { module: 'l2fwd', options: {} }, rx: { port: port.name }, tx: [port.name] }]);
const ready = performance.now();
say({ ready: true });
const timer = setInterval(() => {
  if (port.stats().rx.packets < 1000n) return;
  clearInterval(timer);
  say({ flowing: performance.now() - ready });
}, 1);
process.stdin.resume().on('end', async () => {
  const { ledger, ports } = await run.stop();
  const { rx, tx } = ports[port.name];
  const [received, accepted, left] = [rx.packets, tx.packets, tx.completed + tx.stopped + (tx.lost ?? 0n)].map(Number);
  say({ errors: ledger.errors, lost: ledger.lost, received, accepted, left });
  await engine.close();
});
