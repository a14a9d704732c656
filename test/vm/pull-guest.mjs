// Runs in a guest: packets go round on two wires, between two ports each, while a card of the second wire is pulled and put
// in again, until /run/stop is there. What happens is written to /run/events, a JSON object per line. One argument, JSON:
// `ports`, four names, of which the last one is pulled, and `address`, its card.
import { appendFileSync, existsSync, readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { openEngine } from '../../dist/lib/index.js';

const { ports: names, address, hugepages = 'no' } = JSON.parse(process.argv[2]);
const PING = fileURLToPath(new URL('./ping-app.mjs', import.meta.url));
/** How long the other wire is watched after a card has gone, in milliseconds. */
const ALONE_MS = 1000;
/** As many have come back on a wire before it counts as running. */
const RUNNING = 100;

const now = () => Math.round(performance.now());
const tell = (event) => appendFileSync('/run/events', `${JSON.stringify({ at: now(), ...event })}\n`);
const stopping = () => existsSync('/run/stop');
const isThere = () => existsSync(`/sys/bus/pci/devices/${address}`);

/** What must not grow from pull to pull. */
function held() {
  const fds = readdirSync('/proc/self/fd').length;
  const { used } = engine.arena;
  const areas = readFileSync('/proc/self/maps', 'utf8')
    .split('\n')
    .filter((line) => /\/dev\/vfio|\/dev\/uio|resource|anon_inode/.test(line)).length;
  return { fds, dma: used.dma, window: used.window, areas, rss: process.memoryUsage.rss() };
}

const engine = await openEngine({ frames: 4096, mode: 'adaptive', hugepages });

/** Opens `name`, however long it takes to be there. */
async function open(name) {
  for (let last = ''; ; await sleep(100)) {
    try {
      const port = await engine.open(name, { promiscuous: true });
      port.on('link', ({ status, reason = '' }) => tell({ link: status, name, reason }));
      port.on('error', ({ code, message }, fatal) => tell({ failed: code, name, fatal, message }));
      return port;
    } catch (error) {
      if (stopping()) throw error;
      if (error.message !== last) tell({ waiting: error.message });
      last = error.message;
    }
  }
}

/** One worker for both wires: of a guest's two cpus, one is the main thread's, as it is wherever there are enough. */
const group = 'all';
const wire = ([here, there]) => [
  {
    app: { module: PING, options: { window: 16, size: 64, count: 0xffff_ffff } },
    rx: { port: here.name },
    tx: [here.name],
    group,
  },
  { app: { module: 'l2fwd' }, rx: { port: there.name }, tx: [there.name], group },
];

async function until(condition) {
  while (!condition() && !stopping()) await sleep(20); // a look takes a millisecond or two under emulation
  return !stopping();
}

/** The framework has closed all that it had of the card. */
let closed = false;
engine.framework.on(({ type, device }) => {
  if (type !== 'device-unbound' || device.address !== address) return;
  closed = true;
  tell({ closed: address });
});

/** Follows the card's going: what was told is in the events by then. */
async function seeGo() {
  if (!(await until(() => closed && !isThere()))) return false;
  tell({ vanished: address });
  closed = false;
  return true;
}

/** From a run with all four ports to one without the last. */
async function round(ports) {
  const run = await engine.run([...wire(ports.slice(0, 2)), ...wire(ports.slice(2))]);
  const counts = (name) => run.stats().jobs.map(({ counters }) => Number(counters[name] ?? 0));
  const running = await until(() => counts('good')[0] > RUNNING && counts('good')[2] > RUNNING);
  if (running) tell({ running: counts('good'), held: held() });
  if (await seeGo()) {
    const [before] = counts('good');
    await sleep(ALONE_MS);
    tell({ alone: counts('good')[0] - before });
  }
  const { ledger, framesMissing } = await run.stop();
  tell({ balanced: ledger.balanced, framesMissing, bad: counts('bad').reduce((sum, n) => sum + n, 0) });
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
  tell({ ended: true });
}
