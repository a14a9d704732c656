import { describe, expect, test } from 'vitest';
import { Child, lastJson } from '../../bench/child.ts';

const node = (script: string, quit = '') =>
  new Child({ name: 'test child', command: process.execPath, args: ['-e', script], quit });
const ECHO = "process.stdin.on('data', (d) => process.stdout.write('got ' + d)).on('end', () => process.exit(0))";

test('the last line is read as JSON', () => {
  expect(lastJson('noise\n{"a":1}\n')).toEqual({ a: 1 });
  expect(lastJson('[{"a":[1]}]\n')).toEqual([{ a: [1] }]);
});

test('what another thread had begun to print before it is left out', () => {
  expect(
    lastJson('[bailout (kind: deopt-eager, reason: wrong map): begin. deoptimizing 0x7d {"a":{"b":[]}}\n'),
  ).toEqual({
    a: { b: [] },
  });
});

describe('Child', () => {
  test('what it says is taken up to the end of the match, and the rest stays', async () => {
    const child = node("console.log('one two'); setInterval(() => {}, 1000)");
    expect(await child.expect(/one/, 5000)).toBe('one');
    expect(await child.expect(/two/, 5000)).toBe(' two');
    await child.close(100);
  });

  test('it is spoken to in lines, and ends when its input does', async () => {
    const child = node(ECHO);
    child.send('hello');
    expect(await child.expect(/got hello\n/, 5000)).toBe('got hello\n');
    expect(await child.close()).toBe('');
  });

  test('silence has a deadline, and the error quotes its last words', async () => {
    const child = node("console.log('thinking'); setInterval(() => {}, 1000)");
    await child.expect(/think/, 5000);
    const silence = child.expect(/done/, 50);
    await expect(silence).rejects.toMatchObject({ code: 'CHILD_SILENT', message: expect.stringContaining('ing') });
    await child.close(100);
  });

  test('a child that ends is an error at once, with its exit code', async () => {
    const child = node('process.exit(3)');
    await expect(child.expect(/never/, 10_000)).rejects.toThrow(/it exited with 3/);
    await child.close();
  });

  test('a child that dies of an error is quoted with it, not with the end of its stack alone', async () => {
    const child = node(
      "throw Object.assign(new RangeError('no such port'), { a: 1, b: 2, c: 3, d: 4, e: 5, f: 6, g: 7 })",
    );
    await expect(child.expect(/never/, 10_000)).rejects.toThrow(/RangeError: no such port/);
    await child.close();
  });

  test('a command that does not exist is an error that names it', async () => {
    const child = new Child({ name: 'ghost', command: '/nonexistent/ghost', args: [], quit: '' });
    await expect(child.expect(/never/, 10_000)).rejects.toMatchObject({ code: 'CHILD_ENDED' });
    await child.close();
  });

  test('a child that ignores its end is killed after the grace time', async () => {
    const child = node("process.on('SIGTERM', () => {}); setInterval(() => {}, 1000); console.log('up')");
    await child.expect(/up/, 5000);
    const start = performance.now();
    await child.close(100);
    expect(performance.now() - start).toBeLessThan(3000);
  });

  test('a paused child says nothing until it is resumed', async () => {
    const child = node("setInterval(() => console.log('tick'), 5)");
    await child.expect(/tick/, 5000);
    child.pause();
    await new Promise((resolve) => setTimeout(resolve, 50));
    await child.expect(/(?:tick\n)*$/, 100); // what was on its way
    await expect(child.expect(/tick/, 100)).rejects.toMatchObject({ code: 'CHILD_SILENT' });
    child.resume();
    await child.expect(/tick/, 5000);
    await child.close(100);
  });
});
