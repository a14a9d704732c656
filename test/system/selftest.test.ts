/** `linecard selftest` as a user runs it, over ports that are joined in different ways. */
import { describe, expect, onTestFinished, test } from 'vitest';
import { type Ended, linecard, summaryOf, testFolder } from '../fakes/command.ts';
import { sh, testAsRoot } from '../fakes/netns.ts';

/** Two workers that never sleep, and whoever else is on the machine. */
const PATIENT = { deadlineMs: 55_000 };
const MODES = ['busy', 'adaptive', 'interrupt'];

function expectPassed(ended: Ended, count: number): void {
  expect(ended, ended.stdout.slice(-3000)).toMatchObject({ code: 0, stderr: '' });
  const { passed, trials } = summaryOf(ended);
  expect([passed, trials.map(({ mode }: { mode: string }) => mode)]).toEqual([true, MODES]);
  for (const { ping, ports } of trials) {
    expect(ping.ok).toBeGreaterThan(count);
    for (const { rx, tx } of ports) expect([rx.packets, tx.packets]).toEqual([ping.received, ping.received]);
  }
}

describe('linecard selftest', { timeout: 60_000 }, () => {
  test('passes over a pair of ports, and prints a table', async () => {
    const ended = await linecard(['selftest', 'pair:x/0', 'pair:x/1', '--count', '5k'], PATIENT);
    expect(ended, ended.stdout).toMatchObject({ code: 0, stderr: '' });
    for (const mode of MODES) expect(ended.stdout).toMatch(new RegExp(`^${mode}( +ok){5} `, 'm'));
    expect(ended.stdout).toMatch(/\npassed\n$/);
  });

  test('passes over a vhost-user socket, with full frames', async () => {
    const socket = testFolder()('port.sock');
    const ports = [`vhost-user:${socket},memory=1`, `virtio-user:${socket}`];
    expectPassed(await linecard(['selftest', '-j', ...ports, '--count', '5k', '--size', '1514'], PATIENT), 5000);
  });

  testAsRoot('passes over a veth pair', async () => {
    const ends = ['a', 'b'].map((end) => `lcst${process.pid}${end}`);
    sh(`ip link add ${ends[0]} type veth peer name ${ends[1]}`);
    onTestFinished(() => {
      sh(`ip link del ${ends[0]}`);
    });
    for (const end of ends) {
      // Quiet: nothing but the probes.
      sh(`sysctl -qw net.ipv6.conf.${end}.disable_ipv6=1`);
      sh(`ip link set ${end} up`);
    }
    const ports = ends.map((end) => `xdp:${end}`);
    expectPassed(await linecard(['selftest', '-j', ...ports, '--count', '5k'], PATIENT), 5000);
  });

  test('fails, and says what differs, when the ports are not joined', async () => {
    const ended = await linecard(['selftest', 'loop:x', 'loop:y', '--count', '1k', '--mode', 'busy'], PATIENT);
    expect(ended.code).toBe(1);
    expect(ended.stdout).toMatch(/^busy +ok +ok +FAILED +ok +ok /m);
    expect(ended.stdout).toContain('busy, statistics: loop:x transmitted 1,032 packets, loop:y received 0\n');
    expect(ended.stdout).toMatch(/\nFAILED: busy\n$/);
  });

  test('fails, and names the port, when a link does not come up', async () => {
    const ended = await linecard(['selftest', 'pair:x/0', 'loop:y', '--mode', 'adaptive', '--link-wait', '1'], PATIENT);
    expect(ended.code).toBe(1);
    expect(ended.stdout).toMatch(/^adaptive +FAILED +- +- +- +-/m);
    expect(ended.stdout).toContain('adaptive, bring-up: the link of pair:x/0 did not come up\n');
  });

  test('tells of a port that is not there, by name, and goes on with no other mode', async () => {
    const ended = await linecard(['selftest', 'pair:x/0', 'nothing:y']);
    expect([ended.code, ended.stderr]).toEqual([2, expect.stringMatching(/port nothing:y.*\[NO_SUCH_PORT\]\n$/)]);
  });
});
