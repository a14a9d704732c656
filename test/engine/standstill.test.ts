import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, it } from 'vitest';
import { Standstill } from '../../lib/engine/standstill.ts';
import { COMMAND } from '../../workers/control.ts';
import { asWorkers, FakeWorker } from '../fakes/workers.ts';

const make = (...workers: FakeWorker[]) => new Standstill(() => asWorkers(...workers));

describe('while all stand still', () => {
  it('something is done, and then they go on with what they did', async () => {
    const workers = [new FakeWorker(), new FakeWorker()];
    workers[1].command(COMMAND.quiesce);
    let seen: string[] = [];
    expect(
      await make(...workers).during(() => {
        seen = workers.map((worker) => worker.told.at(-1) ?? '');
      }),
    ).toBe(true);
    expect(seen).toEqual(['pause', 'pause']);
    expect(workers.map((worker) => worker.told.at(-1))).toEqual(['run', 'quiesce']);
  });

  it('what they are told meanwhile is told them afterwards', async () => {
    const worker = new FakeWorker();
    const still = make(worker);
    const held = still.during(() => {});
    await Promise.resolve();
    worker.command(COMMAND.leave);
    expect(worker.told.at(-1)).toBe('pause');
    await held;
    expect(worker.told).toEqual(['pause', 'leave']);
  });

  it('the dead are not waited for', async () => {
    const [alive, dead] = [new FakeWorker(), new FakeWorker()];
    dead.end();
    expect(await make(alive, dead).during(() => {})).toBe(true);
    expect(dead.told).toEqual([]);
  });

  it('one at a time', async () => {
    const still = make(new FakeWorker());
    const order: number[] = [];
    await Promise.all([1, 2, 3].map((n) => still.during(() => void order.push(n))));
    expect(order).toEqual([1, 2, 3]);
  });

  it('not again before everybody has polled in between: a row of short standstills is no long one', async () => {
    const [worker, other] = [new FakeWorker(), new FakeWorker()];
    worker.polls = false;
    const still = make(worker, other);
    const done: number[] = [];
    const all = Promise.all([1, 2].map((n) => still.during(() => void done.push(n))));
    await sleep(20);
    expect(done).toEqual([1]);
    expect(worker.told).toEqual(['pause', 'run']);
    worker.heartbeat += 1; // its wait is over, no more
    await sleep(20);
    expect(done).toEqual([1]);
    worker.heartbeat += 1;
    await all;
    expect(done).toEqual([1, 2]);
  });

  it('again after a while when somebody does not poll, and at once when that one has ended', async () => {
    const worker = new FakeWorker();
    worker.polls = false;
    const still = make(worker);
    await still.during(() => {});
    const start = performance.now();
    expect(await still.during(() => {})).toBe(true);
    expect(performance.now() - start).toBeGreaterThan(150);
    worker.end();
    const end = performance.now();
    expect(await still.during(() => {})).toBe(true);
    expect(performance.now() - end).toBeLessThan(100);
  });

  it('an error of what is done lets them go on, and the next one too', async () => {
    const worker = new FakeWorker();
    const still = make(worker);
    const bad = still.during(() => {
      throw new Error('bad');
    });
    await expect(bad).rejects.toThrow('bad');
    expect(worker.told.at(-1)).toBe('run');
    expect(await still.during(() => {})).toBe(true);
  });
});

describe('nothing is done', () => {
  const never = () => expect.fail('it was done');

  it('when one does not stand still; the others go on', async () => {
    const [deaf, other] = [new FakeWorker(), new FakeWorker()];
    deaf.deaf = true;
    expect(await make(deaf, other).during(never)).toBe(false);
    expect(other.told).toEqual(['pause', 'run']);
  });

  it('when one is starting or being ended: then nobody is disturbed at all', async () => {
    const [starting, other] = [new FakeWorker(), new FakeWorker()];
    starting.hears = false;
    expect(await make(starting, other).during(never)).toBe(false);
    expect(other.told).toEqual([]);
  });

  it('when one starts meanwhile', async () => {
    const [first, second] = [new FakeWorker(), new FakeWorker()];
    second.alive = false;
    first.acted = async () => {
      second.alive = true;
      return true;
    };
    expect(await make(first, second).during(never)).toBe(false);
  });
});

describe('what has to be done', () => {
  it('is tried again', async () => {
    const worker = new FakeWorker();
    worker.deaf = true;
    setTimeout(() => {
      worker.deaf = false;
    }, 30);
    let done = 0;
    expect(await make(worker).insist(() => void done++, 10_000)).toBe(true);
    expect([done, worker.kills]).toEqual([1, []]);
  });

  it('is done without whoever does not stand still', async () => {
    const [deaf, other] = [new FakeWorker(), new FakeWorker()];
    deaf.deaf = true;
    let done = 0;
    expect(await make(deaf, other).insist(() => void done++, 20)).toBe(true);
    expect([done, deaf.kills, other.kills, other.told.at(-1)]).toEqual([1, ['WORKER_STALLED'], [], 'run']);
  });

  it('is not done when that one cannot be ended', async () => {
    const deaf = new FakeWorker();
    Object.assign(deaf, { deaf: true, endsAfterMs: 1000 });
    expect(await make(deaf).insist(() => expect.fail('it was done'), 20)).toBe(false);
  });
});

it('over: when nobody stands still any more', async () => {
  const worker = new FakeWorker();
  const still = make(worker);
  void still.during(() => {});
  await still.over();
  expect(worker.told).toEqual(['pause', 'run']);
});
