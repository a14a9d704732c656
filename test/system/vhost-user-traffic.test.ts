/**
 * Frames through a vhost-user socket with DPDK's testpmd at its other end, which sends back what it gets: every one of
 * them comes back as it was; and testpmd is killed while they flow, again and again where LINECARD_KILLS says
 * how often: its limits are milliseconds, which a machine that does other things does not keep.
 */
import { existsSync, rmSync } from 'node:fs';
import { type Engine, type JobSpec, openEngine, type Pktio, type Run } from 'linecard';
import { afterEach, describe, expect, test } from 'vitest';
import { temporaryFolder } from '../fakes/folder.ts';
import { waitFor } from '../fakes/netns.ts';
import { Testpmd } from '../fakes/testpmd.ts';
import { testWith } from '../fakes/tools.ts';

const KILLS = Number(process.env.LINECARD_KILLS ?? 0);
/** Of each length and queue. */
const FRAMES = 10_000;
const SIZES = [60, 1514];
/** Entries of each ring, and of a burst of testpmd's: what dies with it at most is in those. */
const RING = 256;
const BURST = 32;

/** How the two ends are set up. */
interface Shape {
  /** What we are. */
  readonly end: 'front' | 'back';
  readonly rings: 'split' | 'packed';
  readonly pairs: 1 | 2;
  /** What we are at the socket. */
  readonly role: 'listens' | 'calls';
  readonly mergeable: boolean;
}

const inFolder = temporaryFolder();
let made = 0;
const cleanUp: (() => void | Promise<void>)[] = [];

afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

/** The two ends of one socket. */
class Wire {
  readonly shape: Shape;
  readonly path = inFolder(`traffic-${made++}`);
  engine!: Engine;
  port!: Pktio;
  peer!: Testpmd;

  constructor(shape: Shape) {
    this.shape = shape;
  }

  private get ours(): string {
    const { end, rings, pairs, role, mergeable } = this.shape;
    const queues = pairs > 1 ? `,queues=${pairs}` : '';
    if (end === 'back') return `vhost-user:${this.path},memory=2${role === 'calls' ? ',client=1' : ''}${queues}`;
    const wishes = `${rings === 'packed' ? ',packed=1' : ''}${mergeable ? '' : ',mergeable=0'}`;
    return `virtio-user:${this.path},wait=9${role === 'listens' ? ',server=1' : ''}${wishes}${queues}`;
  }

  private get theirs(): string {
    const { end, rings, pairs, role, mergeable } = this.shape;
    if (end === 'front') return `net_vhost0,iface=${this.path},queues=${pairs}${role === 'listens' ? ',client=1' : ''}`;
    const wishes = `${rings === 'packed' ? ',packed_vq=1' : ''}${mergeable ? '' : ',mrg_rxbuf=0'}`;
    const place = `path=${this.path}${role === 'calls' ? ',server=1' : ''}`;
    return `net_virtio_user0,${place},queues=${pairs},queue_size=${RING}${wishes}`;
  }

  /** Starts a testpmd. One that listens leaves its socket behind when it is killed, and does not take it over. */
  startPeer(...options: readonly string[]): void {
    if (this.shape.role === 'calls') rmSync(this.path, { force: true });
    const queues = [`--rxq=${this.shape.pairs}`, `--txq=${this.shape.pairs}`];
    this.peer = new Testpmd(this.theirs, ...queues, '--port-topology=loop', '--forward-mode=io', ...options);
    const { peer } = this;
    cleanUp.push(() => peer.kill());
  }

  /** Both ends, before the first frame. */
  async open(...options: readonly string[]): Promise<void> {
    this.engine = await openEngine({ frames: 8192 });
    const { engine } = this;
    cleanUp.push(() => engine.close());
    this.startPeer(...options);
    this.port = await engine.open(this.ours);
    this.port.configure({ rxQueues: this.shape.pairs });
    await this.peer.says('testpmd> ', 15_000);
  }

  /** Runs generators and a checker on each queue. */
  run(generators: readonly Record<string, unknown>[]): Promise<Run> {
    const { name } = this.port;
    const jobs = Array.from({ length: this.shape.pairs }, (_, queue): JobSpec[] => [
      ...generators.map((options, i) => {
        const firstFlow = queue * generators.length + i;
        return { app: { module: 'gen', options: { ...options, firstFlow } }, tx: [name], group: `${queue}` };
      }),
      { app: { module: 'sink', options: {} }, rx: { port: name, queue }, group: `${queue}` },
    ]);
    return this.engine.run(jobs.flat());
  }
}

