import { describe, expect, it } from 'vitest';
import type { Crew } from '../../lib/engine/crew.ts';
import { drain, halt } from '../../lib/engine/ending.ts';
import { asWorkers, FakeWorker } from '../fakes/workers.ts';

/** A crew whose one job has moved `moves()` frames. */
const crewOf = (workers: FakeWorker[], moves: () => bigint = () => 0n): Crew =>
  ({ workers: asWorkers(...workers), jobs: [{ index: 0, worker: { memory: { moves } } }] }) as unknown as Crew;

describe('draining', () => {
  it('tells the workers to start nothing new', async () => {
    const workers = [new FakeWorker(), new FakeWorker()];
    await drain(crewOf(workers), 10);
    expect(workers.map((worker) => worker.told)).toEqual([['quiesce'], ['quiesce']]);
  });

  it('waits until nothing has moved while every worker has looked, and wakes them for that', async () => {
    const worker = new FakeWorker();
    let moved = 0n;
    worker.onWake = () => {
      worker.heartbeat++;
      if (worker.wakes < 20) moved++;
    };
    await drain(
      crewOf([worker], () => moved),
      60_000,
    );
    expect(moved).toBe(19n);
    expect(worker.wakes).toBeGreaterThanOrEqual(23);
    expect(worker.wakes).toBeLessThan(40);
  });

  it('does not take a worker that gets no cpu for one that has nothing to do', async () => {
    const [quick, slow] = [new FakeWorker(), new FakeWorker()];
    let moved = 0n;
    quick.onWake = () => quick.heartbeat++;
    slow.onWake = () => {
      if (slow.wakes === 30) {
        slow.heartbeat++;
        moved = 1n; // only now it comes to look, and finds something
      } else if (slow.wakes > 30) slow.heartbeat++;
    };
    await drain(
      crewOf([quick, slow], () => moved),
      60_000,
    );
    expect(moved).toBe(1n);
  });

  it('waits no longer than it is told', async () => {
    const worker = new FakeWorker();
    let moved = 0n;
    const start = performance.now();
    await drain(
      crewOf([worker], () => moved++),
      30,
    );
    expect(performance.now() - start).toBeLessThan(5000);
    expect(worker.told).toEqual(['quiesce']);
  });

  it('does not wait for a worker that hangs or has died', async () => {
    const [dead, living] = [new FakeWorker(), new FakeWorker()];
    living.onWake = () => living.heartbeat++;
    dead.end();
    await drain(crewOf([dead, living]), 60_000);
    expect(dead.told).toEqual([]);
  });
});

describe('halting', () => {
  it('has the workers leave', async () => {
    const workers = [new FakeWorker(), new FakeWorker()];
    await halt(crewOf(workers));
    expect(workers.map(({ alive, told, kills }) => [alive, told, kills])).toEqual([[false, ['leave'], []], [false, ['leave'], []]]); // biome-ignore format: a table
  });

  it('ends those that do not', async () => {
    const deaf = new FakeWorker();
    deaf.deaf = true;
    await halt(crewOf([deaf]));
    expect([deaf.alive, deaf.kills]).toEqual([false, ['WORKER_STALLED']]);
  });
});
