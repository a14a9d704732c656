/**
 * The way between the two cpus of a two-process trial. A host that moves virtual cpus around changes it by a factor of
 * ten within seconds, and with it what two processes that share rings reach: only like is compared with like.
 */
import { Child, lastJson } from './child.ts';
import type { Distance } from './contestant.ts';
import type { Placement } from './machine.ts';

/** Round trips of a cache line, in ns: below the first two cpus are near, above the second they are far. */
const NEAR_NS = 230;
const FAR_NS = 330;
const PROBE_MS = 10;

/** Says what two probes, before and after a sample, make of it. */
export function distanceOf(before: number, after: number): Distance {
  if (before > 0 && before < NEAR_NS && after > 0 && after < NEAR_NS) return 'near';
  return before > FAR_NS && after > FAR_NS ? 'far' : 'mixed';
}

/** A probe. */
export interface CacheLine {
  /** Nanoseconds of a round trip; negative when there was none. Both cpus must have nothing else to do. */
  measure(): Promise<number>;
  close(): Promise<void>;
}

/** Starts the probe; `program` is `bench/native/cache-line.cc`. */
export async function openCacheLine(program: string, { main, loop }: Placement): Promise<CacheLine> {
  const child = new Child({ name: 'cache-line', command: program, args: [String(main), String(loop)], quit: '' });
  try {
    await child.expect(/ready\n/, 5000);
  } catch (error) {
    await child.close();
    throw error;
  }
  return {
    async measure() {
      child.send(String(PROBE_MS));
      return (lastJson(await child.expect(/\{"ns":.*\}\n/, 5000)) as { ns: number }).ns;
    },
    async close() {
      await child.close();
    },
  };
}
