/** Port names with options, as the command line takes them: the port's own name is shorter. */
import { describe, expect, it } from 'vitest';
import { expectSuccess, linecard } from '../fakes/command.ts';

const RUNS = [
  ['l2fwd', 'null:a,size=64', 'null:b', '--time', '1', '-T', '0'],
  ['l2fwd', 'loop:a,ring=256', 'loop:b', '--time', '1', '-T', '0'],
  ['gen', 'pair:x/0,ring=64', '--time', '1', '-T', '0', '--rate', '1k'],
  ['sink', 'null:a,size=100', '--time', '1', '-T', '0'],
];

describe('port options', () => {
  it.each(RUNS)('%s %s', async (...args: string[]) => {
    expectSuccess(await linecard(args));
  });

  it.each([['status'], ['doctor', '--json'], ['l2fwd', 'null:a', 'null:b', '--time', '1', '-j']])(
    '%s fails when its output cannot be written',
    async (...args: string[]) => {
      const ended = await linecard(args, { limits: 'exec > /dev/full' });
      expect(ended).toMatchObject({ code: 1, stdout: '' });
      expect(ended.stderr).toContain('OUTPUT_FAILED');
    },
  );

  it('plans ports with options', async () => {
    const ended = await linecard(['plan', 'pair:x/0,ring=64', 'pair:x/1,ring=64']);
    expect(ended).toMatchObject({ code: 0, stderr: '' });
    expect(ended.stdout).toContain('pair:x/0 queue 0');
  });
});
