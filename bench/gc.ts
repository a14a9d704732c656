/**
 * Collections and deoptimisations, from what V8 prints with `--trace-gc --trace-deopt`. It prints for the whole
 * process; what the main thread does is told apart and left out, because only workers have a fast path. Pure.
 */

/** What happened in the workers during a stretch of time. */
export interface TraceCount {
  readonly collections: number;
  /** Optimised code that had to be thrown away: the reason and the function. */
  readonly deopts: readonly string[];
}

/** How to know the main thread in a trace. */
export interface MainThread {
  /** Address of its isolate, as printed. */
  readonly isolate: string;
  /** Lowest and highest address of its stack. */
  readonly stack: readonly [number, number];
}

/** Flags for the process whose trace is read. Its main thread calls `gc()` once, to be known by it. */
export const TRACE_FLAGS = ['--trace-gc', '--trace-deopt', '--expose-gc'] as const;

// [8197:0x7f2510000f00]       24 ms: Scavenge 3.4 (3.5) -> 3.0 (4.5) MB, 0.91 / 0.00 ms ...
// V8 12.4 and later print the isolate group too: [8197:0x7f2510000f00:0].
const COLLECTION = /^\[\d+:(0x[0-9a-f]+)(?::\d+)?\]\s+\d+ ms: (?:Scavenge|Mark-|Minor)/;
// [bailout (kind: deopt-eager, reason: wrong map): begin. deoptimizing 0x7d <JSFunction f (sfi = 0x7c)>, 0x7b <Code ...
// V8 prints it in pieces: another thread's line may stand between them, and the rest is then missing here.
const DEOPT =
  /\[bailout \(kind: ([^,]+), reason: (.*?)\): begin\.(?: deoptimizing 0x[0-9a-f]+ <JSFunction ?(.*?) ?\(sfi)?/;
// Maglev code (V8 12 and later) is left this way for better code: no assumption has failed.
const TIER_UP = 'prepare for on stack replacement (OSR)';
const STACK_POINTER = /caller SP (0x[0-9a-f]+)/;

/** Stacks grow downwards, and the kernel's map of the main one with them: up to the usual limit. */
const STACK_GROWTH = 8 * 1024 * 1024;

/** Counts what `text` says about other threads than the main one. */
export function parseTrace(text: string, main: MainThread): TraceCount {
  let collections = 0;
  const deopts: string[] = [];
  for (const line of text.split('\n')) {
    const collection = COLLECTION.exec(line);
    if (collection !== null && collection[1] !== main.isolate) collections++;
    const deopt = DEOPT.exec(line);
    if (deopt !== null && deopt[2] !== TIER_UP && !onMainThread(line, main))
      deopts.push(`${deopt[2]} in ${deopt[3] || 'an unnamed function'}`);
  }
  return { collections, deopts };
}

function onMainThread(line: string, { stack: [low, high] }: MainThread): boolean {
  const pointer = STACK_POINTER.exec(line);
  if (pointer === null) return false;
  const at = Number(pointer[1]);
  return at >= low - STACK_GROWTH && at < high;
}

/** Returns the isolate that the last collection in `text` belongs to, or the empty string. */
export function isolateOf(text: string): string {
  return text.split('\n').reduce((found, line) => COLLECTION.exec(line)?.[1] ?? found, '');
}

/** Returns the range of the main thread's stack in the text of /proc/self/maps. */
export function stackOf(maps: string): [number, number] {
  const found = /^([0-9a-f]+)-([0-9a-f]+) .*\[stack\]$/m.exec(maps);
  return found === null ? [0, 0] : [Number.parseInt(found[1]!, 16), Number.parseInt(found[2]!, 16)];
}

/** Adds up counts. */
export function addTraces(counts: readonly TraceCount[]): TraceCount {
  return {
    collections: counts.reduce((sum, c) => sum + c.collections, 0),
    deopts: counts.flatMap((c) => c.deopts),
  };
}
