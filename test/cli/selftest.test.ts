import { describe, expect, test } from 'vitest';
import { check } from '../../lib/cli/selftest/checks.ts';
import { passed, reportJson, reportLines, type Tried } from '../../lib/cli/selftest/report.ts';
import { type Observed, type ObservedPort, SINGLES } from '../../lib/cli/selftest/trial.ts';
import { PortError } from '../../lib/errors.ts';

const COUNT = 1000;
const ALL = BigInt(COUNT + SINGLES);
const traffic = { packets: ALL, bytes: ALL * 60n };

const port = (name: string): ObservedPort => ({
  name,
  driver: 'e1000e',
  interrupts: true,
  stats: { rx: { ...traffic }, tx: { ...traffic, completed: ALL } },
  device: { gprc: ALL, gptc: ALL, mpc: 0n },
});

const GOOD: Observed = {
  down: [],
  notes: [],
  seconds: 2,
  ping: { sent: ALL, received: ALL, ok: ALL, foreign: 0n, late: 0n, corrupt: 0n, duplicate: 0n, stale: 0n },
  workers: 2,
  sleeps: 50n,
  interrupts: 90n,
  singleInterrupts: 64n,
  ports: [port('a'), port('b')],
  ledger: { total: 1, free: 1, inRings: 0, held: 0, lost: 0, missing: 0, errors: [], balanced: true },
  errors: [],
};

/** What differs, by check. */
const differences = (seen: Partial<Observed>, mode: Tried['mode'] = 'interrupt') =>
  Object.fromEntries(
    check({ ...GOOD, ...seen }, mode, COUNT)
      .filter((one) => one.differences.length > 0)
      .map((one) => [one.name, one.differences]),
  );

/** The second port with other figures. */
function other(rx: Record<string, bigint>, tx: Record<string, bigint> = {}, device: Record<string, bigint> = {}) {
  const { stats, ...rest } = port('b');
  const changed = {
    ...rest,
    stats: { rx: { ...stats.rx, ...rx }, tx: { ...stats.tx, ...tx } },
    device: { ...rest.device, ...device },
  };
  return { ports: [port('a'), changed] };
}

describe('the checks of a selftest', () => {
  test('find nothing in a good one', () => {
    expect(differences({})).toEqual({});
    expect(differences({ sleeps: 0n, interrupts: 0n, singleInterrupts: 0n }, 'busy')).toEqual({});
  });

  test('name the port whose link is down', () => {
    expect(differences({ down: ['b'] })).toEqual({ 'bring-up': ['the link of b did not come up'] });
  });

  test('count frames that are gone, changed or out of order', () => {
    const ping = { ...GOOD.ping, received: ALL - 3n, ok: ALL - 6n, corrupt: 1n, late: 2n };
    expect(differences({ ping }).frames).toEqual([
      '1,032 frames went out, 1,029 came back',
      'of them 1 corrupt, 2 late',
    ]);
    expect(differences({ ping: { ...GOOD.ping, sent: 10n, received: 10n, ok: 10n } }).frames).toEqual([
      '10 of 1,032 frames could be sent',
    ]);
  });

  test('name both ports of a wire whose ends disagree', () => {
    expect(differences(other({ packets: ALL - 2n })).statistics).toEqual([
      'a transmitted 1,032 packets, b received 1,030',
      'b counts 1,032 in its register gprc, its queues 1,030',
    ]);
    expect(differences(other({ bytes: 7n })).statistics).toEqual(['a transmitted 61,920 bytes, b received 7']);
    expect(differences(other({}, { packets: ALL + 1n, completed: ALL + 1n })).statistics).toContain(
      'b transmitted 1,033 packets, a received 1,032',
    );
  });

  test('take as many packets too many as somebody else has sent, and no more', () => {
    const ping = { ...GOOD.ping, received: ALL + 1n, foreign: 1n };
    const more = other({ packets: ALL + 1n, bytes: 5n + ALL * 60n }, {}, { gprc: ALL + 1n });
    expect(differences({ ping, ...more })).toEqual({});
    expect(differences(more).statistics).toHaveLength(2);
  });

  test('tell of every mishap that a port or its device has counted', () => {
    expect(differences(other({ crc_error: 4n }, { completed: ALL - 1n }, { gptc: 1n })).statistics).toEqual([
      'b counted 4 rx_crc_error',
      'b completed 1,031 of 1,032 frames',
      'b counts 1 in its register gptc, its queues 1,032',
    ]);
  });

  test('know how each poll mode sleeps', () => {
    expect(differences({}, 'busy').polling).toEqual(['busy workers slept 50 times']);
    expect(differences({ sleeps: 0n }, 'adaptive').polling).toEqual(['no worker ever slept']);
    expect(differences({ singleInterrupts: 3n }).polling).toEqual(['32 frames, one by one, caused 3 interrupts']);
    const ports = [port('a'), { ...port('b'), interrupts: false }];
    expect(differences({ singleInterrupts: 3n, ports })).toEqual({});
    expect(differences({ singleInterrupts: 3n, workers: 1 })).toEqual({});
  });

  test('tell of books that do not balance, and of errors', () => {
    const error = new PortError('PORT_LOST', { what: 'port a', why: 'it has gone', fix: 'open it again' });
    const ledger = { ...GOOD.ledger, balanced: false, errors: ['1 frame is missing'] };
    expect(differences({ ledger, errors: [error] }).stop).toEqual(['1 frame is missing', error.message]);
  });
});

describe('the report of a selftest', () => {
  const tried = (mode: Tried['mode'], seen: Partial<Observed> = {}): Tried => {
    const all = { ...GOOD, ...seen };
    return { mode, seen: all, checks: check(all, mode, COUNT) };
  };

  test('is a table with a line per mode, and fits into 80 columns', () => {
    const lines = reportLines([tried('adaptive'), tried('interrupt')], COUNT);
    expect(lines).toHaveLength(5);
    expect(lines[1]).toMatch(/^adaptive( +ok){5} +2\.0 +500$/);
    expect(lines.at(-1)).toBe('passed');
    for (const line of lines) expect(line.length).toBeLessThanOrEqual(80);
  });

  test('names what differs below it', () => {
    const lines = reportLines([tried('busy'), tried('adaptive')], COUNT);
    expect(lines[1]).toMatch(/^busy( +ok){3} +FAILED +ok /);
    expect(lines.slice(-2)).toEqual(['busy, polling: busy workers slept 50 times', 'FAILED: busy']);
  });

  test('says why a trial could not be made', () => {
    const error = new PortError('NOT_BOUND', { what: 'port a', why: 'nobody drives it', fix: 'bind it' });
    const trial: Tried = { mode: 'busy', checks: [], error };
    expect(passed(trial)).toBe(false);
    expect(reportLines([trial], COUNT).join('\n')).toMatch(
      /^busy .*-\n\nbusy: port a: .* \[NOT_BOUND\]\nFAILED: busy$/m,
    );
    expect(reportJson([trial])).toMatchObject({
      passed: false,
      trials: [{ mode: 'busy', error: { code: 'NOT_BOUND' } }],
    });
  });

  test('is the same for programs', () => {
    expect(reportJson([tried('adaptive')])).toMatchObject({ type: 'selftest', passed: true });
  });
});
