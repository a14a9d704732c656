// Runs in a guest: two ports on one wire, near and far. A generator sends from near, l2fwd at far sends everything back, a
// sink at near checks it. Prints what came of it as JSON. What happens to the wire meanwhile is QEMU's doing: a file says
// when it may.
import { writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openEngine } from '../../dist/lib/index.js';

const given = JSON.parse(process.argv[2]);
const { near, far, count, mode = 'adaptive', ready, sprayed = false, together = false } = given;
const [here, there] = together ? ['all', 'all'] : ['near', 'far'];
const { rate = 0, size = 60, flows = 1, queues = 1, mtu = 1500, ring = 4096, frameSize = 2048 } = given;

const SPRAY = new URL('./spray.mjs', import.meta.url);

const numbers = (counters) =>
  Object.fromEntries(
    Object.entries(counters)
      .map(([name, n]) => [name, Number(n)])
      .filter(([, n]) => n > 0),
  );

/** Waits until `condition` holds; false when it does not for `ms`. */
async function until(condition, ms) {
  for (const end = Date.now() + ms; Date.now() < end; await sleep(20)) if (condition()) return true;
  return condition();
}

async function play(engine, result) {
  const settings = { promiscuous: true, mtu, rxRing: ring, txRing: ring };
  const a = await engine.open(near, { ...settings, rxQueues: queues });
  const b = await engine.open(far, { ...settings, rxQueues: queues });
  for (const port of [a, b]) {
    port.on('link', ({ status }) => result.links.push(`${port.name} ${status}`));
    port.on('error', (error) => result.errors.push(String(error)));
  }
  const all = Array.from({ length: queues }, (_, queue) => queue);
  const run = await engine.run([
    sprayed
      ? { app: { module: SPRAY, export: 'spray', options: { count } }, tx: [a.name], group: here }
      : { app: { module: 'gen', options: { count, rate, size, flows } }, tx: [a.name], group: here },
    ...all.map((queue) => ({
      app: sprayed ? { module: SPRAY, export: 'count' } : { module: 'sink' },
      rx: { port: a.name, queue },
      group: here,
    })),
    ...all.map((queue) => ({ app: { module: 'l2fwd' }, rx: { port: b.name, queue }, tx: [b.name], group: there })),
  ]);
  const sum = (name) => run.stats().jobs.reduce((n, { counters }) => n + Number(counters[name] ?? 0n), 0);
  result.up = await until(() => [a, b].every((port) => port.link().status === 'up'), 10_000);
  result.speed = a.link().speed;
  result.notes = a.notes();
  if (ready !== undefined) {
    await until(() => sum('sent') > 0, 10_000);
    writeFileSync(ready, '');
    await until(() => result.links.includes(`${a.name} up`), 30_000);
    result.atUp = sum('received');
  }
  const start = performance.now();
  await until(() => sum('sent') === count, 200_000);
  await until(() => sum('received') === count, 3000);
  result.seconds = (performance.now() - start) / 1000;
  const { jobs, ledger } = await run.stop();
  result.gen = numbers(jobs[0].counters);
  result.sinks = jobs.slice(1, 1 + queues).map(({ counters }) => numbers(counters));
  result.ledger = ledger.balanced ? 'balanced' : ledger.errors;
  for (const [name, port] of Object.entries({ near: a, far: b })) {
    const { rx, tx } = port.stats();
    result[name] = { rx: numbers(rx), tx: numbers(tx), card: numbers(port.extraStats()) };
  }
}

const result = { links: [], errors: [] };
const began = performance.now();
try {
  // QEMU drops what it sends unless each buffer is in one piece of physical memory.
  const hugepages = frameSize > 4096 ? 'need' : 'no';
  const engine = await openEngine({ frames: frameSize > 2048 ? 4096 : 32_768, mode, frameSize, hugepages });
  try {
    await play(engine, result);
  } finally {
    await engine.close();
  }
} catch (error) {
  result.error = String(error?.stack ?? error);
}
result.total = (performance.now() - began) / 1000;
console.log(JSON.stringify(result));
