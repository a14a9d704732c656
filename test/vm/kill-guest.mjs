// Runs in a guest: kills a supervised engine again and again, under traffic, at last with its supervising process, and
// prints when what happened, as JSON. kill-guest.mjs '{"ports": […], "functions": […], "kills": N, "engine": ["--hugepages", …],
// "canary": {"backend": …, "pages": N, "write": KERNEL FUNCTION}}'
import { spawn } from 'node:child_process';
import { closeSync, existsSync, openSync, readdirSync, readFileSync, readSync, rmSync, writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { setTimeout as sleep } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';

const { ports, functions, kills, engine = [], canary } = JSON.parse(process.argv[2]);
const here = (path) => fileURLToPath(new URL(path, import.meta.url));
const MAIN = here('../../dist/lib/cli/main.js');
const KEPT = '/run/linecard/kept';
const TRACING = '/sys/kernel/tracing';
const BUS_MASTER = 4;

/** `linecard supervise`, and what it and its engines say. */
class Supervised {
  events = [];
  noise = [];
  periods = 0;
  packets = 0;

  constructor(...more) {
    const options = ['--restart', '--restarts', String(kills * 30 + 1), '--json'];
    const args = ['supervise', ...options, '--', 'l2fwd', ...ports, ...engine, '-T', '0.2', '-j', ...more];
    this.child = spawn(process.execPath, [MAIN, ...args], { stdio: ['ignore', 'pipe', 'pipe'] });
    createInterface({ input: this.child.stderr }).on('line', (line) => {
      if (line.startsWith('{')) this.events.push({ at: performance.now(), ...JSON.parse(line) });
      else this.noise.push(line);
    });
    createInterface({ input: this.child.stdout }).on('line', (line) => {
      const period = JSON.parse(line);
      if (period.error !== undefined) this.noise.push(line);
      else this.packets = period.ports.reduce((sum, { rx }) => sum + rx.packets, 0);
    });
    this.ended = new Promise((resolve) => this.child.on('close', (code, signal) => resolve({ code, signal })));
  }

  of(type) {
    return this.events.filter(({ event }) => event === type);
  }

  async until(what, done, ms = 120_000) {
    for (const end = Date.now() + ms; !done(); await sleep(5)) {
      if (Date.now() < end && this.child.exitCode === null) continue;
      throw new Error(`never: ${what}; ${JSON.stringify(this.events)}; ${this.noise.slice(-5).join('\n')}`);
    }
  }
}

const configs = functions.map((address) => openSync(`/sys/bus/pci/devices/${address}/config`, 'r'));
const bytes = new Uint8Array(1);
const busMasters = () =>
  configs.filter((fd) => readSync(fd, bytes, 0, 1, 4) === 1 && (bytes[0] & BUS_MASTER) !== 0).length;
const kept = () => (existsSync(KEPT) ? readdirSync(KEPT).length : 0);

/** Takes all huge pages as soon as they are free, and looks whether anybody writes to them; what the kernel does is traced. */
class Canary {
  output = '';

  static async sing() {
    rmSync('/tmp/canary', { force: true });
    const one = new Canary();
    one.child = spawn(process.execPath, [here('./nommu-guest.mjs'), canary.backend, 'canary', String(canary.pages)]);
    one.child.stdout.on('data', (text) => {
      one.output += text;
    });
    one.ended = new Promise((resolve) => one.child.on('close', resolve));
    while (!existsSync('/tmp/canary')) await sleep(20);
    writeFileSync(`${TRACING}/current_tracer`, 'nop');
    writeFileSync(`${TRACING}/set_ftrace_filter`, `${canary.write} free_huge_page`);
    writeFileSync(`${TRACING}/current_tracer`, 'function');
    return one;
  }

  async result() {
    await this.ended;
    const trace = readFileSync(`${TRACING}/trace`, 'latin1');
    writeFileSync(`${TRACING}/current_tracer`, 'nop');
    // It tries all the time, and gives back what it got of too few.
    const others = trace.split('\n').filter((line) => !line.includes(`-${this.child.pid} `));
    return {
      ...JSON.parse(this.output),
      order: others.flatMap((line) => /: (\w+) <-/.exec(line)?.[1] ?? []).slice(0, 40),
    };
  }
}

/** One death: what was before, and how long everything took from the kill on. */
async function round(supervised, n) {
  await supervised.until('it forwards', () => supervised.packets > 0);
  const before = { busMasters: busMasters(), kept: kept() };
  const bird = canary === undefined ? undefined : await Canary.sing();
  const { pid } = supervised.of('started').at(-1);
  const starts = supervised.of('started').length;
  const begin = performance.now();
  process.kill(pid, 'SIGKILL');
  while (busMasters() > 0 && performance.now() - begin < 10_000);
  const offMs = performance.now() - begin;
  await supervised.until('it is settled', () => supervised.of('settled').length === functions.length * (n + 1));
  const settled = supervised.of('settled').slice(-functions.length);
  const { signal } = supervised.of('ended').find((one) => one.pid === pid);
  await supervised.until('it is started again', () => supervised.of('started').length > starts);
  supervised.packets = 0; // and not before: what the dead one has said may be read late
  const againMs = supervised.of('started')[starts].at - begin;
  const sung = await bird?.result();
  await supervised.until('it forwards again', () => supervised.packets > 0);
  const forwardsMs = performance.now() - begin;
  return { before, offMs, againMs, forwardsMs, signal, settled, canary: sung };
}

/** The end of both, and the next start, which finds what they have left. */
async function both(supervised) {
  const before = busMasters();
  process.kill(supervised.child.pid, 'SIGKILL');
  process.kill(supervised.of('started').at(-1).pid, 'SIGKILL');
  const begin = performance.now();
  while (busMasters() > 0 && performance.now() - begin < 10_000);
  const offMs = performance.now() - begin;
  await supervised.ended;
  const left = kept();
  const next = new Supervised('--time', '1');
  const end = await next.ended;
  const swept = next.of('swept').map(({ address, outcome }) => ({ address, outcome }));
  return { before, offMs, left, swept, end, noise: next.noise, settled: next.of('settled').length };
}

const result = { rounds: [] };
const supervised = new Supervised();
try {
  for (let n = 0; n < kills; n++) result.rounds.push(await round(supervised, n));
  result.both = await both(supervised);
  result.after = { busMasters: busMasters(), kept: kept() };
} catch (error) {
  supervised.child.kill('SIGTERM');
  result.error = error.message;
}
for (const fd of configs) closeSync(fd);
// While the canary has all huge pages, engines cannot start.
result.noise = supervised.noise.filter((line) => canary === undefined || !line.includes('HUGEPAGES'));
console.log(JSON.stringify(result));
process.exit();
