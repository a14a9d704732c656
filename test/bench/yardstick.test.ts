import { describe, expect, test } from 'vitest';
import { compile } from '../../bench/compile.ts';
import { readMachine } from '../../bench/machine.ts';
import { openYardstick } from '../../bench/yardstick.ts';

describe('the C++ loop', () => {
  const [cpu] = readMachine().cpus as [number];

  test.each(['null', 'loop'] as const)(
    'forwards over %s when asked, and loses nothing',
    { timeout: 60_000 },
    async (port) => {
      const yardstick = await openYardstick(await compile('yardstick'), { port, burst: 32, frames: 512, cpu });
      const sample = await yardstick.sample(20);
      expect(sample.ns).toBeGreaterThanOrEqual(20e6);
      expect(sample.packets).toBeGreaterThan(0);
      expect(await yardstick.close()).toEqual({ faults: [] });
    },
  );

  test('refuses what it cannot do', { timeout: 60_000 }, async () => {
    const binary = await compile('yardstick');
    await expect(openYardstick(binary, { port: 'null', burst: 0, frames: 0, cpu: 0 })).rejects.toThrow(/usage/);
  });
});
