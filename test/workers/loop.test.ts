import { describe, expect, it } from 'vitest';
import { readCounters } from '../../lib/arena/counters.ts';
import { CONTROL, STATE, WORKER_COUNTERS } from '../../workers/control.ts';
import { type Loop, makeLoop, type Work } from '../../workers/loop.ts';
import type { PollMode } from '../../workers/plan.ts';
import { armedRx, type FakeWorker, fakeWorker, notedTx } from '../fakes/loop.ts';

/** Rounds between two looks at the control word. */
const SLICE = 32;
const SLEEP_US = 100_000;

function make(mode: PollMode, work: (worker: FakeWorker) => Partial<Work>, idleUs?: number): [FakeWorker, Loop] {
  const worker = fakeWorker(mode, idleUs);
  const loop = makeLoop(worker.plan, worker.clock, worker.native);
  loop.work = { polls: [], rx: [], tx: [], ...work(worker) };
  return [worker, loop];
}

const counters = ({ plan }: FakeWorker) =>
  readCounters(plan.wasm.buffer, plan.control + CONTROL.counters * 4, WORKER_COUNTERS);

describe('a round', () => {
  it('calls every job in order, then kicks every tx queue; a slice ends with reclaiming', () => {
    const [{ journal }, loop] = make('busy', ({ journal: j }) => ({
      polls: ['a', 'b'].map((name) => () => j.push(`poll ${name}`)),
      tx: [notedTx(j, 'x'), notedTx(j, 'y')],
    }));
    expect(loop.run(1, SLEEP_US)).toBe('slices');
    const round = ['poll a', 'poll b', 'kick x', 'kick y'];
    expect(journal).toEqual([...Array.from({ length: SLICE }, () => round).flat(), 'reclaim x', 'reclaim y']);
  });

  it('is counted, and apart from that when it found nothing', () => {
    let calls = 0;
    const [worker, loop] = make('busy', () => ({ polls: [() => (++calls % 4 === 0 ? 5 : 0)] }));
    loop.run(10, SLEEP_US);
    expect(counters(worker)).toEqual({ polls: 320n, idlePolls: 240n, sleeps: 0n, interrupts: 0n });
  });

  it.each([undefined, Number.NaN, 'x', {}])(
    'takes a burst function that returns %s for one that found nothing',
    (result) => {
      const [worker, loop] = make('busy', () => ({ polls: [() => result as number] }));
      loop.run(1, SLEEP_US);
      expect(counters(worker).idlePolls).toBe(32n);
    },
  );

  it('moves the heartbeat once per slice', () => {
    const [{ words }, loop] = make('busy', () => ({ polls: [() => 1] }));
    words[CONTROL.heartbeat] = 0x7fff_ffff;
    loop.run(3, SLEEP_US);
    expect(words[CONTROL.heartbeat]).toBe(-0x7fff_fffe); // it wraps
  });
});

describe('the loop is left', () => {
  it('when the main thread commands something, after the slice that runs', () => {
    let calls = 0;
    const [{ words }, loop] = make('busy', () => ({
      polls: [
        () => {
          if (++calls === 40) words[CONTROL.command] = 3;
          return 1;
        },
      ],
    }));
    expect(loop.run(100, SLEEP_US)).toBe('command');
    expect(calls).toBe(2 * SLICE);
  });

  it('not for the command that it has acted on already', () => {
    const [{ words }, loop] = make('busy', () => ({ polls: [() => 1] }));
    words[CONTROL.command] = 1;
    words[CONTROL.acknowledged] = 1;
    expect(loop.run(2, SLEEP_US)).toBe('slices');
  });

  it('when there is mail, and not for mail that has been read', () => {
    const [{ words }, loop] = make('busy', () => ({ polls: [() => 1] }));
    words[CONTROL.posted] = 2;
    expect(loop.run(100, SLEEP_US)).toBe('mail');
    words[CONTROL.read] = 2;
    expect(loop.run(2, SLEEP_US)).toBe('slices');
  });

  it('at once, asleep or not, for a command that came before', () => {
    const [{ words, journal }, loop] = make('interrupt', ({ journal: j }) => ({
      polls: [() => 0],
      rx: [armedRx(j, 'r')],
    }));
    words[CONTROL.command] = 2;
    expect(loop.run(100, SLEEP_US)).toBe('command');
    expect(journal).toEqual([]);
  });

  it('when a burst function throws, and says which', () => {
    const error = new Error('burst');
    const [, loop] = make('busy', () => ({
      polls: [
        () => 1,
        () => {
          throw error;
        },
        () => 1,
      ],
    }));
    expect(loop.run(100, SLEEP_US)).toBe('threw');
    expect(loop.thrown).toEqual({ job: 1, error });
  });

  it("when a queue's own code throws: no job is to blame", () => {
    const tx = notedTx([], 'x');
    const [, loop] = make('busy', () => ({ polls: [() => 1, () => 1], tx: [{ ...tx, kick: () => { throw new Error('kick'); } }] })); // biome-ignore format: one line
    expect(loop.run(100, SLEEP_US)).toBe('threw');
    expect(loop.thrown).toMatchObject({ job: -1, error: { message: 'kick' } });
    loop.work = { ...loop.work, tx: [{ ...tx, reclaim: () => { throw new Error('reclaim'); } }] }; // biome-ignore format: one line
    expect(loop.run(100, SLEEP_US)).toBe('threw');
    expect(loop.thrown).toMatchObject({ job: -1, error: { message: 'reclaim' } });
  });

  it('and can be entered again with other work', () => {
    const [{ journal }, loop] = make('busy', ({ journal: j }) => ({ polls: [() => j.push('old')] }));
    loop.run(1, SLEEP_US);
    loop.work = { polls: [() => journal.push('new')], rx: [], tx: [] };
    loop.run(1, SLEEP_US);
    expect(journal).toEqual([...Array(SLICE).fill('old'), ...Array(SLICE).fill('new')]);
  });
});

