import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, it, vi } from 'vitest';
import { Heartbeats } from '../../lib/engine/heartbeats.ts';
import { threadState } from '../../lib/engine/thread-state.ts';
import type { Worker } from '../../lib/engine/worker.ts';
import { LONGEST_SLEEP_MS } from '../../workers/control.ts';

/** A worker as far as its heartbeat goes. This very thread is the one that runs. */
const fakeWorker = () => ({ alive: true, hears: true, killed: false, heartbeat: 1, tid: process.pid });
type Fake = ReturnType<typeof fakeWorker>;

describe('the watch', () => {
  let worker: Fake;
  let seen: string[];
  let watch: Heartbeats;
  beforeEach(() => {
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] });
    worker = fakeWorker();
    seen = [];
    watch = new Heartbeats(() => [worker as unknown as Worker], 1000, {
      hangs: () => seen.push('hangs'),
      stuck: () => seen.push('stuck'),
    });
    watch.start();
    vi.advanceTimersByTime(50); // between two looks
  });
  afterEach(() => {
    watch.stop();
    vi.useRealTimers();
  });

  /** Uses the cpu, so that this thread cannot be taken for one that starves. */
  const burn = (ms: number) => {
    const start = process.cpuUsage();
    const used = () => process.cpuUsage(start).user + process.cpuUsage(start).system;
    while (used() < ms * 1000);
  };

  it('says that a worker hangs when its heartbeat has not moved for so long, and it has had a cpu', () => {
    vi.advanceTimersByTime(1000);
    burn(300);
    expect(seen).toEqual([]);
    vi.advanceTimersByTime(100);
    expect(seen).toEqual(['hangs']);
  });

  it('does not blame one that waits for a cpu', () => {
    vi.advanceTimersByTime(20_000); // no time at all has passed for the thread
    expect(seen).toEqual([]);
    burn(300);
    vi.advanceTimersByTime(100);
    expect(seen).toEqual(['hangs']);
  });

  it('blames one that is not runnable: it waits in a system call', () => {
    worker.tid = 0; // of which the kernel knows nothing
    vi.advanceTimersByTime(1100);
    expect(seen).toEqual(['hangs']);
  });

  it('gives one that sleeps as long as it may sleep, and then as long as any', () => {
    Object.assign(worker, { asleep: true, tid: 0 });
    vi.advanceTimersByTime(LONGEST_SLEEP_MS + 1000);
    expect(seen).toEqual([]);
    vi.advanceTimersByTime(100);
    expect(seen).toEqual(['hangs']);
  });

  it('starts anew whenever the heartbeat moves', () => {
    worker.tid = 0;
    for (let i = 0; i < 20; i++) {
      vi.advanceTimersByTime(900);
      worker.heartbeat++;
    }
    expect(seen).toEqual([]);
  });

  it('counts looks, not time: a process that was stopped meanwhile sees one look', () => {
    worker.tid = 0;
    vi.advanceTimersByTime(900);
    vi.setSystemTime(Date.now() + 3_600_000);
    vi.advanceTimersByTime(100);
    expect(seen).toEqual([]);
  });

  it('leaves a worker alone that starts, however long that takes, and does not count it against it', () => {
    worker.tid = 0;
    worker.hears = false;
    vi.advanceTimersByTime(20_000);
    worker.hears = true;
    vi.advanceTimersByTime(900);
    expect(seen).toEqual([]);
  });

  it('says once that a killed thread has not ended', () => {
    Object.assign(worker, { hears: false, killed: true });
    vi.advanceTimersByTime(4900);
    expect(seen).toEqual([]);
    vi.advanceTimersByTime(10_000);
    expect(seen).toEqual(['stuck']);
  });

  it('says nothing of one that has ended', () => {
    Object.assign(worker, { alive: false, hears: false, killed: true, tid: 0 });
    vi.advanceTimersByTime(20_000);
    expect(seen).toEqual([]);
  });

  it('ends when it is stopped', () => {
    worker.tid = 0;
    watch.stop();
    vi.advanceTimersByTime(20_000);
    expect(seen).toEqual([]);
  });
});

describe('what the kernel says about a thread', () => {
  let proc: string;
  beforeEach(() => {
    proc = mkdtempSync(join(tmpdir(), 'linecard-proc-'));
    mkdirSync(join(proc, '7'));
  });
  afterEach(() => rmSync(proc, { recursive: true }));
  const stat = (name: string, state: string) =>
    writeFileSync(join(proc, '7', 'stat'), `7 (${name}) ${state} 1 2 3 4 5 6 7 8 9 10 250 50 0 0 20 0 11 0 1234\n`);

  it.each(['node', 'a) R 1', 'x (y)'])('is read whatever the thread is called: %s', (name) => {
    stat(name, 'S');
    expect(threadState(7, proc)).toEqual({ runnable: false, cpuMs: 3000, waitedMs: 0 });
    stat(name, 'R');
    expect(threadState(7, proc)).toEqual({ runnable: true, cpuMs: 3000, waitedMs: 0 });
  });

  it('is nothing when there is no such thread', () => {
    expect(threadState(8, proc)).toBeUndefined();
  });

  it('is true of this one', () => {
    expect(threadState(process.pid)).toMatchObject({ runnable: true, cpuMs: expect.any(Number) });
  });
});
