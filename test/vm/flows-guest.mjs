// Runs in a guest: a generator of many flows on the first port, all rx queues of the second checked. Prints what it saw as
// JSON. One argument, JSON.
import { openEngine } from '../../dist/lib/index.js';

const { ports: names, queues, count, rate } = JSON.parse(process.argv[2]);
const plain = (counters) => Object.fromEntries(Object.entries(counters).map(([name, n]) => [name, Number(n)]));
const result = {};
const engine = await openEngine({ frames: 8192, mode: 'interrupt' });
try {
  const ports = [];
  for (const name of names) ports.push(await engine.open(name, { promiscuous: true, rxQueues: queues }));
  const each = Array.from({ length: queues }, (_, queue) => queue);
  const group = 'one';
  const sinks = (port) => each.map((queue) => ({ app: { module: 'sink' }, rx: { port, queue }, group }));
  const [from, to] = ports.map(({ name }) => name);
  const gen = { app: { module: 'gen', options: { count, rate, flows: 64 } }, tx: [from], group };
  const run = await engine.run([gen, ...sinks(to), ...sinks(from)]);
  const arrived = () => Number(ports[1].stats().rx.packets);
  for (let before = 0, last = performance.now(); arrived() < count && performance.now() - last < 60_000; ) {
    await new Promise((resolve) => setTimeout(resolve, 100));
    if (arrived() !== before) [before, last] = [arrived(), performance.now()];
  }
  result.interrupts = new Set(ports[1].queues.rx.map(({ plan }) => plan.fd)).size;
  const { jobs, ledger } = await run.stop();
  result.sinks = jobs.slice(1, 1 + queues).map(({ counters }) => plain(counters));
  result.ledger = { balanced: ledger.balanced, lost: Number(ledger.lost) };
} catch (error) {
  result.error = error.stack;
} finally {
  await engine.close();
}
console.log(JSON.stringify(result));