describe('busy', () => {
  it('never sleeps', () => {
    const [worker, loop] = make('busy', ({ journal }) => ({ polls: [() => 0], rx: [armedRx(journal, 'r')] }));
    loop.run(1000, SLEEP_US);
    expect(worker.journal).toEqual([]);
    expect(worker.words[CONTROL.state]).toBe(0);
  });
});

describe('interrupt', () => {
  it('arms all, sleeps, and disarms all, in this order', () => {
    const [{ journal }, loop] = make('interrupt', ({ journal: j }) => ({
      polls: [() => 0],
      rx: [armedRx(j, 'a'), armedRx(j, 'b')],
    }));
    loop.run(1, SLEEP_US);
    expect(journal).toEqual(['arm a', 'arm b', `wait 7 ${SLEEP_US}`, 'disarm a', 'disarm b']);
  });

  it('waits for what is only to be waited for asleep during the sleep, and at no other time', () => {
    const of = (waiting: boolean) =>
      make('interrupt', ({ journal }) => ({
        polls: [() => 0],
        rx: [{ ...armedRx(journal, 'a', () => waiting, 5), onlyAsleep: true }, armedRx(journal, 'b')],
      }));
    const [worker, loop] = of(false);
    loop.run(1, SLEEP_US);
    expect(worker.journal).toEqual([
      'arm a',
      'arm b',
      'watch 7 5',
      `wait 7 ${SLEEP_US}`,
      'leave 7 5',
      'disarm a',
      'disarm b',
    ]);
    const [awake, busy] = of(true);
    busy.run(1, SLEEP_US);
    expect(awake.journal).toEqual(['arm a', 'arm b', 'disarm a', 'disarm b']);
  });

  it('arms every queue even when the first has something, and does not sleep', () => {
    const [worker, loop] = make('interrupt', ({ journal: j }) => ({
      polls: [() => 0],
      rx: [armedRx(j, 'a', () => true), armedRx(j, 'b')],
    }));
    loop.run(1, SLEEP_US);
    expect(worker.journal).toEqual(['arm a', 'arm b', 'disarm a', 'disarm b']);
    expect(counters(worker).sleeps).toBe(0n);
  });

  it('does not sleep while there is work', () => {
    const [worker, loop] = make('interrupt', ({ journal }) => ({ polls: [() => 1], rx: [armedRx(journal, 'r')] }));
    loop.run(100, SLEEP_US);
    expect(worker.journal).toEqual([]);
  });

  it('looks at command and mail between arming and sleeping: a call that comes then is not slept through', () => {
    for (const [word, reason] of [
      [CONTROL.command, 'command'],
      [CONTROL.posted, 'mail'],
    ] as const) {
      // biome-ignore format: a table
      const [{ words, journal }, loop] = make('interrupt', ({ journal: j }) => {
        const call = () => {
          words[word] = 4;
          return false;
        };
        return { polls: [() => 0], rx: [armedRx(j, 'r', call)] };
      });
      expect(loop.run(100, SLEEP_US)).toBe(reason);
      expect(journal).toEqual(['arm r', 'disarm r']);
    }
  });

  it('says that it is asleep before it looks, and that it is awake when it is', () => {
    const states: number[] = [];
    const [worker, loop] = make('interrupt', ({ journal, words }) => ({
      polls: [() => 0],
      rx: [
        armedRx(journal, 'r', () => {
          states.push(words[CONTROL.state]);
          return false;
        }),
      ],
    }));
    worker.onWait = () => states.push(worker.words[CONTROL.state]);
    loop.run(1, SLEEP_US);
    expect([...states, worker.words[CONTROL.state]]).toEqual([STATE.asleep, STATE.asleep, STATE.live]);
  });

  it('counts sleeps, and those that an interrupt ended', () => {
    const [worker, loop] = make('interrupt', ({ journal }) => ({ polls: [() => 0], rx: [armedRx(journal, 'r')] }));
    let wakes = 0;
    worker.onWait = () => (++wakes % 3 === 0 ? 1 : 0);
    loop.run(9, SLEEP_US);
    expect(counters(worker)).toMatchObject({ sleeps: 9n, interrupts: 3n });
  });

  it('moves the heartbeat asleep too', () => {
    const [worker, loop] = make('interrupt', ({ journal }) => ({ polls: [() => 0], rx: [armedRx(journal, 'r')] }));
    loop.run(5, SLEEP_US);
    expect(worker.words[CONTROL.heartbeat]).toBe(10);
  });

  it('sleeps a millisecond at most while a queue cannot interrupt', () => {
    const [{ journal }, loop] = make('interrupt', ({ journal: j }) => ({
      polls: [() => 0],
      rx: [armedRx(j, 'a'), armedRx(j, 'b', () => false, -1)],
    }));
    loop.run(1, SLEEP_US);
    expect(journal).toContain('wait 7 1000');
  });

  it('sleeps no longer than it is told', () => {
    const [{ journal }, loop] = make('interrupt', ({ journal: j }) => ({
      polls: [() => 0],
      rx: [armedRx(j, 'a', () => false, -1)],
    }));
    loop.run(1, 250);
    expect(journal).toContain('wait 7 250');
  });

  it('sleeps longer and longer while nothing comes, up to what it is told, and begins anew after work', () => {
    let work = 0;
    const [{ journal }, loop] = make('interrupt', ({ journal: j }) => ({
      polls: [() => work],
      rx: [armedRx(j, 'a', () => work > 0)],
    }));
    const waits = (slices: number, sleepUs: number) => {
      journal.length = 0;
      loop.run(slices, sleepUs);
      return journal.flatMap((line) => (line.startsWith('wait') ? [Number(line.split(' ')[2])] : []));
    };
    expect(waits(6, 1_000_000)).toEqual([100_000, 200_000, 400_000, 800_000, 1_000_000, 1_000_000]);
    work = 1;
    expect(waits(3, 1_000_000)).toEqual([]);
    work = 0;
    expect(waits(2, 1_000_000)).toEqual([100_000, 200_000]);
  });

  it('sleeps no longer than an application wants, in that slice', () => {
    const worker = fakeWorker('interrupt');
    const loop = makeLoop(worker.plan, worker.clock, worker.native);
    let calls = 0;
    const ask = () => {
      if (++calls === 5) worker.words[CONTROL.timer] = 70;
      return 0;
    };
    loop.work = { polls: [ask], rx: [armedRx([], 'r')], tx: [] };
    loop.run(2, SLEEP_US);
    expect(worker.journal).toEqual(['wait 7 70', `wait 7 ${SLEEP_US}`]);
  });
});

