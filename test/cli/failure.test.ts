import { describe, expect, test } from 'vitest';
import { errorJson, errorLine, errorText, exitCodeOf, usageError } from '../../lib/cli/failure.ts';
import { PortError } from '../../lib/errors.ts';

const error = new PortError(
  'PORT_BUSY',
  { what: 'port a', why: 'it is\n  busy', fix: 'wait' },
  { detail: { port: 'a' }, cause: new Error('EBUSY') },
);

describe('errors for people and programs', () => {
  test('are one line: what failed, why, what to do, and the code', () => {
    expect(errorLine(error)).toBe('linecard: port a: it is busy; wait [PORT_BUSY]');
  });

  test('are one JSON object', () => {
    expect(JSON.parse(errorJson(error))).toEqual({
      error: { code: 'PORT_BUSY', message: 'port a: it is busy; wait', detail: { port: 'a' } },
    });
  });

  test.each([undefined, '', 'frames', 'stacks'])('have no stack when LINECARD_DEBUG is %s', (value) => {
    expect(errorText(error, value === undefined ? {} : { LINECARD_DEBUG: value })).not.toContain('\n');
  });

  test('have their stack and their cause’s when LINECARD_DEBUG names stack', () => {
    const text = errorText(error, { LINECARD_DEBUG: 'frames,stack' });
    expect(text).toContain('failure.test.ts');
    expect(text).toContain('caused by: Error: EBUSY');
  });

  test('what is no error of ours is INTERNAL, whatever was thrown', () => {
    expect(errorLine(new TypeError('x is not a function'))).toBe('linecard: x is not a function [INTERNAL]');
    expect(errorLine('thrown text')).toBe('linecard: thrown text [INTERNAL]');
  });

  test('errors of the system keep their codes', () => {
    expect(errorLine(Object.assign(new Error('EACCES: no'), { code: 'EACCES' }))).toBe('linecard: EACCES: no [EACCES]');
  });

  test('what was typed wrong ends with 2, everything else with 1', () => {
    expect(exitCodeOf(usageError('option -q', 'no', 'yes'))).toBe(2);
    expect(exitCodeOf(new PortError('NO_SUCH_PORT', { what: 'a', why: 'b', fix: 'c' }))).toBe(2);
    expect(exitCodeOf(error)).toBe(1);
    expect(exitCodeOf(new Error('x'))).toBe(1);
  });
});
