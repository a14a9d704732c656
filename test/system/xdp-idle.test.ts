import { readdirSync, readFileSync } from 'node:fs';
import { expect } from 'vitest';
import { bridge } from '../fakes/bridge.ts';
import { dropWire, makeWire, testAsRoot } from '../fakes/netns.ts';

/** Processor time of each thread of this process, in seconds. */
function threadTimes(): Map<string, number> {
  const times = new Map<string, number>();
  for (const tid of readdirSync('/proc/self/task')) {
    const [, rest] = readFileSync(`/proc/self/task/${tid}/stat`, 'utf8').split(') ');
    const fields = rest!.split(' ');
    times.set(tid, (Number(fields[11]) + Number(fields[12])) / 100);
  }
  return times;
}

testAsRoot('Adaptive mode at 1,000 packets per second takes less than a tenth of a core', async () => {
  const [a, b] = [makeWire(1), makeWire(2)];
  try {
    const of = await bridge(a, b, { mode: 'adaptive' });
    await a.run(`ping -c 200 -i 0.002 -q ${b.address}`); // warm
    const before = threadTimes();
    const packets = of.run.stats().jobs.reduce((sum, { frames }) => sum + frames.accepted!, 0n);
    const from = performance.now();
    // 500 requests and 500 answers in a second.
    const out = await a.run(`ping -c 2000 -i 0.002 ${b.address}`);
    const seconds = (performance.now() - from) / 1000;
    const rate =
      Number(of.run.stats().jobs.reduce((sum, { frames }) => sum + frames.accepted!, 0n) - packets) / seconds;
    const used = [...threadTimes()]
      .filter(([tid]) => tid !== String(process.pid))
      .map(([tid, time]) => time - (before.get(tid) ?? 0));
    const share = Math.max(...used) / seconds;
    const times = [...out.matchAll(/time=([\d.]+)/g)].map(([, ms]) => Number(ms)).sort((x, y) => x - y);
    const p99 = times[Math.floor(times.length * 0.99)]!;
    console.info(
      `${rate.toFixed(0)} packets/s: ${(share * 100).toFixed(1)} % of a core, round trip p50 ${times[times.length >> 1]} ms, p99 ${p99} ms`,
    );
    expect(rate).toBeGreaterThan(700);
    expect(share).toBeLessThan(0.1);
    expect(p99).toBeLessThan(50);
    expect((await of.stop()).ledger.errors).toEqual([]);
  } finally {
    for (const wire of [a, b]) dropWire(wire);
  }
});
