/** Both ends of a vhost-user socket in one engine: our driver against our device, the real protocol between them. */
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { openEngine } from 'linecard';
import { describe, expect, it } from 'vitest';

describe.each([0, 1])('A vhost port and a virtio port at the ends of one socket (packed=%i)', (packed) => {
  it('pass packets to each other for ever, and the ledger balances', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'linecard-vhost-'));
    const path = join(folder, 'sock');
    const engine = await openEngine({ frames: 4096 });
    try {
      const device = await engine.open(`vhost-user:${path},packed=${packed}`);
      expect(device.link().status).toBe('down');
      const driver = await engine.open(`virtio-user:${path},packed=${packed}`);
      const run = await engine.run([
        { rx: { port: device.name, queue: 0 }, app: { module: 'l2fwd' }, tx: [device.name], group: 'one' },
        { rx: { port: driver.name, queue: 0 }, app: { module: 'l2fwd' }, tx: [driver.name], group: 'one' },
        { app: { module: 'gen', options: { count: 128, size: 64 } }, tx: [driver.name], group: 'one' },
      ]);
      const rounds = () => Number(device.stats().rx.packets);
      const end = Date.now() + 20_000;
      while (rounds() < 20_000 && Date.now() < end) await new Promise((resolve) => setTimeout(resolve, 20));
      expect(rounds()).toBeGreaterThanOrEqual(20_000);
      expect(device.link().status).toBe('up');
      const { ledger } = await run.stop();
      expect(ledger).toMatchObject({ balanced: true, lost: 0 });
    } finally {
      await engine.close();
      rmSync(folder, { recursive: true });
    }
  }, 60_000);
});
