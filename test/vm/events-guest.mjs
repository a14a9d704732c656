// Runs in a guest: packets go round between two ports, until /run/stop is there; a port that goes is opened again when its
// card is back. What happens is written to /run/events, a JSON object per line. One argument, JSON: `ports`.
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

/** Opens `name`, however long it takes to be there. */
async function open(name) {
  for (;;) {
    try {
      const port = await engine.open(name, { promiscuous: true });
      port.on('link', ({ status, reason = '' }) => tell({ link: status, name, reason }));
      return port;
    } catch (error) {
      if (stopping()) throw error;
      await sleep(200);
    }
  }
}

/** Runs until a port has gone, or all is to stop. */
async function round(ports) {
  const [one, other] = ports.map(({ name }) => name);
  const run = await engine.run([
    {
      app: { module: PING, options: { window: 64, size: 64, count: 0xffff_ffff } },
      rx: { port: one },
      tx: [one],
      group: 'a',
    },
    { app: { module: 'l2fwd' }, rx: { port: other }, tx: [other], group: 'a' },
  ]);
  const good = () => Number(run.stats().jobs[0].counters.good);
  for (let running = false; !stopping() && ports.every(({ name }) => engine.ports.has(name)); await sleep(20)) {
    if (running || good() < 100) continue;
    running = true;
    tell({ running: good() });
  }
  for (const [i, { name }] of ports.entries()) if (!engine.ports.has(name)) tell({ gone: names[i] });
  const { ledger, jobs } = await run.stop();
  tell({ balanced: ledger.balanced, lost: Number(ledger.lost), bad: Number(jobs[0].counters.bad) });
}

try {
  const ports = new Map();
  while (!stopping()) {
    for (const name of names) if (!engine.ports.has(ports.get(name)?.name)) ports.set(name, await open(name));
    await round([...ports.values()]);
  }
} catch (error) {
  tell({ error: error.stack });
} finally {
  await engine.close();
  tell({ closed: true });
}
