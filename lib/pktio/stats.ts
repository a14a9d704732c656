/** Arithmetic on counters by name. */
import type { Counters } from './types.ts';

/** Sum of two sets; a name that one lacks counts as 0 there. */
export function addCounters(a: Counters, b: Counters): Counters {
  return combine(a, b, (x, y) => x + y);
}

/** `a` less the baseline `b`. */
export function subtractCounters(a: Counters, b: Counters): Counters {
  return combine(a, b, (x, y) => x - y);
}

function combine(a: Counters, b: Counters, how: (x: bigint, y: bigint) => bigint): Counters {
  const names = new Set([...Object.keys(a), ...Object.keys(b)]);
  return Object.fromEntries([...names].map((name) => [name, how(a[name] ?? 0n, b[name] ?? 0n)]));
}
