import { describe, expect, test } from 'vitest';
import { figures } from '../../lib/cli/figures.ts';
import { JOBS, stats } from '../fakes/run-stats.ts';

const SUBJECT = { ports: ['a', 'b'], jobs: JOBS };

describe('figures from two looks', () => {
  const before = stats({
    seconds: 2,
    a: { rx: { packets: 1000n, bytes: 60_000n }, tx: { packets: 10n, bytes: 600n } },
    frames: { dropped_tx_full: 5n },
    worker: { polls: 1000n, idlePolls: 900n, sleeps: 4n },
    packets: 1000n,
  });
  const now = stats({
    seconds: 4,
    a: { rx: { packets: 5000n, bytes: 300_000n }, tx: { packets: 10n, bytes: 600n } },
    frames: { dropped_tx_full: 25n },
    worker: { polls: 2000n, idlePolls: 1100n, sleeps: 10n },
    packets: 5000n,
  });

  test('rates are over the time between them, totals are totals', () => {
    const [a] = figures(SUBJECT, now, before).ports;
    expect(a.rx).toEqual({ packets: 5000n, bytes: 300_000n, pps: 2000, bps: 960_000 });
    expect(a.tx).toEqual({ packets: 10n, bytes: 600n, pps: 0, bps: 0 });
  });

  test('a worker’s polls hit or miss: the share of those that found packets', () => {
    const [first, second] = figures(SUBJECT, now, before).workers;
    expect(first).toMatchObject({
      worker: 0,
      cpu: 2,
      state: 'live',
      packets: 5000n,
      pps: 2000,
      pollsHit: 0.8,
      sleepsPerSecond: 3,
      jobs: [0],
    });
    expect(second).toMatchObject({ worker: 1, pollsHit: 0, pps: 0, jobs: [1] });
  });

  test('what a full tx queue drops is the tx port’s', () => {
    const [a, b] = figures(SUBJECT, now, before).ports;
    expect(b.drops.tx_full).toBe(25n);
    expect(b.dropsPerSecond).toBe(10);
    expect(a.drops.tx_full).toBe(0n);
  });

  test('without an earlier look rates are over all the time', () => {
    const { interval, ports, workers } = figures(SUBJECT, now);
    expect(interval).toBe(4);
    expect(ports[0].rx.pps).toBe(1250);
    expect(workers[0].pollsHit).toBeCloseTo(0.45);
  });

  test('two looks at the same moment divide by no zero', () => {
    const { ports, workers } = figures(SUBJECT, now, now);
    expect(ports[0].rx.pps).toBe(0);
    expect(workers[0].pollsHit).toBe(0);
  });

  test('links and the kernel’s counters are asked for by the ports’ names', () => {
    const link = { status: 'up', speed: 0, duplex: 'full', autoneg: false, media: 'memory' } as const;
    const { ports } = figures(SUBJECT, now, before, (name) =>
      name === 'b' ? { link: () => link, extraStats: () => ({ rx_dropped: 3n }) } : undefined,
    );
    expect(ports.map((port) => port.link)).toEqual([undefined, link]);
    expect(ports.map((port) => port.kernel)).toEqual([{}, { rx_dropped: 3n }]);
  });
});

describe('drops by reason', () => {
  test('the port’s own have their direction in the name; packets, bytes and completed are no drops', () => {
    const now = stats({
      a: { rx: { packets: 9n, runt: 2n }, tx: { packets: 9n, completed: 4n, runt: 3n, oversize: 1n } },
    });
    const [{ drops }] = figures(SUBJECT, now).ports;
    expect(drops).toMatchObject({ rx_runt: 2n, tx_runt: 3n, tx_oversize: 1n });
    expect(Object.keys(drops).filter((name) => /packets|bytes|completed/.test(name))).toEqual([]);
  });

  test('what an application filters is the rx port’s', () => {
    const [a, b] = figures(SUBJECT, stats({ frames: { dropped_filter: 7n, dropped_app_died: 2n } })).ports;
    expect(a.drops).toMatchObject({ filter: 7n, app_died: 2n });
    expect(b.drops.filter).toBe(0n);
  });

  test('each drop of an application belongs to one port only, however many it may send to', () => {
    const jobs = [{ ...JOBS[0], tx: ['a', 'b'] }, JOBS[1]];
    const now = stats({ frames: { dropped_tx_full: 3n, dropped_filter: 4n } });
    const all = figures({ ports: ['a', 'b'], jobs }, now).ports.flatMap(({ drops }) => Object.values(drops));
    expect(all.reduce((sum, n) => sum + n, 0n)).toBe(7n);
  });

  test('a generator’s are those of its first tx port', () => {
    const jobs = [{ app: { module: 'gen' }, tx: ['b', 'a'] }, JOBS[1]];
    const now = stats({ frames: { dropped_stopped: 3n } });
    expect(figures({ ports: ['a', 'b'], jobs }, now).ports.map(({ drops }) => drops.stopped)).toEqual([undefined, 3n]);
  });
});
