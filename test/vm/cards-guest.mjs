// Runs in a guest: two ports on one wire, near and far. A generator sends from near, l2fwd at far sends everything back, a
// sink at near checks it. Prints what came of it as JSON; commands on stdin are not read: what happens to the wire
// meanwhile is QEMU's doing, at moments that a file says.
import { existsSync, writeFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { openEngine } from '../../dist/lib/index.js';

const { near, far, mode, count, rate, size, mtu, ring, queues, flows, wait, second } = {
  ...{ mode: 'adaptive', count: 1000, rate: 0, size: 60, mtu: 1500, ring: 1024, queues: 1, flows: 1, second: '' },
  ...JSON.parse(process.argv[2]),
};

const numbers = (counters) => Object.fromEntries(Object.entries(counters).map(([name, n]) => [name, Number(n)]));

/** Waits until `condition` holds; false when it does not for `ms`. */
async function until(condition, ms) {
  for (const end = Date.now() + ms; Date.now() < end; await sleep(20)) if (condition()) return true;
  return condition();
}

const result = { links: [], errors: [] };
const began = performance.now();
try {
  const engine = await openEngine({ frames: 8192, mode, frameSize: mtu > 1500 && second === 'large' ? 16_384 : 2048 });
  try {
    const settings = { promiscuous: true, mtu, rxRing: ring, txRing: ring };
    const [a, b] = [await engine.open(near, { ...settings, rxQueues: queues }), await engine.open(far, settings)];
    for (const port of [a, b]) {
      port.on('link', ({ status }) => result.links.push(`${port.name} ${status}`));
      port.on('error', (error) => result.errors.push(String(error)));
    }
    const rx = Array.from({ length: queues }, (_, queue) => queue);
    const run = await engine.run([
      { app: { module: 'gen', options: { count, rate, size, flows } }, tx: [a.name], group: 'near' },
      ...rx.map((queue) => ({ app: { module: 'sink' }, rx: { port: a.name, queue }, group: 'near' })),
      { app: { module: 'l2fwd' }, rx: { port: b.name }, tx: [b.name], group: 'far' },
    ]);
    result.up = await until(() => [a, b].every((port) => port.link().status === 'up'), 10_000);
    result.speed = a.link().speed;
    if (wait !== undefined) {
      writeFileSync(wait, '');
      await until(() => result.links.filter((text) => text === `${a.name} up`).length > 0, 20_000);
    }
    const received = () => run.stats().jobs.reduce((sum, { counters }) => sum + Number(counters.received ?? 0n), 0);
    const sent = () => run.stats().jobs.reduce((sum, { counters }) => sum + Number(counters.sent ?? 0n), 0);
    const start = performance.now();
    await until(() => sent() === count, 240_000);
    await until(() => received() === count, 3000);
    result.seconds = (performance.now() - start) / 1000;
    const { jobs, workers } = run.stats();
    result.sleeps = workers.map(({ sleeps }) => Number(sleeps));
    result.gen = numbers(jobs[0].counters);
    result.sinks = jobs.slice(1, 1 + queues).map(({ counters }) => numbers(counters));
    result.near = { rx: numbers(a.stats().rx), tx: numbers(a.stats().tx), card: numbers(a.extraStats()) };
    result.far = { rx: numbers(b.stats().rx), tx: numbers(b.stats().tx), card: numbers(b.extraStats()) };
    result.notes = [...a.notes()];
    result.perQueue = rx.map((queue) => Number(a.queueStats('rx', queue).packets));
    await run.stop();
    result.ledger = String(run.stats().balanced);
  } finally {
    await engine.close();
  }
} catch (error) {
  result.error = String(error?.stack ?? error);
}
result.total = (performance.now() - began) / 1000;
if (wait !== undefined && !existsSync(wait)) writeFileSync(wait, '');
console.log(JSON.stringify(result));
