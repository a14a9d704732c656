import { describe, expect, test } from 'vitest';
import { PORT_NAMES_HELP } from '../../lib/cli/help.ts';
import { runProgram } from '../../lib/cli/program.ts';
import { openEngine } from '../../lib/engine/engine.ts';
import { FakeTerminal } from '../fakes/terminal.ts';

async function linecard(...args: string[]) {
  const terminal = new FakeTerminal();
  const code = await runProgram(args, terminal);
  return { code, stdout: terminal.stdout, stderr: terminal.stderr };
}

const COMMANDS = [
  'l2fwd',
  'demo',
  'gen',
  'sink',
  'plan',
  'selftest',
  'status',
  'grant',
  'bind',
  'unbind',
  'supervise',
  'reload',
  'doctor',
];

describe('help', () => {
  test('names every command and says what exit codes mean', async () => {
    const { code, stdout, stderr } = await linecard('--help');
    expect(code).toBe(0);
    expect(stderr).toBe('');
    for (const command of COMMANDS) expect(stdout).toMatch(new RegExp(`^  ${command} `, 'm'));
    expect(stdout).toContain('Exit codes:');
  });

  test.each(COMMANDS)('of %s is the same by either way, and fits into 80 columns', async (command) => {
    const { code, stdout } = await linecard(command, '--help');
    expect(code).toBe(0);
    expect(stdout).toContain(`Usage: linecard ${command}`);
    expect((await linecard('help', command)).stdout).toBe(stdout);
    for (const line of stdout.split('\n')) expect(line.length, line).toBeLessThanOrEqual(80);
  });

  test('of l2fwd has the options of DPDK’s and ODP’s l2fwd', async () => {
    const { stdout } = await linecard('l2fwd', '--help');
    for (const option of [
      '-q',
      '-T',
      '-P',
      '--mac-updating',
      '--no-mac-updating',
      '--portmap',
      '--burst',
      '--cpus',
      '--time',
      '--mode',
      '-j',
    ]) {
      expect(stdout).toMatch(new RegExp(`^  ${option}[ ,]`, 'm'));
    }
  });

  test('names every kind of port that the engine knows', async () => {
    const engine = await openEngine({ frames: 1 });
    const kinds = engine.framework
      .enumerators()
      .flatMap(({ portNames = '' }) => [...portNames.matchAll(/([a-z-]+):/g)].map(([, kind]) => kind));
    await engine.close();
    expect(kinds.length).toBeGreaterThan(3);
    for (const kind of kinds) expect(PORT_NAMES_HELP).toMatch(new RegExp(`^  ${kind}:`, 'm'));
  });

  test('without a command goes to standard error, and ends with 2', async () => {
    const { code, stdout, stderr } = await linecard();
    expect([code, stdout]).toEqual([2, '']);
    expect(stderr).toContain('Usage: linecard');
    expect(stderr).not.toContain('[USAGE]');
  });
});

test.each(['--version', '-V'])('%s is the package’s version', async (option) => {
  const { stdout, code } = await linecard(option);
  expect(stdout).toMatch(/^\d+\.\d+\.\d+\n$/);
  expect(code).toBe(0);
});

describe('a wrong command line is one line on standard error, and ends with 2', () => {
  test.each([
    [['l2fwd'], /missing required argument "port"; "linecard l2fwd --help" shows/],
    [['l2fwd', 'null:0', '--tiem', '3'], /unknown option "--tiem"; did you mean --time\?/],
    [['l2fwd', 'null:0', '--mode'], /option "--mode <mode>" argument missing/],
    [
      ['l2fwd', 'null:0', '--mode', 'fast'],
      /option --mode: "fast" is none of its values; use busy, adaptive, interrupt/,
    ],
    [['l2fwd', 'null:0', '-q', '0'], /option -q: "0" is not a whole number/],
    [['l2fwd', 'null:0', '-T', '86401'], /option -T: "86401" is not a number of seconds from 0 to 86400/],
    [['l2fwd', 'null:0', '--portmap', '(0,1)'], /option --portmap: there is no port 1/],
    [['l2fwd', 'null:0', '--cpus', '0-'], /option --cpus/],
    [['l2fwd', 'null:0', '--app', '#x'], /option --app/],
    [['gen', 'null:0', '--rate', 'fast'], /option --rate/],
    [['sink', 'null:0', '--verify', 'some'], /option --verify/],
    [['selftest', 'null:0'], /missing required argument "B"; "linecard selftest --help" shows/],
    [['selftest', 'null:0', 'null:1', 'null:2'], /too many arguments for "selftest"/],
    [['selftest', 'null:0', 'null:0'], /port null:0: it is named twice/],
    [['selftest', 'null:0', 'null:1', '--count', '0'], /option --count: "0" is not a number from 1 to/],
    [['selftest', 'null:0', 'null:1', '--size', '59'], /option --size: "59" is not a whole number from 60 to/],
    [['selftest', 'null:0', 'null:1', '--mode', 'fast'], /option --mode: "fast" is none of its values/],
    [['demo', 'null:0'], /too many arguments for "demo"/],
    [['demp'], /unknown command "demp"; did you mean demo\? "linecard --help"/],
    [['nothing-like-it'], /unknown command "nothing-like-it"; "linecard --help"/],
  ])('%j', async (args, text) => {
    const { code, stdout, stderr } = await linecard(...args);
    expect(stderr).toMatch(text);
    expect(stderr).toMatch(/^linecard: [^\n]+ \[USAGE\]\n$/);
    expect([code, stdout]).toEqual([2, '']);
  });

  test.each([['-j'], ['--json'], ['-Pj']])('with %s it is one JSON object on standard output', async (option) => {
    const { code, stdout, stderr } = await linecard('l2fwd', option, 'null:0', '--portmap', 'x');
    expect(JSON.parse(stdout)).toEqual({
      error: { code: 'USAGE', message: expect.stringContaining('--portmap'), detail: {} },
    });
    expect([code, stderr]).toEqual([2, '']);
  });
});
