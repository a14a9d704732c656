import { describe, expect, test } from 'vitest';
import { Stopping } from '../../lib/cli/stopping.ts';
import { FakeTerminal } from '../fakes/terminal.ts';

describe('asking a run to end', () => {
  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s asks for it in order', async (signal) => {
    const terminal = new FakeTerminal();
    const stopping = new Stopping(terminal);
    terminal.signal(signal);
    expect(await stopping.requested).toBe('signal');
    expect(terminal.exits).toEqual([]);
  });

  test.each([
    ['SIGINT', 'SIGINT', 130],
    ['SIGTERM', 'SIGINT', 130],
    ['SIGINT', 'SIGTERM', 143],
  ] as const)('%s and then %s ends the process at once with %d', (first, second, code) => {
    const terminal = new FakeTerminal();
    new Stopping(terminal);
    terminal.signal(first);
    terminal.signal(second);
    expect(terminal.exits).toEqual([code]);
  });

  test('a Ctrl-C while it is ending for another reason is the first one', () => {
    const terminal = new FakeTerminal();
    const stopping = new Stopping(terminal);
    stopping.request('time');
    terminal.signal('SIGINT');
    expect(terminal.exits).toEqual([]);
    expect(stopping.first).toBe('time');
  });

  test('the first reason counts', async () => {
    const stopping = new Stopping(new FakeTerminal());
    stopping.request('port-failed');
    stopping.request('time');
    expect(await stopping.requested).toBe('port-failed');
  });

  test('time is up after the seconds that it was given', async () => {
    const stopping = new Stopping(new FakeTerminal());
    const start = performance.now();
    stopping.after(0.05);
    expect(await stopping.requested).toBe('time');
    expect(performance.now() - start).toBeGreaterThan(45);
  });

  test('output that takes no more is a reason, also if it was so before', async () => {
    const terminal = new FakeTerminal();
    const stopping = new Stopping(terminal);
    terminal.failOutput('EPIPE');
    expect(await stopping.requested).toBe('output-closed');
    expect(new Stopping(terminal).first).toBe('output-closed');
  });

  test('afterwards signals are nobody’s', () => {
    const terminal = new FakeTerminal();
    const stopping = new Stopping(terminal);
    expect(terminal.listeners).toBe(2);
    stopping.dispose();
    expect(terminal.listeners).toBe(0);
  });
});
