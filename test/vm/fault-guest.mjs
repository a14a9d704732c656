// Runs in a guest: packets go from one port to another on two wires. Into the rx ring of one of them go addresses where
// nothing is mapped, as a defect or an attacker would write them. Prints what is told, and what came through before and after,
// as JSON. One argument, JSON: `ports`, four names; the last is the one.
import { setTimeout as sleep } from 'node:timers/promises';
import { openEngine } from '../../dist/lib/index.js';

const { ports: names } = JSON.parse(process.argv[2]);
/** Mapped are frames and rings; this is beyond them. */
const NOWHERE = 0x7000_0000;
const STEP_MS = 20;
const RATE = 500;

const engine = await openEngine({ frames: 4096, mode: 'adaptive' });
const result = { links: [], errors: [] };

async function until(condition, ms = 20_000) {
  for (const end = Date.now() + ms; Date.now() < end; await sleep(STEP_MS)) if (condition()) return true;
  return condition();
}

/** Writes wrong addresses into all descriptors: of virtio's rings as of the controllers', they are the first word. */
function spoil({ queues }) {
  const { size, ring, desc } = queues.rx[0].plan.data;
  const words = new Int32Array(engine.arena.memory, ring ?? desc, size * 4);
  for (let i = 0; i < size; i++) words[i * 4] = NOWHERE;
}

async function play(ports) {
  const wire = ([from, to], group) => [
    { app: { module: 'gen', options: { rate: RATE } }, tx: [from.name], group },
    { app: { module: 'sink' }, rx: { port: to.name }, group },
  ];
  const run = await engine.run([...wire(ports.slice(0, 2), 'all'), ...wire(ports.slice(2), 'all')]);
  const received = () => [1, 3].map((job) => Number(run.stats().jobs[job].counters.received ?? 0));
  const flowing = async () => {
    const before = received();
    return until(() => received().every((n, i) => n > before[i] + RATE / 5));
  };
  result.flows = await flowing();
  const [before] = received();
  const port = ports[3];
  // What the worker gives the device meanwhile is right again.
  result.told = await until(() => {
    if (result.errors.length === 0) spoil(port);
    return result.errors.length > 0;
  });
  result.back = await until(() => result.links.at(-1) === 'up');
  result.flowsAgain = await flowing();
  result.otherWire = received()[0] - before;
  result.counters = Object.fromEntries(Object.entries(port.extraStats()).map(([name, n]) => [name, Number(n)]));
  const { ledger, framesMissing } = await run.stop();
  Object.assign(result, { balanced: ledger.balanced, framesMissing });
}

try {
  const ports = [];
  for (const name of names) ports.push(await engine.open(name, { promiscuous: true }));
  ports[3].on('link', ({ status, reason = '' }) =>
    result.links.push(status === 'up' ? status : `${status}: ${reason}`),
  );
  ports[3].on('error', ({ code, message }, fatal) => result.errors.push({ code, message, fatal }));
  await play(ports);
} catch (error) {
  result.error = error.stack;
} finally {
  await engine.close();
}
console.log(JSON.stringify(result));
