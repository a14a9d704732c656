import { type ChildProcess, spawn } from 'node:child_process';
import { setTimeout as sleep } from 'node:timers/promises';
import { openEngine, type Run } from 'linecard';
import { expect } from 'vitest';
import { end } from '../fakes/bridge.ts';
import { openFds } from '../fakes/fds.ts';
import { dropWire, makeWire, sh, testAsRoot, type Wire, waitFor } from '../fakes/netns.ts';

/** Ten minutes before a release: LINECARD_SOAK_S=600. */
const SECONDS = Number(process.env.LINECARD_SOAK_S ?? 10);

/** Numbers that depend on the seed alone: what failed can be done again. */
function random(seed: number): (below: number) => number {
  let state = seed;
  return (below) => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return (state >>> 8) % below;
  };
}

/** Descriptors but for the pipes of children. */
const fds = (): number => [...openFds().values()].filter((target) => !target.startsWith('pipe:')).length;

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
      let base: { fds: number; arena: unknown; rss: number } | undefined;
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
        if (losses === 3) base = { fds: fds(), arena: engine.arena.used, rss: process.memoryUsage().rss };
      }
      await waitFor(
        'packets flow at the end',
        () => run.stats().jobs.every(({ frames }) => frames.accepted! > 0n),
        10_000,
      );
      expect(deaths).toEqual([]);
      expect(losses).toBeGreaterThan(3);
      expect(fds()).toBe(base!.fds);
      expect(engine.arena.used).toEqual(base!.arena);
      // Garbage that was not collected yet is no growth; a leak of a port's memory each time would be far more.
      expect(process.memoryUsage().rss - base!.rss).toBeLessThan(100 * 1024 * 1024);
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
