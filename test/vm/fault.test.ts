/** A device that is led to memory that is not mapped for it: the IOMMU keeps it from there, and its port says so. */
import { fileURLToPath } from 'node:url';
import { afterAll, beforeAll, describe, expect } from 'vitest';
import { Guest } from './guest.ts';
import { addressOf, MODELS, WITH_IOMMU } from './pairs.ts';
import { haveGuests, testWithGuest } from './tests.ts';

const here = (path: string) => fileURLToPath(new URL(path, import.meta.url));
const MAIN = here('../../dist/lib/cli/main.js');
const SCRIPT = here('./fault-guest.mjs');

describe('In a guest with an IOMMU', () => {
  let guest: Guest;
  beforeAll(async () => {
    if (!haveGuests) return;
    guest = await Guest.boot(WITH_IOMMU);
    for (const n of MODELS.keys()) await guest.run(`node ${MAIN} bind ${addressOf(n)} vfio-pci`, 120_000);
  }, 400_000);
  afterAll(() => guest?.close());

  for (const [name, order] of [
    ['virtio-net with split rings', [2, 3, 0, 1]],
    ['virtio-net with packed rings', [2, 3, 0, 1]],
    ['e1000e', [0, 1, 2, 3]],
  ] as const) {
    testWithGuest(
      `${name}: a buffer where nothing is mapped is told as an error of the port, which goes on, as the others do`,
      async () => {
        const packed = name.includes('packed') ? 1 : 0;
        const nameOf = (n: number) => `pci:${addressOf(n)}${MODELS[n] === 'e1000e' ? '' : `,packed=${packed}`}`;
        const argument = JSON.stringify({ ports: order.map(nameOf) });
        const result = JSON.parse(await guest.run(`node ${SCRIPT} '${argument}'`, 200_000));
        expect(result).toMatchObject({ flows: true, told: true, back: true, flowsAgain: true, balanced: true });
        expect(result).not.toHaveProperty('error');
        expect(result.errors[0]).toMatchObject({ code: 'DEVICE_FAULT', fatal: false });
        expect(result.errors[0].message).toMatch(/the IOMMU kept it from memory .*DMA \w+ at 0x7000/);
        expect(result.links[0]).toMatch(/^down: .*the IOMMU kept it from memory/);
        expect(result.counters.faults).toBeGreaterThan(0);
        expect(result.counters.resets).toBeGreaterThan(0);
        expect(result.otherWire).toBeGreaterThan(100);
        expect(result.framesMissing).toBe(0);
        expect(guest.console()).toMatch(/DMAR: .* fault addr 0x7000/);
        expect(guest.console()).not.toMatch(/Oops|BUG:/);
      },
      300_000,
    );
  }
});
