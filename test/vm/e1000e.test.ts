import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { Guest } from './guest.ts';
import { haveGuests, testWithGuest } from './tests.ts';

const MAIN = fileURLToPath(new URL('../../dist/lib/cli/main.js', import.meta.url));
const SCRIPT = fileURLToPath(new URL('./cards-guest.mjs', import.meta.url));
const CARDS = ['0000:01:00.0', '0000:02:00.0'];

describe('e1000e in a guest with an IOMMU', () => {
  let guest: Guest;
  const said = async (c: string, ms: number) => { const t = await guest.run(c, ms); if (!t.startsWith('{"')) console.log(t); return t; };
  const play = async (options: Record<string, unknown>) =>
    JSON.parse(
      await guest.run(
        `node ${SCRIPT} '${JSON.stringify(options)}' 2>/tmp/err.txt | tail -1; cat /tmp/err.txt >&2`,
        300_000,
      ),
    );
  beforeAll(async () => {
    if (!haveGuests) return;
    const card = (n: number) => [
      ...['-device', `pcie-root-port,id=rp${n},chassis=${n},slot=${n}`, '-netdev', `hubport,id=n${n},hubid=0`],
      ...['-device', `e1000e,id=card${n},netdev=n${n},bus=rp${n},romfile=,mac=52:54:00:00:00:0${n + 1}`],
    ];
    guest = await Guest.boot({
      machine: 'q35,kernel-irqchip=split',
      cpus: 2,
      memory: 1024,
      args: ['-device', 'intel-iommu,intremap=on,caching-mode=on', ...card(0), ...card(1)],
      append: 'intel_iommu=on iommu=pt',
    });
    for (const address of CARDS) await guest.run(`node ${MAIN} bind ${address} vfio-pci`);
  }, 240_000);
  afterAll(() => guest?.close());

  testWithGuest(
    'works',
    async () => {
      const result = await play({ near: `pci:${CARDS[0]}`, far: `pci:${CARDS[1]}`, count: 1000, rate: 2000 });
      console.log(JSON.stringify(result, null, 1));
      console.log(guest.console().slice(-1000));
      expect(result.error).toBeUndefined();
    },
    300_000,
  );
});
