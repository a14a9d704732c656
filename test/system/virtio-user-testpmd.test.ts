/** Traffic of `virtio-user` ports with DPDK's testpmd as their back end: none lost, and what a killed one takes is counted. */
import { rmSync } from 'node:fs';
import { afterEach, describe, expect } from 'vitest';
import type { Engine, Pktio, Run } from '../../lib/index.ts';
import { temporaryFolder } from '../fakes/folder.ts';
import { waitFor } from '../fakes/netns.ts';
import { Testpmd } from '../fakes/testpmd.ts';
import { testWith } from '../fakes/tools.ts';

const { openEngine } = (await import('linecard')) as typeof import('../../lib/index.ts');
const inFolder = temporaryFolder();
const cleanUp: (() => unknown)[] = [];

afterEach(async () => {
  for (const step of cleanUp.splice(0).reverse()) await step();
});

/** Stops testpmd's forwarding; returns how many packets it has counted. */
async function stopped(pmd: Testpmd, name: 'RX' | 'TX'): Promise<bigint> {
  await pmd.command('stop');
  // What it says goes through a buffer of some KiB: it is made to say more.
  for (let i = 0; i < 40 && !/Accumulated.*TX-packets/s.test(pmd.text); i++) await pmd.command('show port info 0');
  return BigInt(new RegExp(`${name}-packets: (\\d+)`).exec(pmd.text)?.[1] ?? -1);
}

async function backEnd(path: string, mode: string): Promise<Testpmd> {
  rmSync(path, { force: true }); // testpmd leaves it behind when it is killed
  const it = new Testpmd(`net_vhost0,iface=${path},queues=1`, '--burst=32');
  cleanUp.push(() => it.kill());
  await it.says('testpmd> ');
  await it.command(`set fwd ${mode}`);
  await it.command('start');
  return it;
}

async function engineOn(name: string, app: string): Promise<{ engine: Engine; port: Pktio; run: Run }> {
  const engine = await openEngine();
  cleanUp.push(() => engine.close());
  const port = await engine.open(name);
  const send = {
    app: { module: `linecard/apps/${app}`, export: app, options: app === 'l2fwd' ? { macUpdating: false } : {} },
  };
  const rx = app === 'gen' ? {} : { rx: { port: port.name } };
  const tx = app === 'sink' ? {} : { tx: [port.name] };
  const run = await engine.run([{ ...send, ...rx, ...tx }]);
  return { engine, port, run };
}

describe.each([
  ['split', ''],
  ['packed', ',packed=1'],
])('virtio-user with %s rings and testpmd as back end', (kind, options) => {
  testWith('dpdk-testpmd', `receives every packet that it sends (${kind})`, async () => {
    const path = inFolder(`rx-${kind}`);
    const pmd = await backEnd(path, 'txonly');
    const { port, run } = await engineOn(`virtio-user:${path},wait=9${options}`, 'sink');
    await waitFor('packets', () => port.stats().rx.packets > 10_000n, 15_000);
    const sent = await stopped(pmd, 'TX');
    await waitFor(`${sent} packets`, () => port.stats().rx.packets === sent, 5000);
    await run.stop();
    const { ledger } = await run.done;
    expect([ledger.errors, ledger.lost]).toEqual([[], 0]);
  });

  testWith('dpdk-testpmd', `sends it every packet that was accepted (${kind})`, async () => {
    const path = inFolder(`tx-${kind}`);
    const pmd = await backEnd(path, 'rxonly');
    const { port, run } = await engineOn(`virtio-user:${path},wait=9${options}`, 'gen');
    await waitFor('packets', () => port.stats().tx.completed > 10_000n, 15_000);
    await run.stop();
    const { ledger, ports } = await run.done;
    const got = await stopped(pmd, 'RX');
    expect([ledger.errors, ledger.lost]).toEqual([[], 0]);
    const { tx } = ports[port.name];
    // What was in its ring when the run's time was up was not taken by it, or was taken and not given back.
    expect(got).toBeGreaterThanOrEqual(tx.completed);
    expect(got).toBeLessThanOrEqual(tx.completed + tx.stopped);
  });

  testWith(
    'dpdk-testpmd',
    `goes on when it was killed and is there again, every packet accounted for (${kind})`,
    async () => {
      const path = inFolder(`kill-${kind}`);
      let pmd = await backEnd(path, 'txonly');
      const { port, run } = await engineOn(`virtio-user:${path},wait=9${options}`, 'l2fwd');
      const links: string[] = [];
      port.on('link', ({ status }) => links.push(status));
      for (let round = 0; round < 3; round++) {
        await waitFor('packets', () => port.link().status === 'up', 15_000);
        const before = port.stats().rx.packets;
        await waitFor('packets', () => port.stats().rx.packets > before + 1000n, 15_000);
        links.length = 0;
        await pmd.kill();
        await waitFor('the link event', () => links.includes('down'), 1000);
        pmd = await backEnd(path, 'txonly');
      }
      await waitFor('the link', () => links.includes('up'), 15_000);
      await run.stop();
      const { ledger, ports } = await run.done;
      expect([ledger.errors, ledger.lost]).toEqual([[], 0]);
      const { tx } = ports[port.name];
      expect(tx.packets).toBe(tx.completed + tx.lost + tx.stopped);
    },
  );
});