/** An application counter, over all jobs that have it. */
const total = ({ jobs }: Pick<ReturnType<Run['stats']>, 'jobs'>, name: string): number =>
  jobs.reduce((sum, { counters }) => sum + Number(counters[name] ?? 0n), 0);

const titleOf = ({ rings, pairs, role, mergeable }: Shape): string =>
  `${pairs} ${pairs > 1 ? 'pairs' : 'pair'} of ${rings} rings, ${mergeable ? '' : 'no '}mergeable buffers, linecard ${role}`;

/** Half of all combinations: any three of the four choices in every combination. */
function shapes(end: Shape['end']): Shape[] {
  return Array.from({ length: 16 }, (_, n) => n)
    .filter((n) => ((n ^ (n >> 1) ^ (n >> 2) ^ (n >> 3)) & 1) === 0 || process.env.LINECARD_KILLS !== undefined)
    .map((n) => ({
      end,
      rings: n & 1 ? 'packed' : 'split',
      pairs: n & 2 ? 2 : 1,
      role: n & 4 ? 'calls' : 'listens',
      mergeable: (n & 8) === 0,
    }));
}

async function allComeBack(shape: Shape): Promise<void> {
  const wire = new Wire(shape);
  await wire.open();
  // Without it testpmd throws away what does not fit our ring at that moment.
  await wire.peer.command('set fwd io retry');
  await wire.peer.command('set burst tx delay 1 retry 1000000');
  await wire.peer.command('start');
  const count = FRAMES * SIZES.length * shape.pairs;
  const run = await wire.run(SIZES.map((size) => ({ size, count: FRAMES })));
  await waitFor('all come back', () => total(run.stats(), 'received') === count, 15_000).catch((error) => {
    const { jobs, ports } = run.stats();
    const text = JSON.stringify({ jobs, ports }, (_, value) => (typeof value === 'bigint' ? Number(value) : value));
    throw new Error(`${error.message}: ${text}`);
  });
  const result = await run.stop();
  expect(result.errors).toEqual([]);
  expect(result.ledger.errors).toEqual([]);
  expect(result.ledger.balanced).toBe(true);
  const { rx, tx } = result.ports[wire.port.name]!;
  expect([total(result, 'sent'), total(result, 'ok')]).toEqual([count, count]);
  expect([rx.packets, tx.packets, tx.completed]).toEqual([count, count, count].map(BigInt));
}

/** Milliseconds, of each time that testpmd was killed. */
interface Times {
  /** From the signal until the link was down. */
  readonly down: number[];
  /** From the end of the process, as its parent hears of it. */
  readonly afterExit: number[];
  /** From its return until there were frames again. */
  readonly back: number[];
}

