// Runs in a guest: a generator sends from port near, l2fwd at far sends everything back, a sink at near checks it. Meanwhile the
// cards' driver is exchanged for later releases of it. Prints what came of it as JSON. One argument, JSON: `near`, `far`,
// `driver`, `times`, `rate`.
import { setTimeout as sleep } from 'node:timers/promises';
import { openEngine } from '../../dist/lib/index.js';

const { near, far, driver, times, rate } = JSON.parse(process.argv[2]);
/** As many come back between two exchanges. */
const BETWEEN = 50;
const WAIT_MS = 60_000;

const module = await import(`../../dist/lib/drivers/${driver}/device.js`);
const make = module[`${driver}Driver`];

async function until(what, condition) {
  for (const end = Date.now() + WAIT_MS; Date.now() < end; await sleep(10)) if (condition()) return;
  throw new Error(`never: ${what}`);
}

async function play(engine) {
  const [a, b] = [await engine.open(near, { promiscuous: true }), await engine.open(far, { promiscuous: true })];
  const errors = [];
  for (const port of [a, b]) port.on('error', (error) => errors.push(String(error)));
  const said = [];
  engine.framework.on((event) => {
    if (event.type === 'driver-replaced') said.push(event.kept);
    if (event.type === 'error') errors.push(`${event.source}: ${event.error.message}`);
  });
  const run = await engine.run([
    { app: { module: 'gen', options: { rate } }, tx: [a.name], group: 'near' },
    { app: { module: 'sink' }, rx: { port: a.name }, group: 'near' },
    { app: { module: 'l2fwd' }, rx: { port: b.name }, tx: [b.name], group: 'far' },
  ]);
  const received = () => Number(run.stats().ports[a.name].rx.packets);
  const more = async () => {
    const before = received();
    await until('packets come back', () => received() > before + BETWEEN);
  };
  const took = [];
  for (let i = 1; i <= times; i++) {
    await more();
    const begin = performance.now();
    await engine.framework.replaceDriver({ ...make(), version: `1.1.${i}` });
    took.push(Math.round(performance.now() - begin));
  }
  await more();
  await until('nothing is missing', () => run.stats().framesMissing === 0);
  const { jobs, ledger, ports } = await run.stop();
  const cards = [a, b].map((port) => port.extraStats());
  return {
    said,
    took,
    errors,
    balanced: ledger.balanced,
    lost: ledger.lost,
    sink: jobs[1].counters,
    ports: [ports[a.name], ports[b.name]],
    cards,
  };
}

let result;
const engine = await openEngine({ frames: 4096, mode: 'adaptive' });
try {
  result = await play(engine);
} catch (error) {
  result = { error: error.stack };
} finally {
  await engine.close();
}
console.log(`\n${JSON.stringify(result, (_, value) => (typeof value === 'bigint' ? Number(value) : value))}`);
