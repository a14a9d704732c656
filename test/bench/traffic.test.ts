import { expect } from 'vitest';
import { openBridge } from '../../bench/forwarders.ts';
import { readMachine } from '../../bench/machine.ts';
import { makeWires } from '../../bench/wires.ts';
import { testAsRoot } from '../fakes/netns.ts';

// Its children run what was built.
const built = new URL('../../dist/bench/traffic.js', import.meta.url).href;

testAsRoot('what arrives is counted at the far end, and no more than was offered', async () => {
  const { startTraffic } = (await import(built)) as typeof import('../../bench/traffic.ts');
  const cpus = readMachine().cpus;
  const place = { main: cpus[0]!, loop: cpus.at(-1)! };
  const wires = makeWires();
  try {
    const bridge = await openBridge({ wires, place, burst: 32, hugepages: false }, { threaded: true });
    const traffic = await startTraffic(wires, place);
    const sample = await traffic.sample(50);
    expect(sample.packets).toBeGreaterThan(0);
    expect(sample.ns).toBeGreaterThanOrEqual(50e6);
    await bridge.close();
    // Nobody forwards: nothing arrives. Without a veth that polls, nothing is taken from the generator either.
    expect((await traffic.sample(50)).packets).toBe(0);
    await traffic.close();
    expect(sample.offered).toBeGreaterThan(sample.packets);
  } finally {
    wires.remove();
  }
});