async function killedAgainAndAgain(shape: Shape): Promise<void> {
  const options = ['--auto-start', '--no-flush-rx', '--disable-link-check'];
  const wire = new Wire(shape);
  await wire.open(...options);
  const { port } = wire;
  let link: 'up' | 'down' | 'unknown' = port.link().status;
  let since = 0;
  port.on('link', ({ status }) => {
    link = status;
    since = performance.now();
  });
  const run = await wire.run([{ size: 200, rate: 100_000 }]);
  const received = () => total(run.stats(), 'received');
  await waitFor('frames flow', () => received() > 1000);
  const times: Times = { down: [], afterExit: [], back: [] };
  for (let i = 0; i < KILLS; i++) {
    const start = performance.now();
    let ended = 0;
    const exit = wire.peer.kill().then(() => {
      ended = performance.now();
      return ended;
    });
    await waitFor('the link is down', () => link === 'down', 5000).catch((error) => {
      const when = ended === 0 ? 'has not ended' : `ended ${ended - start} ms after the signal`;
      throw new Error(`${error.message}: testpmd ${when}`);
    });
    times.down.push(since - start);
    times.afterExit.push(since - (await exit));
    const before = received();
    wire.startPeer(...options);
    const returned = await theReturn(wire);
    const flowing = await waitFor('frames flow', () => received() > before, 5000).then(() => performance.now());
    expect(link).toBe('up');
    times.back.push(flowing - returned);
    await waitFor('many frames flow', () => received() > before + 2000, 5000);
  }
  const result = await run.stop();
  say(shape, times, result.errors);
  expect(result.ledger.errors).toEqual([]);
  expect(result.ledger.balanced).toBe(true);
  const { rx, tx } = result.ports[port.name]!;
  const figures = ['sent', 'received', 'ok', 'corrupt', 'foreign', 'duplicate', 'late', 'stale'] as const;
  const counted = Object.fromEntries(figures.map((name) => [name, total(result, name)]));
  expect(counted).toMatchObject({ corrupt: 0, foreign: 0, duplicate: 0, late: 0, stale: 0 });
  expect(rx.packets).toBe(BigInt(counted.received!));
  expect(tx.packets).toBe(BigInt(counted.sent!));
  // What we accepted left, or was taken back from a ring that nobody looks at any more.
  const { lost = 0n, stopped = 0n } = tx;
  expect(tx.completed! + lost + stopped).toBe(tx.packets);
  const gone = counted.sent! - counted.ok! - Number(lost + stopped);
  expect(gone).toBeGreaterThanOrEqual(0);
  // The last one is stopped as it is, too.
  expect(gone).toBeLessThanOrEqual((KILLS + 1) * shape.pairs * (2 * RING + BURST));
  // A kernel that is slow to take a process down hangs up late.
  for (const ms of times.afterExit) expect(ms).toBeLessThan(100);
  for (const ms of times.back) expect(ms).toBeLessThan(300);
}

/**
 * When a testpmd that was just started can be met: it has done its own start, or, where it listens as back end, it has
 * accepted us. DPDK looks only once a second whether somebody calls who was not expected when it looked before (its
 * poll of 1000 ms, lib/vhost/fd_man.c), and that is not for us to hurry.
 */
async function theReturn({ shape, path, peer }: Wire): Promise<number> {
  if (shape.end === 'front' && shape.role === 'calls') {
    await waitFor('it listens', () => existsSync(path), 15_000);
    const ms = await waitFor('it accepts', () => peer.has('new vhost user connection'));
    if (ms > 1300) process.stdout.write(`testpmd accepted after ${ms.toFixed(0)} ms\n`);
  } else await peer.says('testpmd> ', 15_000);
  return performance.now();
}

function say(shape: Shape, times: Times, errors: readonly Error[]): void {
  for (const error of errors) process.stdout.write(`${error.message}\n`);
  for (const [name, list] of Object.entries(times) as [string, number[]][]) {
    const sorted = list.toSorted((a, b) => a - b);
    const at = (part: number) => sorted[Math.min(sorted.length - 1, Math.floor(part * sorted.length))]!.toFixed(1);
    process.stdout.write(
      `testpmd is the ${shape.end === 'front' ? 'back' : 'front'} end, ${titleOf(shape)}: ${name}: ${list.length} times, ms: min ${at(0)}, median ${at(0.5)}, p90 ${at(0.9)}, max ${at(1)}\n`,
    );
  }
}

const KILLED: readonly Omit<Shape, 'end'>[] = [
  { rings: 'split', pairs: 1, role: 'calls', mergeable: true },
  { rings: 'packed', pairs: 1, role: 'listens', mergeable: true },
];

for (const end of ['front', 'back'] as const) {
  describe(`linecard is the ${end} end, testpmd the other`, () => {
    for (const shape of shapes(end)) {
      const title = `${SIZES.length * shape.pairs * FRAMES} frames come back as they were: ${titleOf(shape)}`;
      testWith('dpdk-testpmd', title, () => allComeBack(shape), 40_000);
    }
    for (const shape of KILLED) {
      const title = `testpmd is killed ${KILLS} times as frames flow, and they flow again: ${titleOf({ end, ...shape })}`;
      const kill = () => killedAgainAndAgain({ end, ...shape });
      if (KILLS > 0) testWith('dpdk-testpmd', title, kill, 40_000 + KILLS * 5000);
      else test.skip(`${title} (skipped: LINECARD_KILLS=50 runs it)`, kill);
    }
  });
}
