import { describe, expect, it } from 'vitest';
import { makeCounters, readCounters } from '../../lib/arena/counters.ts';
import { DROP } from '../../lib/queue.ts';
import { JOB, JOB_BYTES, JOB_COUNTERS } from '../../workers/control.ts';
import { countRx, countTx, makeBurst, makeFrames, noRx } from '../../workers/frames.ts';
import { heldIn, writeOff } from '../../workers/ledger.ts';
import { fakeFrames, fakeRing } from '../fakes/queues.ts';

/** A job's frames over a fake pool, and its books. */
function makeJob(frames = 64) {
  const pool = fakeFrames(frames);
  const memory = new SharedArrayBuffer(JOB_BYTES);
  const count = makeCounters(memory, JOB.counters * 4, JOB_COUNTERS.length);
  const ledger = () => readCounters(memory, JOB.counters * 4, JOB_COUNTERS);
  // What the fake pool gives a driver is the ring's; what it gives a job is the application's.
  const stack = {
    ...pool.stack,
    take(offsets: Int32Array, at: number, wanted: number) {
      const n = Math.min(wanted, pool.count('free'));
      for (let i = 0; i < n; i++) offsets[at + i] = pool.pop('app');
      return n;
    },
    give(offsets: Int32Array, from: number, to: number) {
      for (let i = from; i < to; i++) pool.pass(offsets[i], 'app', 'free');
    },
  };
  return { pool, memory, count, ledger, frames: makeFrames(pool.memory, stack, count) };
}
/** Only what is not zero. */
const some = (ledger: Record<string, bigint>) => Object.fromEntries(Object.entries(ledger).filter(([, n]) => n !== 0n));

describe("a job's frames", () => {
  it('are counted when they are allocated, freed and dropped, each under its own name', () => {
    const { frames, ledger, memory, pool } = makeJob();
    const burst = frames.burst(10);
    expect(frames.allocate(burst, 0, 10)).toBe(10);
    expect(heldIn(memory, 0)).toBe(10);
    frames.free(burst, 0, 3);
    frames.drop(burst, 3, 5, DROP.tx_full);
    frames.drop(burst, 5, 6, DROP.filter);
    frames.drop(burst, 6, 8, DROP.malformed);
    frames.drop(burst, 8, 9, DROP.no_frame);
    expect(some(ledger())).toEqual({
      ...{ allocated: 10n, consumed: 3n },
      ...{ dropped_tx_full: 2n, dropped_filter: 1n, dropped_malformed: 2n, dropped_no_frame: 1n },
    });
    expect(heldIn(memory, 0)).toBe(1);
    expect(pool.count('free')).toBe(63);
  });

  it.each([DROP.app_died, DROP.stopped, 6, -1, 1e9, Number.NaN])(
    'dropped for reason %s, which is not theirs to give, count as filtered',
    (reason) => {
      const { frames, ledger } = makeJob();
      const burst = frames.burst(2);
      frames.allocate(burst, 0, 2);
      frames.drop(burst, 0, 2, reason);
      expect(some(ledger())).toEqual({ allocated: 2n, dropped_filter: 2n });
    },
  );

  it('are as many as there are, and as fit the burst', () => {
    const { frames, ledger } = makeJob(5);
    const burst = frames.burst(8);
    expect(frames.allocate(burst, 6, 4)).toBe(2);
    expect(frames.allocate(burst, 0, 4)).toBe(3);
    expect(frames.allocate(burst, 0, 4)).toBe(0);
    expect(some(ledger())).toEqual({ allocated: 5n });
  });

  it('from an empty range are none', () => {
    const { frames, ledger } = makeJob();
    const burst = frames.burst(2);
    frames.free(burst, 1, 1);
    frames.drop(burst, 2, 1, DROP.filter);
    expect(some(ledger())).toEqual({});
  });
});

describe("a job's queues", () => {
  it('count what they deliver and accept, no more and no less', () => {
    const { frames, ledger, pool, count } = makeJob();
    const ring = fakeRing(pool, 3);
    const tx = countTx(ring.tx, count);
    const rx = countRx(ring.rx, count);
    const burst = frames.burst(8);
    frames.allocate(burst, 0, 5);
    burst.lengths.fill(60);
    expect(tx.transmit(burst, 0, 5)).toBe(3); // the ring is full
    expect(tx.transmit(burst, 3, 5)).toBe(0);
    expect(rx.receive(burst)).toBe(3);
    expect(rx.receive(burst)).toBe(0);
    expect(some(ledger())).toEqual({ allocated: 5n, accepted: 3n, delivered: 3n });
  });

  it('pass on everything else', () => {
    const { pool, count } = makeJob();
    const ring = fakeRing(pool);
    const calls: string[] = [];
    const note = (name: string) => () => {
      calls.push(name);
      return true as never;
    };
    const rx = countRx(
      { ...ring.rx, fd: 9, patient: true, quiesce: note('quiesce'), arm: note('arm'), disarm: note('disarm') },
      count,
    );
    const tx = countTx({ ...ring.tx, kick: note('kick'), reclaim: note('reclaim') }, count);
    expect([rx.fd, rx.patient, rx.arm()]).toEqual([9, true, true]);
    rx.quiesce();
    rx.disarm();
    tx.kick();
    tx.reclaim();
    expect(calls).toEqual(['arm', 'quiesce', 'disarm', 'kick', 'reclaim']);
  });

  it('of a job without any are always empty, and never keep it awake', () => {
    const burst = makeBurst(4);
    burst.count = 3;
    expect([noRx.receive(burst), burst.count, noRx.arm(), noRx.fd]).toEqual([0, 0, false, -1]);
  });
});

describe('writing off', () => {
  it('counts all that is held, once', () => {
    const { frames, ledger, memory } = makeJob();
    const burst = frames.burst(4);
    frames.allocate(burst, 0, 4);
    writeOff(memory, 0, DROP.app_died);
    writeOff(memory, 0, DROP.stopped);
    expect(some(ledger())).toEqual({ allocated: 4n, dropped_app_died: 4n });
    expect(heldIn(memory, 0)).toBe(0);
  });

  it('counts no more than it is told, and nothing below zero', () => {
    const { frames, ledger, memory } = makeJob();
    const burst = frames.burst(4);
    frames.allocate(burst, 0, 4);
    writeOff(memory, 0, DROP.stopped, 3);
    writeOff(memory, 0, DROP.stopped, -3);
    expect(some(ledger())).toEqual({ allocated: 4n, dropped_stopped: 3n });
  });
});
