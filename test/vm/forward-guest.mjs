// Runs in a guest: l2fwd between the second and the third port; on their wires are the first, which sends and checks what
// comes back (ping-app.mjs), and the fourth, which sends everything back. Prints what it saw as JSON. One argument, JSON.
import { fileURLToPath } from 'node:url';
import { openEngine } from '../../dist/lib/index.js';

const options = {
  mode: 'adaptive',
  count: 1000,
  window: 64,
  size: 64,
  queues: 1,
  ...JSON.parse(process.argv[2]),
};
const { ports: names, mode, count, window, size, queues } = options;
const PING = fileURLToPath(new URL('./ping-app.mjs', import.meta.url));
const plain = (counters) => Object.fromEntries(Object.entries(counters).map(([name, n]) => [name, Number(n)]));
const result = { notes: [], links: [], errors: [] };
// One worker: under emulation several would stand in each other's way.
const group = 'one';
const engine = await openEngine({ frames: 8192, mode });

async function forward(ports) {
  const [one, near, far, other] = ports.map(({ name }) => name);
  const each = Array.from({ length: queues }, (_, queue) => queue);
  const l2fwd = (from, to) =>
    each.map((queue) => ({ app: { module: 'l2fwd' }, rx: { port: from, queue }, tx: [to], group }));
  const ping = { app: { module: PING, options: { window, size, count } }, rx: { port: one }, tx: [one], group };
  const began = performance.now();
  const run = await engine.run([ping, ...l2fwd(near, far), ...l2fwd(far, near), ...l2fwd(other, other)]);
  for (const event of ['job-failed', 'worker-failed']) run.on(event, (_, error) => result.errors.push(error.message));
  const seen = () => plain(run.stats().jobs[0].counters);
  for (let before = 0, last = began; seen().good + seen().bad < count && performance.now() - last < 60_000; ) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    if (seen().good !== before) [before, last] = [seen().good, performance.now()];
  }
  result.seconds = (performance.now() - began) / 1000;
  const end = await run.stop();
  result.ping = plain(end.jobs[0].counters);
  result.ledger = { balanced: end.ledger.balanced, lost: Number(end.ledger.lost) };
  result.ports = names.map((_, i) => {
    const { rx, tx } = end.ports[ports[i].name];
    return { rx: plain(rx), tx: plain(tx) };
  });
  result.workers = end.workers.map(({ counters }) => plain(counters));
}

try {
  const ports = [];
  for (const [i, name] of names.entries())
    ports.push(await engine.open(name, { promiscuous: true, rxQueues: i === 0 ? 1 : queues }));
  for (const port of ports) {
    port.on('link', ({ status }) => result.links.push(`${port.name} ${status}`));
    port.on('error', (error, fatal) => result.errors.push(`${port.name} ${error.code} ${fatal}: ${error.message}`));
  }
  await forward(ports);
  for (const port of ports) result.notes.push(...port.notes());
} catch (error) {
  result.error = error.stack;
} finally {
  await engine.close();
}
console.log(JSON.stringify(result));
