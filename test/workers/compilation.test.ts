/** That nothing is compiled for a thread any more when it ends. In a process of its own: it needs V8's own syntax. */
import { execFileSync } from 'node:child_process';
import { expect, test } from 'vitest';

const MODULE = new URL('../../dist/workers/compilation.js', import.meta.url).href;

/** Prints whether what V8 compiles beside the thread, a long function, is there, before and after the wait. */
const SCRIPT = `
  import { awaitCompilation } from '${MODULE}';
  const lines = Array.from({ length: 2000 }, (_, i) => 'x = (x * ' + i + '.5 + ' + i + ') % 1000003;');
  const long = new Function('x', lines.join('') + 'return x;');
  const compiled = () => %ActiveTierIsTurbofan(long);
  %PrepareFunctionForOptimization(long);
  long(1);
  %OptimizeFunctionOnNextCall(long, 'concurrent');
  long(2);
  const before = compiled();
  awaitCompilation();
  console.log(before, compiled());
  try {
    new Function('%GetOptimizationStatus(0)');
  } catch (error) {
    console.log(error.name);
  }`;

test('the end of a thread waits for what is compiled for it, and leaves the language as it was', () => {
  const flags = ['--allow-natives-syntax', '--max-optimized-bytecode-size=1000000', '--input-type=module'];
  const said = execFileSync(process.execPath, [...flags, '-e', SCRIPT], { encoding: 'utf8' });
  expect(said).toBe('false true\nSyntaxError\n');
});
