// Runs in a guest: kills a supervised engine again and again, under traffic, and prints when what happened, as JSON.
// kill-guest.mjs '{"ports": […], "functions": […], "kills": N, "engine": ["--hugepages", …]}'
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readdirSync, readSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const { ports, functions, kills, engine = [] } = JSON.parse(process.argv[2]);
const MAIN = fileURLToPath(new URL('../../dist/lib/cli/main.js', import.meta.url));
const KEPT = '/run/linecard/kept';
const BUS_MASTER = 4;

const command = ['supervise', '--restart', '--restarts', String(kills + 1), '--json', '--', 'l2fwd', ...ports];
const child = spawn(process.execPath, [MAIN, ...command, ...engine, '-T', '0.2', '-j'], {
  stdio: ['ignore', 'pipe', 'pipe'],
});
const events = [];
const noise = [];
let packets = 0;
createInterface({ input: child.stderr }).on('line', (line) => {
  try {
    events.push({ at: performance.now(), ...JSON.parse(line) });
  } catch {
    noise.push(line);
  }
});
createInterface({ input: child.stdout }).on('line', (line) => {
  const period = JSON.parse(line);
  if (period.error !== undefined) noise.push(line);
  packets = (period.ports ?? []).reduce((sum, { rx }) => sum + Number(rx?.packets ?? 0), 0);
});
const ended = new Promise((resolve) => child.on('close', (code, signal) => resolve({ code, signal })));

async function until(what, done, ms = 60_000) {
  for (const end = Date.now() + ms; !done(); await sleep(5)) {
    if (Date.now() > end || child.exitCode !== null) {
      throw new Error(`never: ${what}; ${JSON.stringify(events)}; ${noise.slice(-5).join('\n')}`);
    }
  }
}

const configs = functions.map((address) => openSync(`/sys/bus/pci/devices/${address}/config`, 'r'));
const bytes = new Uint8Array(1);
const busMasters = () =>
  configs.filter((fd) => readSync(fd, bytes, 0, 1, 4) === 1 && (bytes[0] & BUS_MASTER) !== 0).length;
const kept = () => (existsSync(KEPT) ? readdirSync(KEPT).length : 0);
const of = (type) => events.filter(({ event }) => event === type);

/** One death: what was before, and how long everything took from the kill on. */
async function round(n) {
  await until(`engine ${n} forwards`, () => of('started').length === n + 1 && packets > 0);
  const before = { busMasters: busMasters(), kept: kept() };
  const { pid } = of('started')[n];
  const begin = performance.now();
  process.kill(pid, 'SIGKILL');
  while (busMasters() > 0 && performance.now() - begin < 10_000);
  const offMs = performance.now() - begin;
  packets = 0;
  await until('it is settled', () => of('settled').length === functions.length * (n + 1));
  const settled = of('settled').slice(-functions.length);
  await until('it is started again', () => of('started').length === n + 2);
  const againMs = of('started')[n + 1].at - begin;
  await until('it forwards again', () => packets > 0);
  const forwardsMs = performance.now() - begin;
  const errors = settled.flatMap((one) => one.errors);
  return {
    ...{ before, offMs, againMs, forwardsMs, errors, signal: of('ended')[n].signal },
    settled: settled.map(({ stoppedMs, resetMs, releasedMs, left, stuck }) => ({
      stoppedMs,
      resetMs,
      releasedMs,
      left,
      stuck,
    })),
  };
}

const result = { rounds: [] };
try {
  for (let n = 0; n < kills; n++) result.rounds.push(await round(n));
  child.kill('SIGTERM');
  result.end = await ended;
  result.after = { busMasters: busMasters(), kept: kept(), settled: of('settled').length };
} catch (error) {
  child.kill('SIGTERM');
  result.error = error.message;
}
for (const fd of configs) closeSync(fd);
result.noise = noise;
console.log(JSON.stringify(result));
