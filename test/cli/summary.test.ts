import { describe, expect, test } from 'vitest';
import { toJson } from '../../lib/cli/json.ts';
import { type Outcome, succeeded, summaryJson, summaryLines } from '../../lib/cli/summary.ts';
import { PortError } from '../../lib/errors.ts';
import { JOBS, result } from '../fakes/run-stats.ts';

const SUBJECT = { ports: ['a', 'b'], jobs: JOBS };
const good: Outcome = {
  subject: SUBJECT,
  reason: 'time',
  result: result({
    seconds: 2,
    packets: 3_000_000n,
    worker: { polls: 4n, idlePolls: 1n },
    a: { rx: { packets: 3_000_000n } },
  }),
  verdict: undefined,
};
const failure = new PortError('X', { what: 'port a', why: 'b', fix: 'c' });
const unbalanced = { ...good.result.ledger, free: 63, balanced: false, errors: ['frames missing: 1 is not 0'] };

describe('the end of a run', () => {
  test('says what was handled, how long, and why it ended', () => {
    expect(summaryLines(good)[1]).toBe('3,000,000 packets handled in 2.0 s: the time is up');
  });

  test('has Mpps per worker', () => {
    expect(summaryLines(good)).toContain('Worker 0 on cpu 2: 1.50 Mpps (3,000,000 packets), polls hit 75 %');
  });

  test('says that nothing was dropped, and that the books balance', () => {
    expect(summaryLines(good)).toContain('Dropped: nothing');
    expect(summaryLines(good)).toContain('Ledger: balanced: 64 frames = 64 free + 0 in rings + 0 held + 0 lost');
  });

  test('has the drops by reason, and what can be done about them', () => {
    const lines = summaryLines({
      ...good,
      result: result({ a: { rx: { oversize: 4n } }, frames: { dropped_tx_full: 2000n } }),
    });
    const at = lines.indexOf('Dropped: rx_oversize 4, tx_full 2,000');
    expect(lines[at + 1]).toMatch(/oversize: .*--mtu/);
  });

  test('says what does not balance', () => {
    const lines = summaryLines({ ...good, result: { ...good.result, ledger: unbalanced } });
    expect(lines.slice(-2)).toEqual([
      'Ledger: NOT balanced: 64 frames = 63 free + 0 in rings + 0 held + 0 lost',
      '  frames missing: 1 is not 0',
    ]);
  });

  test('ends with the verdict', () => {
    expect(summaryLines({ ...good, verdict: { ok: true, text: 'one\ntwo', data: {} } }).slice(-3)).toEqual([
      '',
      'one',
      'two',
    ]);
  });

  test('as JSON has the same, with all digits', () => {
    const verdict = { ok: true, text: '', data: { ok: 5n, lost: 0n } };
    const json = JSON.parse(toJson(summaryJson({ ...good, verdict, result: { ...good.result, errors: [failure] } })));
    expect(json).toMatchObject({
      type: 'summary',
      reason: 'time',
      seconds: 2,
      packets: 3_000_000,
      ports: [
        { index: 0, port: 'a', rx: { packets: 3_000_000, pps: 1_500_000 } },
        { index: 1, port: 'b' },
      ],
      workers: [{ worker: 0, cpu: 2, pollsHit: 0.75 }, { worker: 1 }],
      ledger: { total: 64, balanced: true, errors: [] },
      verdict: { ok: true, counters: { ok: 5, lost: 0 } },
      errors: [{ code: 'X', message: 'port a: b; c', detail: {} }],
    });
  });
});

describe('a run went well', () => {
  test('when the books balance and nothing failed', () => {
    expect(succeeded(good)).toBe(true);
    expect(succeeded({ ...good, verdict: { ok: true, text: '', data: {} } })).toBe(true);
  });

  test.each<[string, Partial<Outcome>]>([
    ['the books do not balance', { result: { ...good.result, ledger: unbalanced } }],
    ['something failed, even if it was mended', { result: { ...good.result, errors: [failure] } }],
    ['packets were changed', { verdict: { ok: false, text: '', data: {} } }],
  ])('not when %s', (_, more) => {
    expect(succeeded({ ...good, ...more })).toBe(false);
  });
});
