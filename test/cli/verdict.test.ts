import { describe, expect, test } from 'vitest';
import { judge, judgeClosed } from '../../lib/cli/verdict.ts';
import type { RunResult } from '../../lib/engine/results.ts';
import type { JobSpec } from '../../lib/engine/types.ts';
import type { Counters } from '../../lib/pktio/types.ts';
import { result } from '../fakes/run-stats.ts';

const SPECS: readonly JobSpec[] = [
  { app: { module: 'gen' }, tx: ['a'] },
  { app: { module: 'sink' }, rx: { port: 'b' } },
];
const SINK = { received: 100n, skipped: 0n, ok: 100n, late: 0n, duplicate: 0n, stale: 0n, corrupt: 0n, foreign: 0n };

function ran(sent: bigint, sink: Counters, moment: Parameters<typeof result>[0] = {}): RunResult {
  const base = result(moment);
  const [gen, receiver] = base.jobs;
  return {
    ...base,
    jobs: [
      { ...gen, frames: { ...gen.frames, dropped_stopped: 3n }, counters: { sent } },
      { ...receiver, counters: { ...SINK, ...sink } },
    ],
  };
}

describe('what sinks say', () => {
  test('nothing, when there is none', () => {
    expect(judge([SPECS[0], { app: { module: 'l2fwd' }, rx: { port: 'b' }, tx: ['a'] }], ran(1n, {}))).toBeUndefined();
  });

  test('everything came, in order', () => {
    const verdict = judge(SPECS, ran(0n, {}));
    expect(verdict).toMatchObject({ ok: true, text: 'sink: 100 received, 100 intact, 0 lost, all in order' });
  });

  test('loss and reordering are told, and are no failure: wires do that', () => {
    const verdict = judge(SPECS, ran(0n, { skipped: 9n, late: 2n, duplicate: 1n, foreign: 4n }));
    expect(verdict).toMatchObject({
      ok: true,
      text: 'sink: 100 received, 96 intact, 7 lost, 1 duplicate, 2 late, 4 foreign',
    });
    expect(verdict?.data).toMatchObject({ lost: 7n });
  });

  test('a packet that was changed is a failure', () => {
    expect(judge(SPECS, ran(0n, { corrupt: 1n }))).toMatchObject({ ok: false });
  });
});

describe('a run whose sinks can receive nothing else', () => {
  test('all that was sent was received', () => {
    expect(judgeClosed(SPECS, ran(100n, {}))).toMatchObject({ ok: true, data: { sent: 100n, dropped: 0n } });
  });

  test('what is missing was dropped by forwarders and in rings: each one counted', () => {
    const verdict = judgeClosed(
      SPECS,
      ran(107n, { skipped: 7n }, { a: { tx: { packets: 107n, completed: 100n, stopped: 7n } } }),
    );
    expect(verdict.ok).toBe(true);
    expect(verdict.text).toContain('107 sent = 100 received + 7 dropped on the way');
  });

  test('what a generator held at the end was never sent', () => {
    expect(judgeClosed(SPECS, ran(100n, {})).data.dropped).toBe(0n);
  });

  test('a packet without a trace is a failure, and so is one too many', () => {
    expect(judgeClosed(SPECS, ran(101n, {}))).toMatchObject({
      ok: false,
      text: expect.stringContaining('WRONG: 1 packets are gone without a trace'),
    });
    expect(judgeClosed(SPECS, ran(99n, {}))).toMatchObject({ ok: false });
  });

  test.each(['corrupt', 'duplicate', 'stale', 'late', 'foreign'])('a %s packet is a failure', (what) => {
    expect(judgeClosed(SPECS, ran(100n, { [what]: 1n })).ok).toBe(false);
  });
});
