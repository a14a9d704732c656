/** Packets that do not fit one frame through both ends of a vhost-user socket: segments in, mergeable buffers, segments out. */
import { describe, expect, it } from 'vitest';
import { temporaryFolder } from '../fakes/folder.ts';
import { engineWith, fake, job, stopBalanced } from '../fakes/linecard.ts';
import { waitFor } from '../fakes/netns.ts';

const inFolder = temporaryFolder();
const COUNT = 600;

describe.each([
  ['split', ''],
  ['packed', ',packed=1'],
])('An MTU of 9000 over %s rings', (kind, rings) => {
  it('brings every packet whole, there and back', async () => {
    const path = inFolder(`jumbo-${kind}`);
    const ports = [`vhost-user:${path},memory=1,mtu=9000`, `virtio-user:${path}${rings}`];
    const engine = await engineWith(ports, { frames: 8192 });
    const [back, front] = engine.ports.keys();
    expect([...engine.ports.values()].map(({ mtu }) => mtu)).toEqual([9000, 9000]);
    const run = await engine.run([
      job(fake('jumbo', undefined, { count: COUNT, most: 9018 }), front, [front]),
      job({ module: 'l2fwd', options: { macUpdating: false } }, back, [back]),
    ]);
    const counted = () =>
      run.stats().jobs.reduce((sum, j) => sum + (j.counters.good ?? 0n) + (j.counters.bad ?? 0n), 0n);
    await waitFor('all come back', () => counted() === BigInt(COUNT), 30_000);
    const { jobs, ports: totals, errors } = await stopBalanced(run);
    expect(errors).toEqual([]);
    expect(jobs.map((j) => j.counters.bad ?? 0n)).toEqual([0n, 0n]);
    for (const name of [back, front]) {
      const { rx, tx } = totals[name];
      expect([rx.packets, tx.packets]).toEqual([BigInt(COUNT), BigInt(COUNT)]);
      expect(rx.extra_frames).toBeGreaterThan(BigInt(COUNT));
      expect(tx.completed).toBe(tx.packets + tx.extra_frames);
    }
  }, 60_000);
});
