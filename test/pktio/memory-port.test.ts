import { describe, expect, it } from 'vitest';
import { MAX_RINGS } from '../../lib/drivers/loop/layout.ts';
import {
  L2_OVERHEAD,
  MEMORY_QUEUES,
  macOf,
  memoryDefaults,
  planQueue,
  queueModule,
} from '../../lib/pktio/memory-port.ts';
import { addCounters, subtractCounters } from '../../lib/pktio/stats.ts';
import { parseMac } from '../../lib/wire/mac.ts';
import { fakeDevio } from '../fakes/memory-devio.ts';

const device = (address: string, facts = {}) => ({ address, facts }) as Parameters<typeof memoryDefaults>[0];

describe('memory ports', () => {
  it('have a MAC address of their own: local, of one host, and the same for the same name', () => {
    const names = Array.from({ length: 1000 }, (_, i) => `pair:link${i}/0`);
    const macs = names.map(macOf);
    for (const mac of macs) {
      expect(mac).toMatch(/^02:4c:43:/);
      expect((parseMac(mac)[0] as number) & 3).toBe(2);
    }
    expect(new Set(macs).size).toBe(names.length);
    expect(macOf('null:a')).toBe(macOf('null:a'));
  });

  it('have defaults, of which the ring may be in the name', () => {
    const defaults = { rxQueues: 1, txQueues: 1, rxRing: 0, txRing: 1024, mtu: 1500, promiscuous: true };
    expect(memoryDefaults(device('loop:a'))).toEqual({ ...defaults, mac: macOf('loop:a') });
    expect(memoryDefaults(device('loop:a', { ring: 64 })).txRing).toBe(64);
  });

  it('plan a queue: its counters by name, and frames of the MTU plus header and one VLAN tag', () => {
    const devio = fakeDevio();
    const config = { ...memoryDefaults(device('x')), mtu: 9000 };
    const spec = {
      port: 'x',
      direction: 'rx',
      queue: 3,
      module: 'file:///m.js',
      data: { size: 5 },
      counterNames: ['mine'],
    } as const;
    expect(planQueue(devio, config, spec)).toEqual({
      module: 'file:///m.js',
      direction: 'rx',
      port: 'x',
      queue: 3,
      counters: [...devio.allocated][0],
      counterNames: ['packets', 'bytes', 'extra_frames', 'mine'],
      fd: -1,
      maxLength: 9000 + L2_OVERHEAD,
      data: { size: 5 },
    });
    expect(L2_OVERHEAD).toBe(14 + 4);
  });

  it('name their queue module beside the device module, in source and output', () => {
    expect(queueModule('file:///x/drivers/null/device.ts')).toBe('file:///x/drivers/null/queue.ts');
    expect(queueModule('file:///x/dist/lib/drivers/null/device.js')).toBe('file:///x/dist/lib/drivers/null/queue.js');
  });

  it('may have as many tx queues as a block has rings', () => {
    expect(MAX_RINGS).toBe(MEMORY_QUEUES);
  });
});

describe('counters by name', () => {
  it('are added and subtracted name by name; what one lacks is 0', () => {
    expect(addCounters({ a: 1n, b: 2n }, { b: 3n, c: 4n })).toEqual({ a: 1n, b: 5n, c: 4n });
    expect(subtractCounters({ a: 5n, b: 2n ** 63n }, { b: 1n })).toEqual({ a: 5n, b: 2n ** 63n - 1n });
  });
});
