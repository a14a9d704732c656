import { describe, expect, it } from 'vitest';
import { WorkQueue } from '../../lib/framework/work-queue.ts';
import { deferred, rejection } from '../fakes/framework.ts';

describe('the work queue', () => {
  it('runs nothing before add has returned, then one job after the other, in order', async () => {
    const queue = new WorkQueue();
    const seen: string[] = [];
    const job = (name: string) => async () => {
      seen.push(`${name} begins`);
      await null;
      await null;
      seen.push(`${name} ends`);
    };
    void queue.add(job('a'));
    void queue.add(job('b'));
    expect(seen).toEqual([]);
    await queue.idle();
    expect(seen).toEqual(['a begins', 'a ends', 'b begins', 'b ends']);
  });

  it('a job that is added by a job runs after it', async () => {
    const queue = new WorkQueue();
    const seen: string[] = [];
    void queue.add(async () => {
      void queue.add(async () => void seen.push('inner'));
      await null;
      seen.push('outer');
    });
    await queue.idle();
    expect(seen).toEqual(['outer', 'inner']);
  });

  it('gives results and errors to whom they belong, and goes on after an error', async () => {
    const queue = new WorkQueue();
    const failing = queue.add(() => Promise.reject(new Error('no')));
    const throwing = queue.add(() => {
      throw new Error('never');
    });
    const working = queue.add(async () => 7);
    expect((await rejection(failing)).message).toBe('no');
    expect((await rejection(throwing)).message).toBe('never');
    expect(await working).toBe(7);
  });

  it('is idle only when nothing runs or waits', async () => {
    const queue = new WorkQueue();
    await queue.idle();
    const gate = deferred();
    let idle = false;
    void queue.add(() => gate.promise);
    const waited = queue.idle().then(() => {
      idle = true;
    });
    await new Promise((resolve) => setTimeout(resolve, 5));
    expect(idle).toBe(false);
    gate.resolve();
    await waited;
    expect(idle).toBe(true);
  });
});