describe('adaptive', () => {
  const IDLE_US = 100;

  it('sleeps only after so many microseconds without work', () => {
    const [worker, loop] = make(
      'adaptive',
      ({ journal }) => ({ polls: [() => 0], rx: [armedRx(journal, 'r')] }),
      IDLE_US,
    );
    worker.time.tickNs = 30_000; // so many nanoseconds per slice
    loop.run(3, SLEEP_US);
    expect(worker.journal).toEqual([]);
    loop.run(4, SLEEP_US);
    expect(worker.journal).toEqual(['arm r', `wait 7 ${SLEEP_US}`, 'disarm r']);
  });

  it('goes on sleeping as long as nothing comes, without spinning in between', () => {
    const [worker, loop] = make(
      'adaptive',
      ({ journal }) => ({ polls: [() => 0], rx: [armedRx(journal, 'r')] }),
      IDLE_US,
    );
    worker.time.tickNs = 101_000;
    loop.run(5, SLEEP_US);
    expect(worker.journal.filter((entry) => entry.startsWith('wait'))).toHaveLength(5);
  });

  it('starts counting anew after work', () => {
    let calls = 0;
    const poll = () => (++calls === 3 * SLICE + 1 ? 1 : 0); // one packet, in the fourth slice
    const [worker, loop] = make('adaptive', ({ journal }) => ({ polls: [poll], rx: [armedRx(journal, 'r')] }), IDLE_US);
    worker.time.tickNs = 30_000;
    loop.run(7, SLEEP_US);
    expect(worker.journal).toEqual([]);
    loop.run(5, SLEEP_US);
    expect(worker.journal).toContain(`wait 7 ${SLEEP_US}`);
  });

  it('looks at the clock only when there was nothing to do', () => {
    const [worker, loop] = make('adaptive', () => ({ polls: [() => 1] }), IDLE_US);
    loop.run(1000, SLEEP_US);
    expect(worker.time.now).toBe(worker.time.tickNs); // once, on entering
  });
});
