// Runs in a guest: packets go round between two ports, until /run/stop is there. What happens is written to /run/events, a JSON
// object per line. One argument, JSON: `ports`.
import { appendFileSync, existsSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { openEngine } from '../../dist/lib/index.js';

const { ports: names } = JSON.parse(process.argv[2]);
const PING = fileURLToPath(new URL('./ping-app.mjs', import.meta.url));
const tell = (event) =>
  appendFileSync('/run/events', `${JSON.stringify({ at: Math.round(performance.now()), ...event })}\n`);
const stopping = () => existsSync('/run/stop');
const engine = await openEngine({ frames: 4096, mode: 'adaptive' });

async function open(name) {
  const port = await engine.open(name, { promiscuous: true });
  port.on('link', ({ status, reason = '' }) => tell({ link: status, name, reason }));
  return port.name;
}

async function forward([one, other]) {
  const app = { module: PING, options: { window: 64, size: 64, count: 0xffff_ffff } };
  const run = await engine.run([
    { app, rx: { port: one }, tx: [one], group: 'a' },
    { app: { module: 'l2fwd' }, rx: { port: other }, tx: [other], group: 'a' },
  ]);
  const good = () => Number(run.stats().jobs[0].counters.good);
  while (!stopping() && good() < 100) await sleep(20);
  tell({ running: good() });
  while (!stopping()) await sleep(20);
  const { ledger, jobs } = await run.stop();
  tell({ balanced: ledger.balanced, lost: Number(ledger.lost), bad: Number(jobs[0].counters.bad) });
}

try {
  await forward([await open(names[0]), await open(names[1])]);
} catch (error) {
  tell({ error: error.stack });
} finally {
  await engine.close();
  tell({ closed: true });
}
