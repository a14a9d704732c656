/** `linecard supervise` as a user runs it: engines that end, are killed and stopped; without any cards. */
import { readdirSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { processOf } from '../../lib/keeper/records.ts';
import { Command, type StartOptions } from '../fakes/command.ts';

const L2FWD = ['l2fwd', 'null:0', 'null:1', '-T', '0'];

interface Event {
  readonly event: string;
  readonly pid: number;
  readonly code?: number;
  readonly signal?: string;
  readonly inMs?: number;
  readonly count?: number;
}

class Supervised extends Command {
  constructor(options: readonly string[], command: readonly string[], start: StartOptions = {}) {
    super(['supervise', '-j', ...options, '--', ...command], start);
  }

  get events(): Event[] {
    return this.stderr
      .split('\n')
      .filter((line) => line.startsWith('{"event"'))
      .map((line) => JSON.parse(line));
  }

  /** Processes that were started, in order. */
  get engines(): number[] {
    return this.events.filter(({ event }) => event === 'started').map(({ pid }) => pid);
  }

  /** Resolves when the `n`th engine runs; returns its number. */
  async engine(n: number): Promise<number> {
    await expect.poll(() => this.engines.length, { timeout: 15_000 }).toBeGreaterThanOrEqual(n);
    await this.says(new RegExp(`^(MAC addresses[^]*){${n}}`, 'm'));
    return this.engines[n - 1]!;
  }
}

/** Not one that only waits to be asked how it ended. */
const lives = (pid: number): boolean => processOf(pid) !== undefined;

describe('An engine that is killed', () => {
  test('is started again, so often as may be; the last one’s end is the exit code', async () => {
    const command = new Supervised(['--restart', '--restarts', '2'], L2FWD);
    for (let n = 1; n <= 3; n++) process.kill(await command.engine(n), 'SIGKILL');
    expect(await command.ended).toMatchObject({ code: 137, signal: null });
    expect(command.events.map(({ event }) => event)).toEqual([
      ...['started', 'ended', 'restarting', 'started', 'ended', 'restarting', 'started', 'ended'],
    ]);
    const waits = command.events.filter(({ event }) => event === 'restarting');
    expect(waits).toMatchObject([
      { inMs: 100, count: 1, most: 2 },
      { inMs: 200, count: 2, most: 2 },
    ]);
    expect(command.engines.filter(lives)).toEqual([]);
  });

  test('is not started again unless that was asked for', async () => {
    const command = new Supervised([], L2FWD);
    process.kill(await command.engine(1), 'SIGSEGV');
    expect(await command.ended).toMatchObject({ code: 139 });
    expect(command.engines).toHaveLength(1);
  });

  test('leaves nothing open in the supervising process', async () => {
    const command = new Supervised(['--restart'], L2FWD);
    const files = () => readdirSync(`/proc/${command.child.pid}/fd`).length;
    await command.engine(1);
    const before = files();
    for (let n = 1; n <= 4; n++) process.kill(await command.engine(n), 'SIGKILL');
    await command.engine(5);
    expect(files()).toBe(before);
    command.kill('SIGTERM');
    expect(await command.ended).toMatchObject({ code: 0 });
    expect(command.engines.filter(lives)).toEqual([]);
  }, 60_000);
});

describe('An engine that ends', () => {
  test.each([
    ['well', [...L2FWD, '--time', '0.2'], 0],
    ['as it was typed wrongly', ['l2fwd', 'nothing:0'], 2],
  ])('%s is not started again', async (_, args, code) => {
    const command = new Supervised(['--restart'], args);
    expect(await command.ended).toMatchObject({ code, signal: null });
    expect(command.engines).toHaveLength(1);
  });

  test('because of an error is started again', async () => {
    const command = new Supervised(['--restart', '--restarts', '1'], ['l2fwd', 'pcap:/nowhere/x.pcap', 'null:0']);
    expect(await command.ended).toMatchObject({ code: 1 });
    expect(command.engines).toHaveLength(2);
  });
});

describe('Signals', () => {
  test.each(['SIGINT', 'SIGTERM', 'SIGHUP'] as const)('%s goes to the engine, which stops in order', async (signal) => {
    const command = new Supervised(['--restart'], L2FWD);
    const pid = await command.engine(1);
    await sleep(300);
    command.kill(signal);
    const { code, stdout } = await command.ended;
    expect(code).toBe(0);
    expect(stdout).toContain('Ledger: balanced');
    expect([command.engines, lives(pid)]).toEqual([[pid], false]);
  });

  test('between two engines end it', async () => {
    const command = new Supervised(['--restart'], ['l2fwd', 'pcap:/nowhere/x.pcap', 'null:0']);
    // The fifth wait is long enough to be hit.
    await expect.poll(() => command.events.at(-1)?.inMs ?? 0, { timeout: 15_000 }).toBeGreaterThan(700);
    const { length } = command.engines;
    command.kill('SIGTERM');
    expect(await command.ended).toMatchObject({ code: 1 });
    expect(command.engines).toHaveLength(length);
  });
});

test('An engine whose supervising process has gone stops by itself, in order', async () => {
  const command = new Supervised([], L2FWD);
  const pid = await command.engine(1);
  await sleep(300);
  command.kill('SIGKILL');
  // Its output is the engine's, too: this ends with that.
  const { stdout, stderr } = await command.ended;
  expect(stdout).toMatch(/handled in .*: the supervising process has gone/);
  expect(stdout).toContain('Ledger: balanced');
  expect(stderr).toMatch(/linecard: supervising process: it has ended; .*\[KEEPER_LOST\]/);
  expect(lives(pid)).toBe(false);
});

test('Without a command it tidies up, and there is nothing to tidy', async () => {
  expect(await new Command(['supervise']).ended).toEqual({ code: 0, signal: null, stdout: '', stderr: '' });
});

test('For people it says what it does in sentences, on standard error', async () => {
  const command = new Command([
    'supervise',
    '--restart',
    '--restarts',
    '1',
    '--',
    'l2fwd',
    'pcap:/nowhere/x',
    'null:0',
  ]);
  const { stderr, stdout } = await command.ended;
  expect(stdout).toBe('');
  expect(stderr).toMatch(
    /^linecard supervise: process \d+ ended with code 1\nlinecard supervise: started again in 0.1 s \(1 of at most 1\)$/m,
  );
});
