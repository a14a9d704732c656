import { type ChildProcess, spawn } from 'node:child_process';
import { readdirSync, readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { type Engine, openEngine, type Run } from 'linecard';
import { expect } from 'vitest';
import { end } from '../fakes/bridge.ts';
import { openFds } from '../fakes/fds.ts';
import { dropWire, makeWire, sh, testAsRoot, type Wire, waitFor } from '../fakes/netns.ts';

/** Ten minutes before a release: LINECARD_SOAK_S=600. */
const SECONDS = Number(process.env.LINECARD_SOAK_S ?? 10);

/** Losses after which everything has been used once. */
const WARM = 4;

const kib = (bytes: number): string => `${Math.round(bytes / 1024)} KiB`;

/** Numbers that depend on the seed alone: what failed can be done again. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % below;
  };
}

/** What must not grow. All but the last two to the last one; those by less than `ROOM`. */
interface Holdings {
  /** Descriptors by kind, but for the pipes of children. */
  readonly fds: Readonly<Record<string, number>>;
  /** Mappings of files: of the arena, and of rings. */
  readonly maps: Readonly<Record<string, number>>;
  readonly threads: number;
  readonly arena: unknown;
  /** What JavaScript holds after a collection, in bytes. */
  readonly heap: number;
  /** What the process holds beyond V8's own pages, which V8 keeps as it likes. */
  readonly beside: number;
}

/**
 * Code that V8 compiles later, and pages that it and malloc keep for a while: in ten minutes, with 359 losses, the heap grew by
 * 1.9 MiB, nearly all of it compiled code, and the rest wandered between 0 and 45 MiB more than at first. A port's rings and
 * maps alone would be 200 KiB each time.
 */
const ROOM = { heap: 4 * 2 ** 20, beside: 48 * 2 ** 20 };

setFlagsFromString('--expose-gc');
const collect = runInNewContext('gc') as () => void;

function countBy(list: Iterable<string>): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const kind of [...list].sort()) counts[kind] = (counts[kind] ?? 0) + 1;
  return counts;
}

async function holdings(engine: Engine): Promise<Holdings> {
  // What one collection finds dead lets another thread give it back; what that had is dead in the next.
  for (let i = 0; i < 3; i++) {
    collect();
    await sleep(50);
  }
  const kindOf = (target: string) => target.replace(/\d+|\/proc\/.*/g, '');
  const paths = readFileSync('/proc/self/maps', 'utf8').matchAll(/^\S+ \S+ \S+ \S+ \S+ +([/a-z].*)$/gm);
  const { rss, heapTotal, heapUsed, external } = process.memoryUsage();
  return {
    fds: countBy([...openFds().values()].filter((target) => !target.startsWith('pipe:')).map(kindOf)),
    maps: countBy([...paths].map(([, path]) => kindOf(path!)).filter((kind) => !/\.(so|node)|\/node$/.test(kind))),
    threads: readdirSync('/proc/self/task').length,
    arena: engine.arena.used,
    heap: heapUsed + external,
    beside: rss - heapTotal,
  };
}

testAsRoot(
  `Links flap, vanish, move and come back at random under load for ${SECONDS} s: nothing dies, nothing is lost, nothing grows`,
  async () => {
    const pick = random(Number(process.env.LINECARD_SEED ?? 1));
    const wires: [Wire, Wire] = [makeWire(1), makeWire(2)];
    const floods: ChildProcess[] = [];
    const engine = await openEngine({ frames: 16_384 });
    const app = { module: 'l2fwd', options: { macUpdating: false } };
    const deaths: Error[] = [];
    let forwarded = 0n;
    let losses = 0;

    const begin = async (): Promise<Run> => {
      for (const { name } of wires) if (!engine.ports.has(`xdp:${name}`)) await engine.open(`xdp:${name}`);
      const names = wires.map(({ name }) => `xdp:${name}`);
      const jobs = [0, 1].map((side) => ({ app, rx: { port: names[side]! }, tx: [names[1 - side]!], group: '0' }));
      const run = await engine.run(jobs);
      run.on('worker-failed', (_, error) => deaths.push(error));
      for (const child of floods.splice(0)) end(child);
      for (const [from, to] of [
        [0, 1],
        [1, 0],
      ] as const) {
        floods.push(
          spawn('ip', ['netns', 'exec', wires[from].space, 'ping', '-f', '-w', '600', wires[to].address], {
            stdio: 'ignore',
          }),
        );
      }
      return run;
    };
    const finish = async (run: Run): Promise<void> => {
      const { ledger, errors, jobs } = await run.stop();
      expect(ledger.errors).toEqual([]);
      for (const error of errors) expect((error as { code?: string }).code).toBe('PORT_LOST');
      forwarded += jobs.reduce((sum, { frames }) => sum + frames.accepted!, 0n);
    };

    const actions: ((wire: Wire) => boolean)[] = [
      ({ name }) => {
        sh(`ip link set ${name} down`);
        sh(`ip link set ${name} up`);
        return false;
      },
      ({ space }) => {
        sh(`ip -n ${space} link set eth0 down`);
        sh(`ip -n ${space} link set eth0 up`);
        return false;
      },
      ({ name }) => Boolean(sh(`ip link del ${name}`)) || true,
      ({ name, space }) => Boolean(sh(`ip link set ${name} netns ${space}`)) || true,
      ({ name }) => {
        sh(`ip link set ${name} down`);
        sh(`ip link set ${name} name ${name}r`);
        return true;
      },
    ];

    try {
      let run = await begin();
      let warm: Holdings | undefined;
      const from = performance.now();
      while (performance.now() - from < SECONDS * 1000) {
        await sleep(pick(200));
        const side = pick(2) as 0 | 1;
        const wire = wires[side];
        if (!actions[pick(actions.length)]!(wire)) continue;
        losses++;
        await waitFor('the port has gone', () => !engine.ports.has(`xdp:${wire.name}`));
        await finish(run);
        dropWire({ ...wire, name: `${wire.name}r` });
        dropWire(wire);
        wires[side] = makeWire(side + 1);
        run = await begin();
        if (losses === WARM) warm = await holdings(engine);
        if (SECONDS > 60 && losses % 50 === 0)
          console.info(`${losses} losses: ${JSON.stringify(await holdings(engine))}`);
      }
      await waitFor(
        'packets flow at the end',
        () => run.stats().jobs.every(({ frames }) => frames.accepted! > 0n),
        10_000,
      );
      expect(deaths).toEqual([]);
      expect(losses).toBeGreaterThan(WARM);
      const { heap: warmHeap, beside: warmBeside, ...then } = warm!;
      let last = await holdings(engine);
      // What wanders comes back; a leak does not.
      for (let i = 0; i < 20 && last.beside - warmBeside >= ROOM.beside; i++) last = await holdings(engine);
      const { heap, beside, ...now } = last;
      console.info(
        `${losses} losses: heap ${kib(warmHeap)} to ${kib(heap)}, beside it ${kib(warmBeside)} to ${kib(beside)}; ${JSON.stringify(now)}`,
      );
      expect(now).toEqual(then);
      expect(heap - warmHeap).toBeLessThan(ROOM.heap);
      expect(beside - warmBeside).toBeLessThan(ROOM.beside);
      await finish(run);
      expect(forwarded).toBeGreaterThan(0n);
    } finally {
      for (const child of floods) end(child);
      await engine.close();
      for (const wire of wires) dropWire(wire);
    }
  },
  60_000 + SECONDS * 1000,
);
