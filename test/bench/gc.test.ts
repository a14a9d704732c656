import { describe, expect, test } from 'vitest';
import { addTraces, isolateOf, parseTrace, stackOf } from '../../bench/gc.ts';

// Printed by Node 20.20 for a program whose main thread collects once and whose worker allocates.
const MAIN_GC =
  '[8197:0x13d0dce0]       37 ms: Mark-Compact 3.9 (4.5) -> 2.9 (5.5) MB, 4.24 / 0.00 ms  (average mu = 1.000, current mu = 1.000) testing; GC in old space requested';
const WORKER_GC =
  '[8197:0x7f2510000f00]       24 ms: Scavenge 3.4 (3.5) -> 3.0 (4.5) MB, 0.91 / 0.00 ms  (average mu = 1.000, current mu = 1.000) allocation failure; ';
// The form of V8 12.4 and later, with the isolate group.
const WORKER_GC_NEW =
  '[8197:0x7f2510000f00:0]       24 ms: Mark-Compact (reduce) 3.4 (3.5) -> 3.0 (4.5) MB, pooled: 0.0 MB, 0.91 / 0.00 ms (average mu = 1.000, current mu = 1.000) allocation failure; ';
const deopt = (reason: string, name: string, sp: string) =>
  `[bailout (kind: deopt-eager, reason: ${reason}): begin. deoptimizing 0x3ad78523ed41 <JSFunction ${name}(sfi = 0x2bee2308e1f1)>, 0x2bee23096901 <Code TURBOFAN>, opt id 0, bytecode offset 0, deopt exit 1, FP to SP delta 32, caller SP ${sp}, pc 0x7fe5c400c51a]`;

const MAIN = { isolate: '0x13d0dce0', stack: [0x7ffc_0000_0000, 0x7ffc_0002_1000] } as const;
const WORKER_SP = '0x7fe5e8f35208';

describe('parseTrace', () => {
  test('collections of workers count, in the old form and the new', () => {
    expect(parseTrace([WORKER_GC, WORKER_GC_NEW].join('\n'), MAIN)).toEqual({ collections: 2, deopts: [] });
  });

  test('collections of the main thread do not count', () => {
    expect(parseTrace(MAIN_GC, MAIN).collections).toBe(0);
  });

  test('a deoptimisation of a worker is told with its reason and function', () => {
    const text = deopt('wrong map', 'receive ', WORKER_SP);
    expect(parseTrace(text, MAIN).deopts).toEqual(['wrong map in receive']);
  });

  test('a reason may have parentheses, a function no name', () => {
    const text = deopt('(unknown)', '', WORKER_SP);
    expect(parseTrace(text, MAIN).deopts).toEqual(['(unknown) in an unnamed function']);
  });

  test('a deoptimisation on the main thread’s stack does not count, even below where it had grown to', () => {
    const text = [deopt('overflow', 'f ', '0x7ffc00020ff8'), deopt('overflow', 'f ', '0x7ffbfff00000')].join('\n');
    expect(parseTrace(text, MAIN).deopts).toEqual([]);
  });

  test('a deoptimisation whose line was torn apart counts all the same', () => {
    const torn =
      '[bailout (kind: deopt-eager, reason: wrong map): begin. deoptimizing 0x7d {"packets":1}\n <JSFunction f (sfi = 0x1)>';
    expect(parseTrace(torn, MAIN).deopts).toEqual(['wrong map in an unnamed function']);
  });

  test('leaving code for better code is no deoptimisation', () => {
    expect(parseTrace(deopt('prepare for on stack replacement (OSR)', 'run ', WORKER_SP), MAIN).deopts).toEqual([]);
  });

  test('other lines are nothing', () => {
    expect(parseTrace('{"packets":1}\nScavenge\n[bailout end. took 0.1 ms]\n', MAIN)).toEqual({
      collections: 0,
      deopts: [],
    });
  });
});

test('the isolate of the last collection is found', () => {
  expect(isolateOf(`${WORKER_GC}\n${MAIN_GC}\nready`)).toBe('0x13d0dce0');
  expect(isolateOf('nothing')).toBe('');
});

test('the range of the stack is found in the maps', () => {
  const maps =
    '7f00-7f10 rw-p 00000000 00:00 0\n7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]\n';
  expect(stackOf(maps)).toEqual([0x7ffc_0000_0000, 0x7ffc_0002_1000]);
  expect(stackOf('')).toEqual([0, 0]);
});

test('counts add up', () => {
  expect(
    addTraces([
      { collections: 1, deopts: ['a'] },
      { collections: 2, deopts: ['b'] },
    ]),
  ).toEqual({ collections: 3, deopts: ['a', 'b'] });
});
