/** What V8 does to the worker's code while packets flow: nothing, once all of it is compiled. */
import { spawn } from 'node:child_process';
import { fileURLToPath } from 'node:url';
import { afterEach, expect } from 'vitest';
import { isolateOf, parseTrace, TRACE_FLAGS } from '../../bench/gc.ts';
import { end, iperf } from '../fakes/bridge.ts';
import { dropWire, makeWire, sh, testAsRoot, type Wire, waitFor } from '../fakes/netns.ts';

const wires: Wire[] = [];
afterEach(() => {
  for (const wire of wires.splice(0)) dropWire(wire);
});

for (const [what, mtu] of [
  ['ordinary packets', 1500],
  ['packets of several frames among ordinary ones', 9000],
] as const) {
  testAsRoot(`Under load, with ${what}, no code is thrown away in the worker once V8 has compiled it`, async () => {
    const [a, b] = [makeWire(1, { mtu }), makeWire(2, { mtu })];
    wires.push(a, b);
    for (const { space } of [a, b]) sh(`ip netns exec ${space} ethtool -K eth0 tso off gso off`);
    const script = fileURLToPath(new URL('../fakes/xdp-trace-child.mjs', import.meta.url));
    const args = [...TRACE_FLAGS, script, `xdp:${a.name}`, `xdp:${b.name}`];
    const child = spawn(process.execPath, args, { stdio: ['pipe', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.setEncoding('utf8').on('data', (data) => {
      text += data;
    });
    try {
      await waitFor('packets flow', () => text.includes('\nready\n'), 20_000);
      const [before, rest] = text.split('{"stack":');
      const main = { isolate: isolateOf(before!), stack: JSON.parse(rest!.split('}')[0]!) as [number, number] };
      const load = async () => {
        await a.run(`ping -f -w 1 -q ${b.address}`);
        await iperf(a, b);
        await iperf(b, a, '-u', '-b', '0', '-l', '64');
        await iperf(a, b, '-u', '-b', '0', '-l', String(mtu - 100));
        await b.run(`ping -f -w 1 -q -s ${mtu - 28} ${a.address}`);
      };
      // The loop itself has no warm-up of its own: V8 compiles it while the first packets flow.
      const started = text.length;
      await load();
      const from = text.length;
      await load();
      const first = parseTrace(text.slice(started, from), main);
      console.info(`deoptimisations while the first packets flow: ${first.deopts.join(', ') || 'none'}`);
      const trace = parseTrace(text.slice(from), main);
      child.stdin.end();
      await waitFor('it has ended', () => text.includes('"delivered"'), 10_000);
      const { errors, delivered, extra } = JSON.parse(text.slice(text.lastIndexOf('{"errors"')).split('\n')[0]!);
      expect(errors).toEqual([]);
      expect(Math.min(...delivered)).toBeGreaterThan(1000);
      expect(extra[0] > 1000).toBe(mtu > 1500);
      console.info(`collections: ${trace.collections}`); // of the times between which the loop sleeps
      expect(trace.deopts).toEqual([]);
    } finally {
      end(child);
    }
  });
}
