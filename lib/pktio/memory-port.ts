/** What the control halves of ports without hardware share: settings, counters and plans of their queues. */
import { counterBytes } from '../arena/counters.ts';
import type { MemoryDevio } from '../devios/memory.ts';
import type { Device } from '../framework/types.ts';
import { MAX_SEGMENTS, type QueuePlan, RX, TX } from '../queue.ts';
import type { Capability, LinkInfo, PortConfig, QueueHandle } from './types.ts';

/** Ethernet header and one VLAN tag, in bytes: what a frame has beyond the MTU. */
export const L2_OVERHEAD = 18;

/** Names of the counters that every queue has; a driver's own follow. */
export const COUNTER_NAMES = { rx: Object.keys(RX), tx: Object.keys(TX) } as const;

/** Most queues of a memory port, each way. */
export const MEMORY_QUEUES = 8;

/** What memory ports can do unless their driver says otherwise. */
export const memoryCapability: Capability = {
  rxQueues: { min: 1, max: MEMORY_QUEUES },
  txQueues: { min: 1, max: MEMORY_QUEUES },
  rxRing: { min: 0, max: 0 },
  txRing: { min: 64, max: 32_768 },
  mtu: { min: 68, max: 65_000 },
  segments: MAX_SEGMENTS,
  setMac: true,
  setPromiscuous: false,
  interrupts: false,
  patient: false,
  finite: false,
  internal: false,
  hosts: false,
};

/** A locally administered address (bit 1 of the first byte) that depends on the name alone: FNV-1a, 24 bits. */
export function macOf(name: string): string {
  let hash = 0x811c9dc5;
  for (const byte of Buffer.from(name)) hash = Math.imul(hash ^ byte, 0x01000193);
  const hex = (hash >>> 0).toString(16).padStart(8, '0');
  return `02:4c:43:${hex.slice(2, 4)}:${hex.slice(4, 6)}:${hex.slice(6, 8)}`;
}

/** Settings of a memory port that nobody configured. */
export function memoryDefaults(device: Device): PortConfig {
  const ring = typeof device.facts.ring === 'number' ? device.facts.ring : 1024;
  const mac = macOf(device.address);
  return { rxQueues: 1, txQueues: 1, rxRing: 0, txRing: ring, mtu: 1500, promiscuous: true, mac };
}

/** The link of a port that cannot fail. */
export const memoryLink = (): LinkInfo => ({ status: 'up', speed: 0, duplex: 'full', autoneg: false, media: 'memory' });

/** What differs from queue to queue. */
export interface QueueSpec {
  readonly port: string;
  readonly direction: 'rx' | 'tx';
  readonly queue: number;
  /** URL of the queue module: `queueModule(import.meta.url)`. */
  readonly module: string;
  readonly fd?: number;
  readonly data: Readonly<Record<string, number>>;
  /** The driver's own counters, after the common ones. */
  readonly counterNames?: readonly string[];
}

/** Allocates a queue's counters and makes its plan. `devio.free(plan.counters)` releases it. */
export function planQueue(devio: Pick<MemoryDevio, 'allocate'>, config: PortConfig, spec: QueueSpec): QueuePlan {
  const counterNames = [...COUNTER_NAMES[spec.direction], ...(spec.counterNames ?? [])];
  return {
    module: spec.module,
    direction: spec.direction,
    port: spec.port,
    queue: spec.queue,
    counters: devio.allocate(counterBytes(counterNames.length)),
    counterNames,
    fd: spec.fd ?? -1,
    maxLength: config.mtu + L2_OVERHEAD,
    data: spec.data,
  };
}

/** URL of the module `name` beside the module at `url`, with that one's ending: `queue.ts`, `queue.js`, `queue.mjs`. */
export const queueModule = (url: string, name = 'queue'): string =>
  new URL(`${name}${/\.[cm]?[jt]s$/.exec(url)?.[0] ?? '.js'}`, url).href;

/** A queue whose ring never holds a frame while nobody works on it. */
export const emptyHandle = (plan: QueuePlan): QueueHandle => ({
  plan,
  held: () => [],
  settle: () => {},
  clear: () => {},
});

/** `count` things, made from their numbers. */
export const times = <T>(count: number, make: (index: number) => T): T[] =>
  Array.from({ length: count }, (_, i) => make(i));
