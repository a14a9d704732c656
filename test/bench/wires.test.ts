import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { openBridge } from '../../bench/forwarders.ts';
import { packageRoot } from '../../bench/root.ts';
import { frameOf } from '../../bench/traffic.ts';
import { abandoned, makeWires, traversed, type Wires, wiresMissing } from '../../bench/wires.ts';
import { testAsRoot, waitFor } from '../fakes/netns.ts';

/** As the kernel prints it; values do not touch their names. */
const DEVICES = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo:       0       0    0    0    0     0          0         0        0       0    0    0    0     0       0          0
lcb7a0: 1200      20    0    0    0     0          0         0      60000    1000    0   17    0     0       0          0
`;

describe('traversed', () => {
  test('tells what an interface took in, and what it was given to send, dropped or not', () => {
    expect(traversed('lcb7a0', DEVICES)).toEqual({ received: 20, offered: 1017 });
  });

  test('another interface whose name begins alike is not taken for it', () => {
    expect(() => traversed('lcb7a', DEVICES)).toThrow(/no interface lcb7a/);
  });
});

test('namespaces of runs that are gone are abandoned; those of others are not touched', () => {
  const names = ['lcbench-12-a', 'lcbench-13-f', 'lcbench-x-a', 'other', 'my-lcbench-12-a'];
  expect(abandoned(names, (pid) => pid === 13)).toEqual(['lcbench-12-a']);
});

test('without root there are no wires, and the reason says so', () => {
  expect(wiresMissing(1000)).toMatch(/root/);
});

test('a frame is the least that Ethernet has, for the interface at the far end, of an experimental type', () => {
  const end = (mac: string) => ({ name: '', index: 1, mac });
  const ends = {
    a0: end('02:00:00:00:00:0a'),
    b0: end('02:00:00:00:00:0b'),
    f0: end('02:00:00:00:00:f0'),
    f1: end('02:00:00:00:00:f1'),
  };
  const bytes = Buffer.from(frameOf({ ends }), 'hex');
  expect(bytes).toHaveLength(60);
  expect(bytes.subarray(0, 14).toString('hex')).toBe('02000000000b02000000000a88b5');
});

const spacesOf = (pid: number): string[] =>
  readdirSync('/run/netns').filter((name) => name.startsWith(`lcbench-${pid}-`));

describe('wires', () => {
  let wires: Wires | undefined;
  beforeEach(() => {
    wires = undefined;
  });
  afterEach(() => wires?.remove());

  testAsRoot('carry packets from end to end while somebody forwards, and no longer', async () => {
    wires = makeWires();
    const ping = () => wires!.run('a', 'ping', '-c', '1', '-W', '1', '10.78.0.2');
    const bridge = await openBridge(
      { wires, place: { main: 0, loop: 0 }, burst: 32, hugepages: false },
      { threaded: false },
    );
    expect(ping()).toContain(' 0% packet loss');
    expect(await bridge.close()).toEqual({ faults: [] });
    expect(ping).toThrow();
  });

  testAsRoot('are gone after they are removed, as often as one likes', () => {
    wires = makeWires();
    expect(spacesOf(process.pid)).toHaveLength(3);
    wires.remove();
    wires.remove();
    expect(spacesOf(process.pid)).toEqual([]);
  });

  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    testAsRoot(`are gone after ${signal} in the middle of a run`, async () => {
      const script = join(packageRoot(), 'dist/bench/main.js');
      const bench = spawn(process.execPath, [script, '--quick', '--only', 'rtt', '--no-testpmd'], { stdio: 'ignore' });
      const ended = once(bench, 'exit');
      await waitFor('wires are made', () => spacesOf(bench.pid!).length === 3, 10_000);
      bench.kill(signal);
      expect((await ended)[0]).toBe(130);
      expect(spacesOf(bench.pid!)).toEqual([]);
    });
  }
});
