import { describe, expect, test } from 'vitest';
import { makeDisplay } from '../../lib/cli/display.ts';
import { figures } from '../../lib/cli/figures.ts';
import { PortError } from '../../lib/errors.ts';
import { JOBS, result, stats } from '../fakes/run-stats.ts';
import { FakeTerminal, screenAfter } from '../fakes/terminal.ts';

const SUBJECT = { ports: ['a', 'b'], jobs: JOBS };
const at = (seconds: number, packets = 0n) =>
  figures(SUBJECT, stats({ seconds, a: { rx: { packets } } }), stats({ seconds: seconds - 1 }));
const outcome = { subject: SUBJECT, reason: 'time', result: result({}), verdict: undefined } as const;
const failure = new PortError('X', { what: 'port a', why: 'it broke', fix: 'mend it' });

describe('on a screen', () => {
  test('each period is drawn over the one before, below what was there', () => {
    const terminal = new FakeTerminal({ interactive: true });
    terminal.out('$ linecard l2fwd a b\n');
    const display = makeDisplay(terminal, 'l2fwd', false);
    display.intro(['Forwards.']);
    display.period(at(1, 111n));
    display.period(at(2, 222n));
    const shown = screenAfter(terminal.stdout);
    expect(shown.slice(0, 4)).toEqual(['$ linecard l2fwd a b', 'Forwards.', '', 'linecard l2fwd, 2 s (Ctrl-C ends)']);
    expect(shown.filter((line) => line.includes('222'))).toHaveLength(2);
    expect(shown.join('\n')).not.toContain('111');
  });

  test('a shorter block leaves nothing of a longer one', () => {
    const terminal = new FakeTerminal({ interactive: true });
    const display = makeDisplay(terminal, 'l2fwd', false);
    const dropping = figures(SUBJECT, stats({ frames: { dropped_tx_full: 5n } }));
    display.period(dropping);
    const longer = screenAfter(terminal.stdout).length;
    display.period(at(2));
    expect(screenAfter(terminal.stdout)).toHaveLength(longer - 1);
  });

  test('the summary takes the block’s place', () => {
    const terminal = new FakeTerminal({ interactive: true });
    const display = makeDisplay(terminal, 'l2fwd', false);
    display.period(at(1));
    display.summary(outcome);
    const shown = screenAfter(terminal.stdout);
    expect(shown[0]).toMatch(/^Summary =+$/);
    expect(shown.filter((line) => line.includes('Ctrl-C'))).toEqual([]);
  });

  test('is never higher or wider than the screen: it could not be found again', () => {
    const terminal = new FakeTerminal({ interactive: true });
    terminal.rows = 8;
    terminal.columns = 40;
    const display = makeDisplay(terminal, 'l2fwd', false);
    display.period(at(1));
    const shown = screenAfter(terminal.stdout).slice(0, -1);
    expect(shown).toHaveLength(7);
    expect(shown.at(-1)).toMatch(/^… \d+ more lines$/);
    for (const line of shown) expect(line.length).toBeLessThan(40);
  });

  test('an error is told above the block, which stays', () => {
    const terminal = new FakeTerminal({ interactive: true });
    const display = makeDisplay(terminal, 'l2fwd', false);
    // On a screen both streams go to the same place.
    terminal.err = (text) => terminal.out(text);
    display.period(at(1));
    display.happened('port-error', 'a', '', failure);
    const shown = screenAfter(terminal.stdout);
    expect(shown[0]).toBe('linecard: port a: it broke; mend it [X]');
    expect(shown[1]).toBe('linecard l2fwd, 1 s (Ctrl-C ends)');
  });
});

describe('in a log', () => {
  test('there are no escape sequences, and errors go to standard error', () => {
    const terminal = new FakeTerminal();
    const display = makeDisplay(terminal, 'l2fwd', false);
    display.intro(['Forwards.']);
    display.period(at(1));
    display.happened('job-failed', 0, 'job 0 is started again in 1 s', failure);
    display.summary(outcome);
    expect(terminal.stdout).not.toContain('\x1b');
    expect(terminal.lines[0]).toBe('Forwards.');
    expect(terminal.lines[2]).toContain('port 0 a');
    expect(terminal.stderr).toBe('linecard: port a: it broke; mend it [X]\nlinecard: job 0 is started again in 1 s\n');
  });

  test('no introduction is no empty line', () => {
    const terminal = new FakeTerminal();
    makeDisplay(terminal, 'l2fwd', false).intro([]);
    expect(terminal.stdout).toBe('');
  });
});

describe('as JSON', () => {
  test('each period is one object on one line, and the summary the last', () => {
    const terminal = new FakeTerminal({ interactive: true });
    const display = makeDisplay(terminal, 'l2fwd', true);
    display.intro(['Forwards.']);
    display.period(at(1, 2n ** 60n));
    display.period(at(2));
    display.summary(outcome);
    const objects = terminal.lines.map((line) => JSON.parse(line));
    expect(objects.map(({ type }) => type)).toEqual(['period', 'period', 'summary']);
    expect(terminal.lines[0]).toContain('"packets":1152921504606846976,');
    expect(objects[0]).toMatchObject({ seconds: 1, interval: 1, events: [] });
  });

  test('what happened is in the object of its period, once', () => {
    const terminal = new FakeTerminal();
    const display = makeDisplay(terminal, 'l2fwd', true);
    display.happened('job-failed', 1, 'text for people', failure);
    display.happened('job-restarted', 1, 'text for people');
    display.period(at(1));
    display.period(at(2));
    const [first, second] = terminal.lines.map((line) => JSON.parse(line));
    expect(first.events).toEqual([
      { event: 'job-failed', subject: 1, error: { code: 'X', message: 'port a: it broke; mend it' } },
      { event: 'job-restarted', subject: 1 },
    ]);
    expect(second.events).toEqual([]);
    expect(terminal.stderr).toBe('');
  });
});
